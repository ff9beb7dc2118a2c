"""Built-in synthetic cohorts: one file a phantom, each with `generate(out, *, patients, seed, progress)`."""
