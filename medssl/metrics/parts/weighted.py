"""One weighting or many: what every metric of predictions does before and after its formula.

A metric's formula stands in `compute_many(labels, scores, weights) -> (R,)` for R weightings at once, with labels
(n,) bool, scores (n,) finite and weights (n, R) not negative. `compute` is that formula for a single weighting.
"""

from collections.abc import Callable

import numpy as np

from medssl.errors import DataError

_STRETCH = 8

Many = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def single(formula: Many, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the formula's value for one weighting, every sample once if there is none.

    Args:
        formula: A metric's `compute_many`.
        labels: (n,), 0 or 1.
        scores: (n,).
        weights: (n,) not negative, such as how often a resample holds the sample; or None.

    Returns:
        The value; NaN when a label or a score is not finite, or when the metric is undefined.

    Raises:
        DataError: Lengths differ, a label is neither 0 nor 1, or a weight is negative or not finite.
    """
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not labels.shape == scores.shape == weights.shape == (len(labels),):
        raise DataError(f"Shapes differ: labels {labels.shape}, scores {scores.shape}, weights {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise DataError("A weight is negative or not finite")
    if not (np.isfinite(labels).all() and np.isfinite(scores).all()):
        return float("nan")
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"Labels must be 0 or 1, but one is {labels[~np.isin(labels, (0, 1))][0]:g}")
    return float(formula(labels == 1, scores, weights[:, None])[0])


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return `above / below` in float64, NaN where `below` is not positive."""
    result = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    return np.divide(above, below, out=result, where=below > 0, dtype=np.float64)


def total(weights: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
    """Return the weighted sum of values (n,) over samples for every weighting, (n, R) -> (R,) float64.

    Truth values, and ones where no values are given, are summed in the type of the weights: exact for whole numbers.
    """
    values = np.ones(len(weights), dtype=bool) if values is None else values
    kind = weights.dtype if values.dtype == bool else np.float64
    return (values.astype(kind) @ weights).astype(np.float64)


def running_sum(weights: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, ..., n rows, (n, R) -> (n + 1, R).

    Within stretches of a few rows by a product with a triangle of ones, then along the stretches in the same way:
    `np.cumsum` over the first axis goes through the table column by column and takes five times as long.
    """
    count = len(weights)
    stretches, rest = divmod(count, _STRETCH)
    result = np.zeros((count + 1, weights.shape[1]), dtype=weights.dtype)
    if stretches:
        shape = (stretches, _STRETCH, weights.shape[1])
        inside = result[1 : count - rest + 1].reshape(shape)
        np.matmul(np.tri(_STRETCH, dtype=weights.dtype), weights[: count - rest].reshape(shape), out=inside)
        if stretches > 1:
            inside[1:] += running_sum(inside[:-1, -1])[1:, None]
    for row in range(count - rest, count):
        np.add(result[row], weights[row], out=result[row + 1])
    return result
