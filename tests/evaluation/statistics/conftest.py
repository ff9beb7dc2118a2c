"""Tables of predictions with a known answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

COMMON = {"test_set": "id", "domain": "id", "arm": "mae", "run": "", "seed": 0, "fraction": 100.0, "draw": 0}


def from_scores(labels: Sequence[int], scores: Sequence[float], patients: Sequence[str] | None = None, **columns: Any):
    """Return the rows of one cell."""
    count = len(labels)
    patients = [f"P{i:04d}" for i in range(count)] if patients is None else list(patients)
    rows = {"sample_id": [f"s{i:04d}" for i in range(count)], "patient_id": patients, "site": None, "label": labels}
    return pd.DataFrame({**COMMON, "mode": "probe", **rows, "score": scores, **columns})


@pytest.fixture(scope="session")
def cell() -> Callable[..., pd.DataFrame]:
    return from_scores


@pytest.fixture(scope="session")
def study() -> Callable[..., pd.DataFrame]:
    """Return predictions of several arms, tested on several images a patient.

    `arms` gives each arm's skill: how far the scores of the classes are apart, in standard deviations.
    """

    def build(
        arms: Mapping[str, float],
        *,
        fractions: Sequence[float] = (5.0, 100.0),
        draws: int = 3,
        seeds: Mapping[str, int] | None = None,
        sets: Sequence[str] = ("id", "device-b"),
        patients: int = 120,
        noise: float = 0.5,
        gain: float = 0.3,
        seed: int = 0,
    ) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        parts = []
        for name in sets:
            of = np.sort(np.concatenate([np.arange(patients), rng.integers(0, patients, patients)]))
            labels = (rng.random(patients) < 0.4).astype(int)[of]
            shared = rng.normal(size=patients)[of] + rng.normal(size=len(of))
            for arm, skill in arms.items():
                for fraction in fractions:
                    for draw in range(draws):
                        for number in range((seeds or {}).get(arm, 1)):
                            distance = skill + gain * np.log10(fraction / 100)
                            raw = labels * distance + shared + noise * rng.normal(size=len(of))
                            place = {"test_set": name, "domain": "id" if name == "id" else "ood", "arm": arm}
                            cell = {"run": f"{arm}-{number}", "seed": number, "fraction": fraction, "draw": draw}
                            names = [f"{name}-{i:03d}" for i in of]
                            parts.append(from_scores(labels, 1 / (1 + np.exp(-raw)), names, **place, **cell))
        return pd.concat(parts, ignore_index=True)

    return build
