"""How often do the intervals hold the truth? Simulated studies whose true AUROC is known.

    python benchmarks/interval_coverage.py --studies 2000 --patients 50 100 200 --auroc 0.6 0.7 0.8 0.9 0.95

Every study draws patients with several images each (images of a patient resemble each other), label draws and
pretraining seeds (each moves the model's skill). The true value is the mean AUROC over all of them. Printed is, for
each number of patients (half of them positive) and each true AUROC, the share of 95 % intervals that hold
it when patients, draws and seeds are resampled, the share that lies wholly above or below it, and, with --naive, the
share of intervals that hold it when the images of one model are resampled as if they were independent, which is what
most reports do.
"""

import argparse
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from medssl.evaluation.bootstrap import resample

IMAGES = 4
WITHIN = 0.5


class Design(NamedTuple):
    """How many label draws and pretraining seeds a study has, and how much each moves the model's skill."""

    draws: int = 3
    seeds: int = 2
    draw_spread: float = 0.15
    seed_spread: float = 0.1


_USUAL = Design()


class Coverage(NamedTuple):
    """Shares of studies: the interval holds the truth, lies above it, lies below it; the naive one holds it."""

    held: float
    above: float
    below: float
    naive: float


def simulate(
    studies: int,
    patients: int,
    resamples: int,
    seed: int,
    auroc: float = 0.85,
    *,
    design: Design = _USUAL,
    naive: bool = True,
) -> Coverage:
    """Return what became of the intervals of so many studies; without `naive` its share is NaN."""
    rng = np.random.default_rng(seed)
    skill = brentq(lambda skill: _truth(skill, design) - auroc, 0, 10)
    limits = np.full((studies, 2, 2), np.nan)
    for number in range(studies):
        table = _study(rng, patients, float(skill), design)
        tables = [table, table.assign(patient_id=table["sample_id"])[_first_model(table)]]
        for place, rows in enumerate(tables if naive else tables[:1]):
            row = resample(rows, ["auroc"], resamples, number).distribution("probe", "id", "auroc", "a", 5.0).row()
            limits[number, place] = row["low"], row["high"]
    above, below = limits[:, :, 0] > auroc, limits[:, :, 1] < auroc
    missed = (above | below).mean(axis=0)
    return Coverage(
        held=float(1 - missed[0]),
        above=float(above[:, 0].mean()),
        below=float(below[:, 0].mean()),
        naive=float(1 - missed[1]) if naive else float("nan"),
    )


def _truth(skill: float, design: Design) -> float:
    """Return the mean of Phi(d / sqrt(2 v)) over the skills d of all draws and seeds, v the variance of an image."""
    spread = np.hypot(design.draw_spread, design.seed_spread)
    points = norm.ppf((np.arange(2000) + 0.5) / 2000)
    return float(norm.cdf((skill + spread * points) / np.sqrt(2 * (1 + WITHIN**2))).mean())


def _study(rng: np.random.Generator, patients: int, skill: float, design: Design) -> pd.DataFrame:
    patient = np.repeat(np.arange(patients), IMAGES)
    labels = (np.arange(patients) % 2)[patient]
    noise = rng.normal(size=patients)[patient] + WITHIN * rng.normal(size=len(patient))
    draws = design.draw_spread * rng.normal(size=design.draws)
    seeds = design.seed_spread * rng.normal(size=design.seeds)
    cells = [(d, s, skill + draws[d] + seeds[s]) for d in range(design.draws) for s in range(design.seeds)]
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
    parser.add_argument("--patients", type=int, nargs="+", default=[200])
    parser.add_argument("--auroc", type=float, nargs="+", default=[0.85])
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=_USUAL.draws)
    parser.add_argument("--seeds", type=int, default=_USUAL.seeds)
    parser.add_argument("--draw-spread", type=float, default=_USUAL.draw_spread)
    parser.add_argument("--seed-spread", type=float, default=_USUAL.seed_spread)
    parser.add_argument("--naive", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    asked = Design(chosen.draws, chosen.seeds, chosen.draw_spread, chosen.seed_spread)
    print(f"{chosen.studies} studies each, {chosen.resamples} resamples, {IMAGES} images a patient, {asked}")
    print("| patients | true AUROC | held | above | below | held, images of one model |")
    print("|---|---|---|---|---|---|")
    for patients in chosen.patients:
        for auroc in chosen.auroc:
            found = simulate(
                chosen.studies, patients, chosen.resamples, chosen.seed, auroc, design=asked, naive=chosen.naive
            )
            shares = " | ".join("" if np.isnan(share) else f"{100 * share:.1f} %" for share in found)
            print(f"| {patients} | {auroc:g} | {shares} |", flush=True)
