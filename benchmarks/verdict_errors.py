"""How often is the verdict wrong? Simulated studies whose true effects are known.

    python benchmarks/verdict_errors.py --studies 500

An arm and training from scratch are tested here and elsewhere, at two fractions of the labels, over label draws (which
they share) and pretraining seeds (the arm's). Their scores on a patient resemble each other, as those of two networks
do. Three truths: no effect; an effect in distribution only; an effect that is reversed out of distribution. Printed
is, for the comparison fixed beforehand and for the others (corrected for their number), how often each word was said.
"""

import argparse
from collections import Counter

import numpy as np
import pandas as pd
from scipy.stats import norm

from medssl.evaluation.statistics import analyse
from medssl.evaluation.verdict import HARMS, HELPS, NO_GAIN, UNDECIDED

PATIENTS, IMAGES, DRAWS, SEEDS = 200, 2, 3, 3
FRACTIONS = (5.0, 100.0)
SKILL = {5.0: 0.9, 100.0: 1.6}
DRAW_SPREAD, SEED_SPREAD = 0.1, 0.08
SHARED = 0.7  # share of the variance of a score that the patient's images bring to every network
EFFECT = 0.35  # in skill; about 0.06 of AUROC
TRUTHS = {"no effect": (0.0, 0.0), "in distribution only": (EFFECT, 0.0), "reversed elsewhere": (EFFECT, -EFFECT)}
WORDS = (HELPS, HARMS, NO_GAIN, UNDECIDED)


def study(rng: np.random.Generator, effects: tuple[float, float]) -> pd.DataFrame:
    """Return the predictions of one study; `effects` are the arm's gains in skill here and elsewhere."""
    draws = DRAW_SPREAD * rng.normal(size=(len(FRACTIONS), DRAWS))
    seeds = SEED_SPREAD * rng.normal(size=SEEDS)
    parts = []
    for (test_set, domain), effect in zip((("id", "id"), ("there", "ood")), effects, strict=True):
        patient = np.repeat(np.arange(PATIENTS), IMAGES)
        label = (rng.random(PATIENTS) < 0.5).astype(int)[patient]
        common = np.sqrt(SHARED) * rng.normal(size=PATIENTS)[patient]
        place = {"test_set": test_set, "domain": domain, "site": None, "mode": "probe", "label": label}
        names = {"sample_id": [f"{test_set}{i}" for i in range(len(patient))]}
        names["patient_id"] = [f"{test_set}{i}" for i in patient]
        for number, fraction in enumerate(FRACTIONS):
            for draw in range(DRAWS):
                for arm, seed in [("scratch", -1), *(("ours", seed) for seed in range(SEEDS))]:
                    skill = SKILL[fraction] + draws[number, draw]
                    skill += effect + seeds[seed] if arm == "ours" else 0.0
                    noise = common + np.sqrt(1 - SHARED) * rng.normal(size=len(patient))
                    cell = {"arm": arm, "run": f"{seed}", "seed": max(seed, 0), "fraction": fraction, "draw": draw}
                    parts.append(pd.DataFrame({**names, **place, **cell, "score": norm.cdf(label * skill + noise)}))
    return pd.concat(parts, ignore_index=True)


def words(studies: int, effects: tuple[float, float], resamples: int, seed: int) -> dict[tuple[bool, str], Counter]:
    """Return how often each word was said, by whether the comparison was the primary one and by test set."""
    rng = np.random.default_rng(seed)
    said: dict[tuple[bool, str], Counter] = {}
    for number in range(studies):
        found = analyse(study(rng, effects), primary=("ours", "scratch"), resamples=resamples, seed=number)
        for row in found["verdicts"]:
            said.setdefault((row["primary"], row["test_set"]), Counter())[row["word"]] += 1
    return said


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(f"{chosen.studies} studies of each truth, {chosen.resamples} resamples, {PATIENTS} patients a test set")
    print(f"| truth | comparison | test set | {' | '.join(WORDS)} |")
    print(f"|---|---|---|{'---|' * len(WORDS)}")
    for name, effects in TRUTHS.items():
        for (primary, test_set), counts in words(chosen.studies, effects, chosen.resamples, chosen.seed).items():
            shares = " | ".join(f"{100 * counts[word] / counts.total():.1f} %" for word in WORDS)
            print(f"| {name} | {'primary' if primary else 'others'} | {test_set} | {shares} |", flush=True)
