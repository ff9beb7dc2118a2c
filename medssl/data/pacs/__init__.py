"""Fetching from, and being sent to by, a hospital's picture archive (PACS): DIMSE and DICOMweb."""
