"""Brier score: the mean squared error of probabilities."""

import numpy as np

from medssl.metrics.parts.weighted import ratio, single, total

TITLE = "Brier score"
TAKES = "predictions"
HIGHER_IS_BETTER = False


def compute(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the weighted mean of (score - label)^2.

    Always saying the share p of positives gives p (1 - p). Reference: Brier, "Verification of forecasts expressed in
    terms of probability", Monthly Weather Review 78, 1950 (half of the original sum over two classes).

    Args:
        labels: (n,), 1 for the positive class and 0 for the other.
        scores: (n,), probability of the positive class.
        weights: (n,) not negative, such as how often a resample holds the sample; or None.

    Returns:
        A number in [0, 1], lower is better; NaN when there is no sample or a value is not finite.

    Raises:
        DataError: Lengths differ, a label is neither 0 nor 1, or a weight is negative.
    """
    return single(compute_many, labels, scores, weights)


def compute_many(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the Brier score of every weighting, weights (n, R) -> (R,)."""
    return ratio(total(weights, (scores - labels) ** 2), total(weights))
