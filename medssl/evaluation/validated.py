"""How good the frozen features of a run are on its own training patients: what settings may be chosen by.

No test patient is looked at: the images are those that the run was pretrained on, whose labels it never saw.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medssl.chance import key
from medssl.data.labels import binary_label
from medssl.data.manifest import Manifest
from medssl.errors import DataError
from medssl.evaluation.cohort import LabelSpec
from medssl.evaluation.embedded import Images, open_images, source_of
from medssl.evaluation.readable import read_out
from medssl.evaluation.resampling import blocks, interval, patient_counts
from medssl.metrics import auroc
from medssl.transfer import probe
from medssl.transfer.validation import folds as patient_folds

SCORES = {"probe": "linear probe, AUROC in cross-validation by patient", "knn": "20 nearest neighbours, AUROC"}
_FOLDS = 5
_RESAMPLES = 500


@dataclass(frozen=True)
class Validated:
    """AUROC of frozen features on the images that a run was pretrained on.

    Attributes:
        knn: Of the 20 nearest neighbours of other patients.
        knn_low: Lower limit of its 95 % interval over patients.
        knn_high: Upper limit.
        probe: Of a linear probe, every patient scored by one that was fitted without them; NaN where it cannot be.
        probe_low: Lower limit of its 95 % interval over patients, the probes as they are.
        probe_high: Upper limit.
        images: How many labelled images.
        patients: Of how many patients; an image of unknown patient counts as one.
        positives: How many of the images are positive.
        unknown: How many of the images have no known patient.
    """

    knn: float
    knn_low: float
    knn_high: float
    probe: float
    probe_low: float
    probe_high: float
    images: int
    patients: int
    positives: int
    unknown: int


def validate(
    run: Path, data: Path, label: LabelSpec, device: torch.device, *, baseline: str | None = None, seed: int = 0
) -> Validated:
    """Score the frozen features of a finished run, or of a baseline, on the run's own training images.

    Args:
        run: Its folder.
        data: The manifest that it was pretrained on.
        label: The column and its words.
        device: Where networks run.
        baseline: "random" for the architecture with random weights; None for the run's.
        seed: Of folds and of random weights.

    Raises:
        DataError: Fewer than two classes among the labelled training images, or the run cannot be used.
        SettingsError: The label cannot be read as two classes.
    """
    images = open_images(run, data)
    values = _labels(images, data, label)
    seen = images.table["sample_id"].isin(images.run.pretrained_on()["sample_id"]).to_numpy(dtype=bool)
    rows = np.flatnonzero(seen & np.isfinite(values))
    classes = len(set(values[rows]))
    if classes < 2:
        raise DataError(
            f"The label '{label.column}' has {classes} classes among the {len(rows)} labelled training images",
            where=data,
            fix="Two are needed: choose another label",
        )
    features = images.features(source_of(images, baseline, seed), device)[rows]
    labels, patients = values[rows], images.patients()[rows]
    found = read_out(features, labels.astype(object), patients, patients)
    crossed = _cross_validated(features, labels, patients, seed)
    unknown = int(images.table["patient_id"].isna().to_numpy(dtype=bool)[rows].sum())
    counts = (len(rows), len(set(patients)), int(labels.sum()), unknown)
    return Validated(found.auroc, found.low, found.high, *crossed, *counts)


def _labels(images: Images, data: Path, label: LabelSpec) -> np.ndarray:
    """Return 1, 0 or NaN for each image, by the words of the whole manifest."""
    usable = Manifest.load(data).usable()
    read = binary_label(usable, label.column, label.positive, label.negative).values
    by_id = dict(zip(usable.table["sample_id"], np.asarray(read, dtype=float), strict=True))
    return np.array([by_id[name] for name in images.table["sample_id"]])


def _cross_validated(
    features: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int
) -> tuple[float, float, float]:
    """Return the mean AUROC of probes over folds of patients and its interval; NaN where patients are too few to fold.

    The mean over folds and not one AUROC of all scores, since probes of different folds have different offsets. The
    interval resamples patients within the folds and fits no probe anew.
    """
    counts = _resampled(patients)
    values, resampled = [], []
    for held in patient_folds(labels, patients, _FOLDS, key(seed, "validated")):
        kept = np.setdiff1d(np.arange(len(labels)), held)
        fitted = probe.fit(features[kept], labels[kept], patients[kept], seed=key(seed, "probe"))
        scores = fitted.score(features[held])
        values.append(auroc.compute(labels[held], scores))
        resampled.append(auroc.compute_many(labels[held] == 1, scores, counts[held]))
    if not values:
        return float("nan"), float("nan"), float("nan")
    return float(_mean(np.array(values)[:, None])[0]), *interval(_mean(np.array(resampled)))


def _resampled(patients: np.ndarray) -> np.ndarray:
    """Return how often each resample of patients holds each image, (N, resamples)."""
    codes = np.unique(patients, return_inverse=True)[1]
    drawn = [patient_counts(codes.max() + 1, *block, 0, "validated") for block in blocks(_RESAMPLES)]
    return np.ascontiguousarray(np.concatenate(drawn).T.astype(np.float32))[codes]


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over folds of what is defined, (folds, n) -> (n,)."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    return np.where(count > 0, np.where(defined, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
