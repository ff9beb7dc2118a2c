"""Expected calibration error: how far probabilities are from frequencies."""

import numpy as np

from medssl.metrics.parts.weighted import ratio, single, total

TITLE = "expected calibration error"
TAKES = "predictions"
HIGHER_IS_BETTER = False

BINS = 10


def compute(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean gap between mean score and share of positives, over ten bins of equal width.

        ECE = sum_b (w_b / w) |mean score in b - share of positives in b|

    Bins are [0, 0.1), ..., [0.9, 1]. In small samples the value is above 0 even for perfect probabilities, and higher
    still in resamples, so that an interval may lie above the value: compare arms, and read it with the Brier score.

    Reference: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI
    2015, here for the probability of the positive class.

    Args:
        labels: (n,), 1 for the positive class and 0 for the other.
        scores: (n,), probability of the positive class, in [0, 1].
        weights: (n,) not negative, such as how often a resample holds the sample; or None.

    Returns:
        A number in [0, 1], lower is better; NaN when there is no sample or a value is not finite.

    Raises:
        DataError: Lengths differ, a label is neither 0 nor 1, or a weight is negative.
    """
    return single(compute_many, labels, scores, weights)


def compute_many(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the expected calibration error of every weighting, weights (n, R) -> (R,)."""
    bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    gaps = np.zeros((BINS, len(scores)))
    gaps[bins, np.arange(len(scores))] = scores - labels
    return ratio(np.abs(gaps @ weights).sum(axis=0), total(weights))
