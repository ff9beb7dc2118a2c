"""Pieces that several backbones share; not discovered."""
