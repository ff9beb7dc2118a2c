"""Weighted k-nearest-neighbour scores of features, leaving out the patient who is scored."""

import numpy as np
import pandas as pd

from medssl.errors import DataError

TITLE = "k-nearest-neighbour score"
TAKES = "features"
HIGHER_IS_BETTER = True

_ROWS = 1024


def scores(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Return for every sample the share of positive votes among its nearest neighbours of other patients.

    With cosine similarity s_ij and N_k(i) the k most similar labelled samples of other groups,

        score_i = sum_{j in N_k(i)} exp(s_ij / temperature) [label_j = 1] / sum_{j in N_k(i)} exp(s_ij / temperature).

    Neighbours that tie with the k-th all vote, so that the order of samples does not matter. Two images of one patient
    look alike whatever was learnt, so a patient never votes for itself.

    Reference: Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018,
    https://arxiv.org/abs/1805.01978 (section 3.4: k = 200 and temperature 0.07 on ImageNet); k = 20 as in Caron et
    al., "Emerging properties in self-supervised vision transformers", ICCV 2021.

    Args:
        features: (N, D).
        labels: (N,), 0 or 1, NaN where unknown: such a sample is scored and does not vote.
        groups: (N,) patient keys, none of them missing.
        k: Number of neighbours, at least 1; all there are when there are fewer.
        temperature: Positive; smaller values trust the nearest more.

    Returns:
        (N,) in [0, 1]. NaN where nobody can vote, where all voters are equally near (the features have collapsed),
        and everywhere when a feature is not finite.

    Raises:
        DataError: A group is missing.
    """
    return class_scores(features, np.asarray(labels, dtype=np.float64)[:, None], groups, k, temperature)[:, 0]


def class_scores(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Return what `scores` returns for each of several labels, whose neighbours are looked for once.

    Args:
        features: (N, D).
        labels: (N, K), 0 or 1; a sample with an unknown one does not vote.
        groups: (N,) patient keys, none of them missing.
        k: Number of neighbours.
        temperature: Positive.

    Returns:
        (N, K).

    Raises:
        DataError: A group is missing.
    """
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    codes = _codes(groups)
    if features.size == 0 or not np.isfinite(features).all():
        return np.full(labels.shape, np.nan)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(float).tiny)
    voters = np.flatnonzero(np.isfinite(labels).all(axis=1))
    result = np.empty(labels.shape)
    for start in range(0, len(features), _ROWS):
        rows = slice(start, start + _ROWS)
        similarity = unit[rows] @ unit[voters].T
        similarity[codes[rows, None] == codes[voters]] = -np.inf
        result[rows] = _votes(similarity, labels[voters], k, temperature)
    return result


def _codes(groups: np.ndarray) -> np.ndarray:
    codes = pd.factorize(np.asarray(groups, dtype=object))[0]
    if (codes < 0).any():
        count = int((codes < 0).sum())
        raise DataError(f"{count} of {len(codes)} samples have no patient", fix="Leave them out of the kNN score")
    return codes


def _votes(similarity: np.ndarray, labels: np.ndarray, k: int, temperature: float) -> np.ndarray:
    """Return the weighted share of positive votes, (rows, voters) -> (rows, K); -inf marks who may not vote."""
    if similarity.shape[1] == 0:
        return np.full((len(similarity), labels.shape[1]), np.nan)
    k = min(k, similarity.shape[1])
    kth = -np.partition(-similarity, k - 1, axis=1)[:, k - 1 : k]
    allowed = np.isfinite(similarity)
    nearest = np.where(allowed, similarity, -np.inf).max(axis=1, keepdims=True)
    farthest = np.where(allowed, similarity, np.inf).min(axis=1, keepdims=True)
    known = np.isfinite(nearest) & ((farthest < nearest) | (allowed.sum(axis=1, keepdims=True) == 1))
    power = np.where(allowed & (similarity >= kth) & known, similarity - np.where(known, nearest, 0.0), -np.inf)
    weights = np.exp(power / temperature)
    with np.errstate(invalid="ignore"):
        return (weights @ labels) / weights.sum(axis=1, keepdims=True)
