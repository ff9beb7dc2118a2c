"""Area under the receiver operating characteristic curve."""

import numpy as np

from medssl.metrics.parts.weighted import ratio, running_sum, single, total

TITLE = "AUROC"
TAKES = "predictions"
HIGHER_IS_BETTER = True


def compute(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the probability that a positive scores higher than a negative, ties counting half.

    With weights w, positives i and negatives j:

        AUROC = sum_ij w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (sum_i w_i sum_j w_j)

    Reference: Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC)
    curve", Radiology 143, 1982.

    Args:
        labels: (n,), 1 for the positive class and 0 for the other.
        scores: (n,), higher for the positive class.
        weights: (n,) not negative, such as how often a resample holds the sample; or None.

    Returns:
        A number in [0, 1]; NaN when a class is absent or a value is not finite.

    Raises:
        DataError: Lengths differ, a label is neither 0 nor 1, or a weight is negative.

    Example:
        >>> compute([0, 1, 1, 0], [0.1, 0.9, 0.4, 0.4])
        0.875
    """
    return single(compute_many, labels, scores, weights)


def compute_many(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the AUROC of every weighting, weights (n, R) -> (R,).

    Negatives are sorted once; the weight below a positive and below-or-tied with it are two rows of one cumulative
    sum. Sums of whole numbers are exact in float32 up to 2^24; products are added up in float64.
    """
    order = np.flatnonzero(~labels)[np.argsort(scores[~labels], kind="stable")]
    below = np.searchsorted(scores[order], scores[labels], side="left")
    not_above = np.searchsorted(scores[order], scores[labels], side="right")
    reached = running_sum(weights[order])
    positive = weights[labels]
    wins = np.einsum("pr,pr->r", positive, reached[below] + reached[not_above], dtype=np.float64) / 2
    return ratio(wins, total(positive) * reached[-1].astype(np.float64))
