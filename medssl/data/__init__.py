"""From files to a manifest, a packed store and batches."""
