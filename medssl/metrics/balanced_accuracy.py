"""Balanced accuracy at the threshold 0.5."""

import numpy as np

from medssl.metrics.parts.weighted import ratio, single, total

TITLE = "balanced accuracy"
TAKES = "predictions"
HIGHER_IS_BETTER = True

THRESHOLD = 0.5


def compute(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean of sensitivity and specificity, calling positive what scores 0.5 or more.

    The threshold is not tuned: a score that ranks well but is badly calibrated is poor here, and good in AUROC.
    Reference: Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010.

    Args:
        labels: (n,), 1 for the positive class and 0 for the other.
        scores: (n,), probability of the positive class.
        weights: (n,) not negative, such as how often a resample holds the sample; or None.

    Returns:
        A number in [0, 1]; NaN when a class is absent or a value is not finite.

    Raises:
        DataError: Lengths differ, a label is neither 0 nor 1, or a weight is negative.
    """
    return single(compute_many, labels, scores, weights)


def compute_many(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the balanced accuracy of every weighting, weights (n, R) -> (R,)."""
    called = scores >= THRESHOLD
    sensitivity = ratio(total(weights, labels & called), total(weights, labels))
    specificity = ratio(total(weights, ~labels & ~called), total(weights, ~labels))
    return (sensitivity + specificity) / 2
