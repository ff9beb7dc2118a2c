"""Which patients, label draws and seeds a resample holds, as a function of names and never of order.

A result has three sources of chance: the patients of the test set, the labels that were drawn for training, and the
seed of the pretraining. They are crossed: every draw and every seed is tested on every patient. Each is resampled for
itself and the multiplicities are multiplied (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007).
"""

import numpy as np

from medssl.chance import key

BLOCK = 250


def blocks(resamples: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the blocks that resamples are drawn in: fewer resamples are the first of more."""
    return [(start, min(start + BLOCK, resamples)) for start in range(0, resamples, BLOCK)]


def patient_counts(patients: int, start: int, stop: int, seed: int, test_set: str) -> np.ndarray:
    """Return how often each resample of a block holds each patient, (stop - start, patients).

    As many patients as there are, drawn with replacement: multinomial counts. A patient comes with all its images
    (Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007). Classes are not held fixed: a resample without
    a class leaves the metric undefined, and is counted.
    """
    rng = np.random.default_rng(key(seed, "patients", test_set, start // BLOCK))
    cells = rng.integers(0, patients, (BLOCK, patients))
    cells += patients * np.arange(BLOCK)[:, None]
    return np.bincount(cells.ravel(), minlength=BLOCK * patients).reshape(BLOCK, patients)[: stop - start]


def level_counts(units: tuple[object, ...], resamples: int, seed: int, *names: object) -> np.ndarray:
    """Return how often each resample holds each label draw or each seed, (resamples, units).

    One unit fewer than there are is drawn: with n drawn out of n, the variance of a mean of three would be too small
    by a third (Rao and Wu, "Resampling inference with complex survey data", JASA 83, 1988). A single unit is always
    held: its spread is unknown and not in the interval.
    """
    if len(units) == 1:
        return np.ones((resamples, 1), dtype=np.int64)
    rng = np.random.default_rng(key(seed, *names, *units))
    count = len(units)
    return np.concatenate(
        [rng.multinomial(count - 1, np.full(count, 1 / count), size=BLOCK)[: b - a] for a, b in blocks(resamples)]
    )


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the defined values: their 2.5 % and 97.5 % quantiles for a level of 0.95.

    Reference: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
