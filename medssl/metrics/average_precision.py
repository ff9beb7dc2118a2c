"""Average precision: the area under the precision-recall curve, without interpolation."""

import numpy as np

from medssl.metrics.parts.weighted import ratio, single, total

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
    """Return the average precision of every weighting, weights (n, R) -> (R,)."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, np.ones(min(1, len(order)), dtype=bool)])
    weights, positive = weights[order], labels[order]
    flagged = np.cumsum(weights, axis=0)[ends]
    found = np.cumsum(weights * positive[:, None], axis=0)[ends]
    gained = np.diff(found, axis=0, prepend=np.zeros((1, weights.shape[1]), dtype=found.dtype))
    area = (gained * ratio(found, np.maximum(flagged, np.finfo(flagged.dtype).tiny))).sum(axis=0)
    return ratio(area, total(weights, positive))
