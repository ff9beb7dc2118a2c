"""The scores of every cell of a test set, in one array."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from medssl.evaluation.predictions import CELL, SHIFTED, place_of, validate

RELIABLE_PATIENTS = 50


@dataclass(frozen=True)
class ScoredSet:
    """One test set: n samples, and the scores of its C cells.

    Attributes:
        name: "id", or the name of an out-of-distribution manifest.
        domain: "id", "ood", "own" or "shift".
        patients: (n,) codes from 0.
        labels: (n,) bool.
        cells: C rows of mode, arm, run, seed, fraction, draw.
        scores: (C, n).
    """

    name: str
    domain: str
    patients: np.ndarray
    labels: np.ndarray
    cells: pd.DataFrame
    scores: np.ndarray

    @cached_property
    def places(self) -> dict[tuple[str, str, float], np.ndarray]:
        """Which cells belong to each (mode, arm, fraction)."""
        found: dict[tuple[str, str, float], list[int]] = {}
        for number, place in enumerate(zip(self.cells["mode"], self.cells["arm"], self.cells["fraction"])):
            found.setdefault(place, []).append(number)
        return {place: np.array(found[place]) for place in sorted(found)}

    @cached_property
    def draws(self) -> np.ndarray:
        """The label draw of each cell, (C,)."""
        return self.cells["draw"].to_numpy()

    @cached_property
    def seeds(self) -> np.ndarray:
        """The pretraining of each cell, its run and seed as one text, (C,)."""
        return np.array([f"{run} {seed}" for run, seed in zip(self.cells["run"], self.cells["seed"])])

    @property
    def stream(self) -> str:
        """Whose resampled patients these are: those of the same images unchanged, or under other labels."""
        return "id" if self.domain == SHIFTED else place_of(self.name)

    @cached_property
    def counts(self) -> dict[str, Any]:
        """Return how many images and patients there are, and how many of each class."""
        positive, negative = self.patients[self.labels], self.patients[~self.labels]
        return {
            "n_images": len(self.labels),
            "n_patients": len(np.unique(self.patients)),
            "n_positive": int(self.labels.sum()),
            "n_positive_patients": len(np.unique(positive)),
            "n_negative_patients": len(np.unique(negative)),
        }

    @property
    def fewest_patients(self) -> int:
        """Patients in the smaller class."""
        return min(self.counts["n_positive_patients"], self.counts["n_negative_patients"])

    @property
    def remark(self) -> str:
        """Why an interval may be too narrow here, or an empty text.

        Simulated studies set the limit (`benchmarks/interval_coverage.py`): 50 patients in the smaller class.
        """
        if self.fewest_patients == 0:
            return "one class only: AUROC and balanced accuracy are undefined"
        if self.fewest_patients < RELIABLE_PATIENTS:
            fewest = self.fewest_patients
            return f"interval may be too narrow: {fewest} patients in the smaller class, {RELIABLE_PATIENTS} are needed"
        return ""


def scored_sets(predictions: pd.DataFrame) -> dict[str, ScoredSet]:
    """Return the test sets of a table of predictions, the in-distribution one first."""
    table = validate(predictions)
    result: dict[str, ScoredSet] = {}
    for (_, name), rows in table.groupby([table["domain"] != "id", "test_set"], sort=True):
        cells = rows.drop_duplicates(CELL)[CELL].reset_index(drop=True)
        samples = rows.iloc[: len(rows) // len(cells)]
        patients = pd.factorize(samples["patient_id"], sort=True)[0]
        scores = rows["score"].to_numpy().reshape(len(cells), len(samples))
        labels = samples["label"].to_numpy() == 1
        result[str(name)] = ScoredSet(str(name), str(samples["domain"].iloc[0]), patients, labels, cells, scores)
    return result
