"""Writers: one file a kind of object."""
