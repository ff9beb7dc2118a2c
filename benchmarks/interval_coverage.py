"""How often do the intervals hold the truth? Simulated studies whose true AUROC is known.

    python benchmarks/interval_coverage.py --studies 1000 --patients 200

Every study draws patients with several images each (images of a patient resemble each other), label draws and
pretraining seeds (each moves the model's skill). The true value is the mean AUROC over all of them. Printed are the
share of 95 % intervals that hold it when patients, draws and seeds are resampled, and when images are resampled as if
they were independent, which is what most reports do.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.stats import norm

from medssl.evaluation.bootstrap import resample

DRAWS, SEEDS, IMAGES = 3, 2, 4
DRAW_SPREAD, SEED_SPREAD = 0.15, 0.1
WITHIN = 0.5


def simulate(studies: int, patients: int, resamples: int, seed: int, skill: float = 1.2) -> tuple[float, float]:
    """Return the coverage of the interval over patients, draws and seeds, and of one over images alone."""
    rng = np.random.default_rng(seed)
    truth = _truth(skill)
    held = np.zeros(2)
    for number in range(studies):
        table = _study(rng, patients, skill)
        for place, rows in enumerate((table, table.assign(patient_id=table["sample_id"])[lambda t: _first_model(t)])):
            row = resample(rows, ["auroc"], resamples, number).distribution("probe", "id", "auroc", "a", 5.0).row()
            held[place] += row["low"] <= truth <= row["high"]
    return float(held[0] / studies), float(held[1] / studies)


def _truth(skill: float) -> float:
    """Return the mean of Phi(d / sqrt(2 v)) over the skills d of all draws and seeds, v the variance of an image."""
    spread = np.hypot(DRAW_SPREAD, SEED_SPREAD)
    points = norm.ppf((np.arange(2000) + 0.5) / 2000)
    return float(norm.cdf((skill + spread * points) / np.sqrt(2 * (1 + WITHIN**2))).mean())


def _study(rng: np.random.Generator, patients: int, skill: float) -> pd.DataFrame:
    patient = np.repeat(np.arange(patients), IMAGES)
    labels = (rng.random(patients) < 0.5).astype(int)[patient]
    noise = rng.normal(size=patients)[patient] + WITHIN * rng.normal(size=len(patient))
    draws, seeds = DRAW_SPREAD * rng.normal(size=DRAWS), SEED_SPREAD * rng.normal(size=SEEDS)
    cells = [(draw, seed, skill + draws[draw] + seeds[seed]) for draw in range(DRAWS) for seed in range(SEEDS)]
    samples = {"sample_id": [f"s{i}" for i in range(len(patient))], "patient_id": [f"p{i}" for i in patient]}
    fixed = {"test_set": "id", "domain": "id", "site": None, "arm": "a", "run": "", "fraction": 5.0, "mode": "probe"}
    parts = [
        pd.DataFrame(
            {**samples, **fixed, "label": labels, "seed": seed, "draw": draw, "score": norm.cdf(labels * d + noise)}
        )
        for draw, seed, d in cells
    ]
    return pd.concat(parts, ignore_index=True)


def _first_model(table: pd.DataFrame) -> pd.Series:
    return (table["draw"] == 0) & (table["seed"] == 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    both = simulate(chosen.studies, chosen.patients, chosen.resamples, chosen.seed)
    print(f"patients, draws and seeds: {both[0]:.3f}; images of one model: {both[1]:.3f}; nominal 0.950")
