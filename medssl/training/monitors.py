"""Looking at the features while they are learnt: nearest neighbours, spread, effective rank, and remarks aloud.

The online kNN asks whether images with a label lie near others of that label, patient by patient: neighbours of the
same patient do not vote. It uses labels of training patients only, and the choice of the best checkpoint rests on it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from medssl.batch import Batch
from medssl.chance import key
from medssl.errors import MedsslError
from medssl.metrics import auroc, effective_rank, knn
from medssl.training.collapse import GO_ON
from medssl.training.loop import Hook, Training
from medssl.training.recorder import Journal

_BATCH = 100
_COLLAPSED_SPREAD = 0.002  # MAE's features share most of their direction and still go down to 0.01
_COLLAPSED_RANK = 1.2  # of centred features, which RankMe's are not
_FIX = "Lower train.base_learning_rate, or use larger batches"


@dataclass(frozen=True)
class Watched:
    """The images that are looked at.

    Attributes:
        batches: Returns stored images in pieces.
        view: Turns a batch into (B, C, *spatial) float32 without augmentation, on a device.
        labels: (N,) 1, 0 or NaN.
        patients: (N,) patient keys, None where unknown.
    """

    batches: Callable[[], list[Batch]]
    view: Callable[[Batch, torch.device], torch.Tensor]
    labels: np.ndarray
    patients: np.ndarray

    @property
    def votes(self) -> np.ndarray:
        """A boolean an image: has it both label and patient?"""
        return np.isfinite(self.labels) & np.array([patient is not None for patient in self.patients], dtype=bool)


def choose_watched(labels: np.ndarray, patients: np.ndarray, content: np.ndarray, most: int) -> np.ndarray:
    """Return which images are looked at, at most so many: those with a label first, whole patients in random order.

    The order is a hash of the patient (of the content where the patient is unknown), so it is the same in every run.
    """
    owner = [patient if patient is not None else name for patient, name in zip(patients, content)]
    unlabelled = ~np.isfinite(labels)
    order = sorted(range(len(labels)), key=lambda i: (unlabelled[i], key("watched", owner[i]), content[i]))
    return np.sort(np.array(order[:most], dtype=np.int64))


@torch.no_grad()
def features(backbone: nn.Module, watched: Watched, device: torch.device) -> np.ndarray:
    """Return pooled features in eval mode, (N, D) float32."""
    was_training = backbone.training
    backbone.eval()
    pieces = [backbone(watched.view(batch, device)).pooled.float().cpu().numpy() for batch in watched.batches()]
    backbone.train(was_training)
    return np.concatenate(pieces)


def spread(found: np.ndarray) -> float:
    """Return the spread of directions: sqrt(D) times the mean standard deviation of L2-normalised features.

    1 when directions are even, 0 when all images have the same one (Chen and He, "Exploring simple siamese
    representation learning", CVPR 2021, figure 2).
    """
    unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return float(unit.std(axis=0).mean() * math.sqrt(found.shape[1]))


def look(found: np.ndarray, watched: Watched) -> dict[str, Any]:
    """Return the monitored values; what is undefined is None."""
    votes = watched.votes
    labels = watched.labels[votes]
    score = float("nan")
    if len(set(labels)) == 2:
        near = knn.scores(found[votes], labels, watched.patients[votes])
        score = float("nan") if np.isnan(near).any() else auroc.compute(labels, near)
    values = {"knn_auroc": score, "feature_std": spread(found), "effective_rank": effective_rank.compute(found)}
    known = {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}
    return {"knn_auroc": known.pop("knn_auroc"), "knn_n": int(votes.sum()), **known}


class Monitor(Hook):
    """Look at the features before training, every few epochs and at the end; remember the best kNN score."""

    name = "monitor"

    def __init__(
        self, journal: Journal, watched: Watched, backbone: nn.Module, every: int, *, stops: bool = True
    ) -> None:
        """Look every so many steps; the first process looks, the others go on.

        Args:
            journal: Where values and remarks go.
            watched: What is looked at.
            backbone: Whose features.
            every: Steps between looks.
            stops: Whether features that have collapsed at two looks in a row end the run.
        """
        self.journal, self.watched, self.backbone, self.every, self.stops = journal, watched, backbone, every, stops
        self.best: float | None = None
        self.best_step: int | None = None
        self._first: float | None = None
        self._collapsed = 0

    def start(self, training: Training) -> None:
        if training.step == 0:
            self._first = self._look(training).get("knn_auroc")

    def after_step(self, training: Training) -> None:
        if training.step % self.every == 0 or training.step == training.plan.steps or training.stopped:
            values = self._look(training)
            score = values.get("knn_auroc")
            if training.device.share(self.stops and self._collapsed > 1):
                raise _stopped(training.step, values)
            if score is not None and (self.best is None or score > self.best):
                self.best, self.best_step = score, training.step

    def finish(self, training: Training) -> None:
        if self.best is not None and self._first is not None and self.best <= self._first:
            self.journal.remark(
                training.step,
                f"The online kNN never rose above its value before training ({self._first:.3f}): "
                "train longer, or look at the loss",
            )

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "first": self._first, "collapsed": self._collapsed}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.best_step = state["best"], state["best_step"]
        self._first, self._collapsed = state["first"], state.get("collapsed", 0)

    def _look(self, training: Training) -> dict[str, Any]:
        if training.device.rank != 0:
            return {}
        found = features(self.backbone, self.watched, training.device.target)
        values = look(found, self.watched)
        self.journal.line("monitor", {"step": training.step, "epoch": training.epoch, **values})
        if training.step > 0:
            self._collapsed = self._collapsed + 1 if collapsed(found) else 0
        if self._collapsed == 1:
            self.journal.remark(training.step, f"{_said(values)}. {_FIX}")
        return values


def _said(values: dict[str, Any]) -> str:
    return f"The features have collapsed: spread {values['feature_std']}, effective rank {values['effective_rank']}"


def _stopped(step: int, values: dict[str, Any]) -> MedsslError:
    said = _said(values) if values else "The features have collapsed"
    return MedsslError(f"{said}, at two looks in a row up to step {step}", fix=f"{_FIX}. {GO_ON}")


def collapsed(found: np.ndarray) -> bool:
    """Tell whether features, (N, D), lie at one point, or on one line."""
    if not np.isfinite(found).all() or spread(found) < _COLLAPSED_SPREAD:
        return True
    return effective_rank.compute(found - found.mean(axis=0)) < _COLLAPSED_RANK
