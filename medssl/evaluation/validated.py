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
from medssl.metrics import auroc
from medssl.transfer import probe
from medssl.transfer.validation import folds as patient_folds

SCORES = {"probe": "linear probe, AUROC in cross-validation by patient", "knn": "20 nearest neighbours, AUROC"}
_FOLDS = 5


@dataclass(frozen=True)
class Validated:
    """AUROC of frozen features on the images that a run was pretrained on.

    Attributes:
        knn: Of the 20 nearest neighbours of other patients.
        knn_low: Lower limit of its 95 % interval over patients.
        knn_high: Upper limit.
        probe: Of a linear probe, every patient scored by one that was fitted without them; NaN where it cannot be.
        images: How many labelled images.
        patients: Of how many patients.
    """

    knn: float
    knn_low: float
    knn_high: float
    probe: float
    images: int
    patients: int


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
            fix="Two are needed: choose another --label",
        )
    features = images.features(source_of(images, baseline, seed), device)[rows]
    labels, patients = values[rows], images.patients()[rows]
    found = read_out(features, labels.astype(object), patients, patients)
    crossed = _cross_validated(features, labels, patients, seed)
    return Validated(found.auroc, found.low, found.high, crossed, len(rows), len(set(patients)))


def _labels(images: Images, data: Path, label: LabelSpec) -> np.ndarray:
    """Return 1, 0 or NaN for each image, by the words of the whole manifest."""
    usable = Manifest.load(data).usable()
    read = binary_label(usable, label.column, label.positive, label.negative).values
    by_id = dict(zip(usable.table["sample_id"], np.asarray(read, dtype=float), strict=True))
    return np.array([by_id[name] for name in images.table["sample_id"]])


def _cross_validated(features: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int) -> float:
    """Return the mean AUROC of probes over folds of patients; NaN where patients are too few to fold.

    The mean over folds and not one AUROC of all scores, since probes of different folds have different offsets.
    """
    results = []
    for held in patient_folds(labels, patients, _FOLDS, key(seed, "validated")):
        kept = np.setdiff1d(np.arange(len(labels)), held)
        fitted = probe.fit(features[kept], labels[kept], patients[kept], seed=key(seed, "probe"))
        results.append(auroc.compute(labels[held], fitted.score(features[held])))
    return float(np.nanmean(results)) if np.isfinite(results).any() else float("nan")
