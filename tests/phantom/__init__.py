"""Plausible pictures of kinds of which there are no real ones to test with; nothing in them is a patient."""
