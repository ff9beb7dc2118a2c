"""One file a metric, pure functions on arrays.

`TAKES` says on what. A module that takes "predictions" has `compute(labels, scores, weights=None) -> float`, and may
have `compute_many`, the same for many weightings at once; one that takes "features" has functions of its own.
"""
