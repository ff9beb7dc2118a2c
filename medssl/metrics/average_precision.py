"""Average precision: the area under the precision-recall curve, without interpolation."""

import numpy as np

from medssl.metrics.parts.weighted import ratio, running_sum, single, total

TITLE = "average precision"
TAKES = "predictions"
HIGHER_IS_BETTER = True


def compute(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return precision averaged over the thresholds at which recall rises.

    With thresholds t_1 > t_2 > ... at the distinct scores, recall R_k and precision P_k:

        AP = sum_k (R_k - R_(k-1)) P_k

    A classifier that knows nothing has the share of positives, not 0.5. Reference: Manning, Raghavan and Schuetze,
    "Introduction to information retrieval", 2008, section 8.4.

    Args:
        labels: (n,), 1 for the positive class and 0 for the other.
        scores: (n,), higher for the positive class.
        weights: (n,) not negative, such as how often a resample holds the sample; or None.

    Returns:
        A number in (0, 1]; NaN when there is no positive or a value is not finite.

    Raises:
        DataError: Lengths differ, a label is neither 0 nor 1, or a weight is negative.
    """
    return single(compute_many, labels, scores, weights)


def compute_many(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the average precision of every weighting, weights (n, R) -> (R,).

    Recall rises at positives only: AP = sum_i w_i precision(s_i) / sum_i w_i over positives i, where precision(s_i)
    counts everything that scores at least s_i.
    """
    order = np.argsort(-scores, kind="stable")
    positives = order[labels[order]]
    positive = weights[positives]
    found = running_sum(positive)[_not_below(scores[positives])]
    called = running_sum(weights[order])[_not_below(scores[order])[labels[order]]]
    precision = ratio(found, called)
    return ratio(np.einsum("pr,pr->r", positive, np.where(positive > 0, precision, 0.0)), total(positive))


def _not_below(descending: np.ndarray) -> np.ndarray:
    """Return for each of the sorted scores how many are at least as high."""
    return np.searchsorted(-descending, -descending, side="right")
