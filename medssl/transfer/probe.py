"""The linear probe: L2-penalised logistic regression on frozen features, its strength chosen inside the label set.

A penalised linear model on standardised features depends on them through their inner products only, so features wider
than they are many are first turned into their (at most n) principal axes: the same solution, far fewer numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from medssl.transfer.validation import folds as patient_folds
from medssl.transfer.validation import log_loss

GRID = tuple(float(c) for c in np.logspace(-4, 4, 9))
"""Inverse penalties C tried for every arm alike."""

WITHOUT_VALIDATION = 0.01
"""C where the patients are too few to hold any out."""

MOST_FOLDS = 5


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        weights: (D,) on raw features, the standardisation folded in.
        bias: The intercept.
        choice: What was chosen and how: `C`, `validation_log_loss` (None without validation), `folds`.
    """

    weights: np.ndarray
    bias: float
    choice: dict[str, Any]

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of the positive class, (N, D) -> (N,)."""
        return _sigmoid(np.asarray(features, float) @ self.weights + self.bias)


def fit(
    features: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, seed: int, grid: Sequence[float] = GRID
) -> Probe:
    """Fit the probe on all rows, with the C of lowest log loss in patient-grouped, stratified cross-validation.

    There are at most 5 folds, see `medssl.transfer.validation`; of equal losses the stronger penalty is taken.

    Args:
        features: (N, D) finite numbers.
        labels: (N,) of 0 and 1, both present.
        patients: (N,) patient keys; no patient is on both sides of a fold.
        seed: Decides the folds.
        grid: The values of C, tried in ascending order.
    """
    features, labels = np.asarray(features, float), np.asarray(labels, float)
    folds = patient_folds(labels, patients, MOST_FOLDS, seed)
    losses = _losses(features, labels, folds, sorted(grid)) if folds else None
    chosen = WITHOUT_VALIDATION if losses is None else sorted(grid)[int(np.argmin(losses))]
    weights, bias = next(_path(features, labels, [chosen]))
    loss = None if losses is None else float(np.min(losses))
    return Probe(weights, bias, {"C": chosen, "validation_log_loss": loss, "folds": len(folds)})


def _losses(features: np.ndarray, labels: np.ndarray, folds: list[np.ndarray], grid: Sequence[float]) -> np.ndarray:
    """Return the log loss over all held-out rows for each C, (len(grid),)."""
    scores = np.full((len(grid), len(labels)), np.nan)
    for held in folds:
        kept = np.setdiff1d(np.arange(len(labels)), held)
        for c, (weights, bias) in enumerate(_path(features[kept], labels[kept], grid)):
            scores[c, held] = _sigmoid(features[held] @ weights + bias)
    seen = ~np.isnan(scores[0])
    return np.array([log_loss(labels[seen], row[seen]) for row in scores])


def _path(features: np.ndarray, labels: np.ndarray, grid: Sequence[float]) -> Iterator[tuple[np.ndarray, float]]:
    """Yield weights and bias on raw features for each C, each fit started from the one before."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    varies = std > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    scale = np.where(varies, 1.0 / np.where(varies, std, 1.0), 0.0)
    standard = (features - mean) * scale
    axes = None
    if standard.shape[1] > len(standard):
        axes = np.linalg.svd(standard, full_matrices=False)[2]  # (N, D)
        standard = standard @ axes.T
    model = LogisticRegression(solver="newton-cholesky", warm_start=True, max_iter=100, tol=1e-6)
    for c in grid:
        model.set_params(C=c).fit(standard, labels)
        weights = (model.coef_[0] if axes is None else model.coef_[0] @ axes) * scale
        yield weights, float(model.intercept_[0] - weights @ mean)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * logits))
