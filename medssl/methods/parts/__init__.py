"""Pieces that several methods share; not discovered."""
