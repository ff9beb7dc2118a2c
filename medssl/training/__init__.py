"""Training: the loop, and what is decided, kept and watched around it."""
