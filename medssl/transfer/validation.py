"""Choosing settings inside a label set: patients are held out, and the loss on them decides."""

import numpy as np

from medssl.data.splits import grouped_folds
from medssl.errors import DataError


def folds(labels: np.ndarray, patients: np.ndarray, most: int, seed: int) -> list[np.ndarray]:
    """Return the rows of k parts that share no patient and all have both classes.

    k is the largest number up to `most` and the patients of the rarer class for which there are such parts: a patient
    with images of both classes can be in one part only.

    Args:
        labels: (N,) of 0 and 1.
        patients: (N,) patient keys.
        most: The largest k, at least 2.
        seed: Another seed, another deal.

    Returns:
        Row numbers of each part; no parts where not even two are possible, so that nothing can be held out.
    """
    for k in range(min(most, fewest_patients(labels, patients)), 1, -1):
        try:
            return grouped_folds(labels, patients, k, seed)
        except DataError:  # a part would lack a class
            continue
    return []


def fewest_patients(labels: np.ndarray, patients: np.ndarray) -> int:
    """Return how many patients the rarer class has; one with images of both classes counts for both."""
    return min(len(np.unique(np.asarray(patients)[np.asarray(labels) == value])) for value in (0, 1))


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean negative log likelihood, probabilities kept 1e-7 away from 0 and 1."""
    scores = np.clip(scores, 1e-7, 1 - 1e-7)
    return float(-np.mean(labels * np.log(scores) + (1 - labels) * np.log1p(-scores)))
