"""Transfer: what a pretrained backbone is good for, by a probe on frozen features or by training all of it."""
