"""One file a metric, pure functions on arrays.

`TAKES` says on what: a module that takes "predictions" has `compute(labels, scores, weights=None) -> float` and may have
`compute_many`, the same for many weightings at once; a module that takes "features" has functions of its own.
"""
