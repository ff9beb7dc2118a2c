"""How well something can be read from features: a label, and the site or device, which ought not to be readable."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from medssl.evaluation.resampling import blocks, interval, patient_counts
from medssl.metrics import auroc, knn

MOST_IMAGES = 5000
_RESAMPLES = 500
_FEWEST_PATIENTS = 2


_NONE = float("nan")


class Reading(NamedTuple):
    """How well the neighbours of an image tell a word of it.

    Attributes:
        auroc: One class against the rest, the mean over the classes; 0.5 is a guess, 1 is perfect. NaN where undefined.
        low: Lower limit of its 95 % interval over patients.
        high: Upper limit.
        accuracy: Balanced accuracy of the class with most votes; a guess has 1 / classes.
        classes: How many classes there are.
        images: On how many images.
        why: Why there is no figure, or what was left out; empty otherwise.
    """

    auroc: float
    low: float
    high: float
    accuracy: float
    classes: int
    images: int
    why: str = ""


def read_out(features: np.ndarray, words: np.ndarray, patients: np.ndarray, others: np.ndarray) -> Reading:
    """Return how well a word can be told from the 20 nearest neighbours that may vote.

    Every class is scored against the rest by `medssl.metrics.knn.class_scores`, with intervals from resampled patients.

    Args:
        features: (N, D).
        words: (N,) words, missing where unknown: such an image neither votes nor is scored.
        patients: (N,) patient keys, for the intervals and for which classes can be told at all.
        others: (N,) groups whose images never vote for each other: the patients, or the sites.
    """
    table = pd.DataFrame({"word": list(words), "patient": patients, "other": others, "row": np.arange(len(patients))})
    known = table.dropna(subset=["word", "other"])
    kept = known.groupby("word")["other"].transform("nunique") >= _FEWEST_PATIENTS
    told, few = known[kept], known.loc[~kept, "word"].nunique()
    classes = sorted(told["word"].unique())
    left = f"{few} of its words have one patient or site only and are left out" if few else ""
    if len(classes) < 2:
        found = known["word"].nunique()
        why = left or ("it is not known of these images" if not found else "it is the same for all images")
        return Reading(_NONE, _NONE, _NONE, _NONE, len(classes), len(told), why)
    codes = pd.Index(classes).get_indexer(told["word"])
    labels = codes[:, None] == np.arange(len(classes))  # (n, K)
    groups = told["other"].to_numpy(dtype=object)
    rows = features[told["row"].to_numpy()]
    scores = knn.class_scores(rows, labels, groups)
    if not np.isfinite(scores).all():
        why = "all images have nearly the same features: they have collapsed"
        return Reading(_NONE, _NONE, _NONE, _NONE, len(classes), len(told), why)
    value, low, high = _mean_auroc(labels, scores, told["patient"].to_numpy(dtype=object))
    right = scores.argmax(axis=1) == codes
    accuracy = float(np.mean([right[column].mean() for column in labels.T]))
    return Reading(value, low, high, accuracy, len(classes), len(told), left)


def _mean_auroc(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> tuple[float, float, float]:
    """Return the mean AUROC over classes and its interval, labels and scores (n, K)."""
    codes = pd.factorize(patients)[0]
    value = float(np.mean([auroc.compute(label, score) for label, score in zip(labels.T, scores.T, strict=True)]))
    resampled = []
    for start, stop in blocks(_RESAMPLES):
        counts = patient_counts(codes.max() + 1, start, stop, 0, "read out").astype(np.float32)
        weights = np.ascontiguousarray(counts.T)[codes]
        each = [auroc.compute_many(label, score, weights) for label, score in zip(labels.T, scores.T, strict=True)]
        resampled.append(np.mean(each, axis=0))
    return value, *interval(np.concatenate(resampled))
