"""Scores of every cell in every resample, and what is read off them.

A cell is one trained model: mode, arm, run, seed, fraction, draw. All cells of a test set see the same resampled
patients, so differences between arms are paired. The value of an arm at a fraction is the mean over its cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm as normal
from scipy.stats import skew
from scipy.stats import t as student

from medssl import discovery
from medssl.evaluation.resampling import blocks, interval, level_counts, patient_counts
from medssl.evaluation.scored import ScoredSet, scored_sets
from medssl.metrics.parts.weighted import Many

Values = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]  # (test set, metric) -> (C,) and (C, R)

PATIENTS = "patients"
_UPPER = 0.975
_NOTHING = 1e-9  # rounding of a statistic that resampling does not move
_FEWEST, _FEWEST_PATIENTS = 30, 20  # resamples, and patients of a class, whose skewness can be told
_MOST_BIAS, _MOST_ACCELERATION = 0.5, 0.2
_CACHED, _LEAST_COLUMNS = 2**18, 16  # weights of resamples at a time: a megabyte
RESAMPLES = 10_000
RESAMPLES_OF_OTHERS = 2_000


class Level(NamedTuple):
    """How a statistic moves when one level alone, patients, label draws or seeds, is resampled.

    Attributes:
        moved: The statistic in every resample, minus its value, (R,); NaN where it is undefined.
        freedom: Units of the level less one; infinite for patients, which are taken as many.
    """

    moved: np.ndarray
    freedom: float


class Distribution(NamedTuple):
    """A statistic on the test set itself and in every resample.

    Attributes:
        value: On the test set itself.
        resampled: In every resample of patients, draws and seeds, (R,); NaN where it is undefined.
        levels: How each level moves the statistic; differences share the levels of patients and draws.
        patients: Of the smaller class in the test set.
    """

    value: float
    resampled: np.ndarray
    levels: dict[str, Level] = {}
    patients: int = 0

    def minus(self, other: "Distribution") -> "Distribution":
        """Return the difference in every resample."""
        return _combined([self, other], np.array([1.0, -1.0]))

    @property
    def corrected(self) -> np.ndarray:
        """The resamples, moved so that their plain quantiles are the limits of BCa intervals; their order stays, (R,).

        AUROC near 1 is skewed: its spread is wider where it is lower, and percentile intervals lie above the truth far
        more often than below it. BCa corrects for the bias of the median and for the change of the spread (Efron,
        "Better bootstrap confidence intervals", JASA 82, 1987). Both are read from resampling patients alone, since
        the skewness of a few draws or seeds cannot be told, and are scaled by the share that patients have in the
        spread, as third cumulants are. The acceleration is a sixth of the skewness, which for means of patients is
        what the jackknife gives. Below 20 patients of a class the interval stays the percentile interval.
        """
        if self.patients < _FEWEST_PATIENTS or PATIENTS not in self.levels:
            return self.resampled
        moved = self.levels[PATIENTS].moved
        moved, defined = moved[np.isfinite(moved)], np.isfinite(self.resampled)
        values = self.resampled[defined]
        if len(moved) < _FEWEST or np.ptp(moved) < _NOTHING:
            return self.resampled
        share = min(1.0, float(np.var(moved) / np.var(values))) ** 1.5
        below = (np.sum(moved < -_NOTHING) + np.sum(np.abs(moved) <= _NOTHING) / 2) / len(moved)
        bias = share * float(np.clip(normal.ppf(below), -_MOST_BIAS, _MOST_BIAS))
        acceleration = share * float(np.clip(skew(moved) / 6, -_MOST_ACCELERATION, _MOST_ACCELERATION))
        order, places = np.argsort(values, kind="stable"), np.arange(len(values))
        z = normal.ppf((places + 0.5) / len(values)) + bias
        share_below = normal.cdf(bias + z / (1 - acceleration * z))
        values[order] = np.interp(share_below * places[-1], places, values[order])  # quantiles, joined by lines
        result = self.resampled.copy()
        result[defined] = values
        return result

    @property
    def widened(self) -> np.ndarray:
        """The corrected resamples, moved away from the value as far as few draws and seeds tell little of spread, (R,).

        The spread of three draws is known with two degrees of freedom only. The degrees of freedom of the whole
        follow from the shares of its parts in the variance (Satterthwaite, "An approximate distribution of estimates
        of variance components", Biometrics Bulletin 2, 1946), and resamples are stretched by the ratio of the 97.5 %
        quantiles of Student's t and of the normal distribution. Patients are taken as many.
        """
        few = [level for level in self.levels.values() if np.isfinite(level.freedom)]
        parts = [(float(np.var(level.moved)), level.freedom) for level in few]
        uncertain = sum(variance**2 / freedom for variance, freedom in parts)
        corrected = self.corrected
        if not uncertain or not np.isfinite(self.value):
            return corrected
        freedom = max(1.0, float(np.nanvar(self.resampled)) ** 2 / uncertain)
        factor = float(student.ppf(_UPPER, freedom) / normal.ppf(_UPPER))
        least, most = np.floor(np.nanmin(self.resampled)), np.ceil(np.nanmax(self.resampled))
        return np.clip(self.value + factor * (corrected - self.value), least, most)

    def row(self) -> dict[str, Any]:
        """Return value, 95 % interval, the number of resamples, and how many of them were undefined and left out."""
        low, high = interval(self.widened)
        undefined = int(np.isnan(self.resampled).sum())
        return {
            "value": self.value,
            "low": low,
            "high": high,
            "resamples": len(self.resampled),
            "undefined": undefined,
        }


def mean(parts: Sequence[Distribution]) -> Distribution:
    """Return the mean of several statistics in every resample; undefined where there are none."""
    if not parts:
        return Distribution(float("nan"), np.full(1, np.nan))
    return _combined(parts, np.full(len(parts), 1 / len(parts)))


def _combined(parts: Sequence[Distribution], factors: np.ndarray) -> Distribution:
    """Return a sum with factors, level by level."""
    levels: dict[str, Level] = {}
    for part, factor in zip(parts, factors, strict=True):
        for name, level in part.levels.items():
            before = levels.get(name, Level(np.zeros(1), level.freedom))
            levels[name] = Level(before.moved + factor * level.moved, min(before.freedom, level.freedom))
    value = float(sum(factor * part.value for part, factor in zip(parts, factors, strict=True)))
    resampled = np.asarray(sum(factor * part.resampled for part, factor in zip(parts, factors, strict=True)))
    return Distribution(value, resampled, levels, min(part.patients for part in parts))


@dataclass
class Resampled:
    """The metrics of every cell of every test set, on the test set itself and in every resample."""

    tests: dict[str, ScoredSet]
    metrics: list[str]
    seed: int
    values: Values
    _kept: dict[tuple[Any, ...], Distribution] = field(default_factory=dict)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """The distinct (mode, test_set, domain, arm, fraction), the in-distribution test set first."""
        rows = [(place[0], test.name, test.domain, *place[1:]) for test in self.tests.values() for place in test.places]
        table = pd.DataFrame(rows, columns=["mode", "test_set", "domain", "arm", "fraction"])
        return table.sort_values("mode", kind="stable", ignore_index=True)

    def has(self, mode: str, test_set: str, arm: str, fraction: float) -> bool:
        """Return whether an arm was tested there."""
        return (mode, arm, fraction) in self.tests[test_set].places

    def draws(self, mode: str, test_set: str, arm: str, fraction: float) -> tuple[int, ...]:
        """Return the label draws that an arm has at a fraction."""
        test = self.tests[test_set]
        return tuple(np.unique(test.draws[test.places[mode, arm, fraction]]).tolist())

    def seeds(self, mode: str, test_set: str, arm: str, fraction: float) -> int:
        """Return the number of pretraining runs and seeds that an arm has at a fraction."""
        test = self.tests[test_set]
        return len(np.unique(test.seeds[test.places[mode, arm, fraction]]))

    def distribution(
        self,
        mode: str,
        test_set: str,
        metric: str,
        arm: str,
        fraction: float,
        draws: tuple[int, ...] | None = None,
    ) -> Distribution:
        """Return the mean of a metric over the cells of an arm at a fraction, resampling patients, draws and seeds.

        Arms that have the same draws are given the same resampled draws; seeds are resampled for each arm. Where seeds
        and draws are not crossed (each draw has a seed of its own), the cells of a draw are averaged and draws alone
        are resampled.

        Args:
            mode: "probe" or "finetune".
            test_set: Its name.
            metric: Its file name.
            arm: Its name.
            fraction: Percent of the training labels.
            draws: Use these only, by default all.
        """
        name = (mode, test_set, metric, arm, fraction, draws)
        if name not in self._kept:
            self._kept[name] = self._average(*name)
        return self._kept[name]

    def _average(
        self, mode: str, test_set: str, metric: str, arm: str, fraction: float, draws: tuple[int, ...] | None
    ) -> Distribution:
        test = self.tests[test_set]
        cells = test.places[mode, arm, fraction]
        cells = cells if draws is None else cells[np.isin(test.draws[cells], draws)]
        value, resampled = (array[cells] for array in self.values[test_set, metric])
        draw_names, draw = np.unique(test.draws[cells], return_inverse=True)
        seed_names, seed = np.unique(test.seeds[cells], return_inverse=True)
        resamples, shares = resampled.shape[1], 1 / np.bincount(draw)[draw]
        counts = {"draws": level_counts(tuple(draw_names), resamples, self.seed, "draws")[:, draw]}
        units = {"draws": len(draw_names)}
        if len(cells) == len(draw_names) * len(seed_names):
            name = f"seeds of {arm}"
            counts[name] = level_counts(tuple(seed_names), resamples, self.seed, "seeds", arm)[:, seed]
            units[name] = len(seed_names)
        weights = shares * np.prod(list(counts.values()), axis=0)
        held = np.where(weights.T > 0, resampled, 0.0)
        means = np.einsum("cr,rc->r", held, weights) / weights.sum(axis=1)
        average = float(np.average(value, weights=shares))
        levels = {
            name: Level((shares * count) @ value / (shares * count).sum(axis=1) - average, units[name] - 1)
            for name, count in counts.items()
            if units[name] > 1
        }
        levels[PATIENTS] = Level(shares @ resampled / shares.sum() - average, np.inf)
        return Distribution(average, means, levels, test.fewest_patients)


def resample(
    predictions: pd.DataFrame, metrics: list[str] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Compute metrics of every cell on resampled patients.

    Args:
        predictions: The table of `medssl.evaluation.predictions`.
        metrics: File names in `medssl/metrics`; by default all that take predictions.
        resamples: For AUROC; the others get at most 2,000.
        seed: Other numbers give other resamples; equal ones the same, whatever the order of rows.

    Raises:
        DataError: The table is not valid.
    """
    metrics = of_predictions() if metrics is None else metrics
    tests = scored_sets(predictions)
    values: Values = {}
    for test in tests.values():
        for metric in metrics:
            shape = (len(test.cells), _count(metric, resamples))
            values[test.name, metric] = np.empty(shape[0]), np.empty(shape)
        _fill(test, metrics, resamples, seed, values)
    return Resampled(tests, metrics, seed, values)


def of_predictions() -> list[str]:
    """Return the names of all metrics that take predictions, AUROC first."""
    modules = {name: discovery.load("metrics", name) for name in discovery.names("metrics")}
    names = [name for name, module in modules.items() if module.TAKES == "predictions"]
    return sorted(names, key=lambda name: (name != "auroc", name))


def summarise(predictions: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Return a row of value, interval and counts per mode, test set, arm, fraction and metric."""
    return pd.DataFrame(score_rows(resample(predictions, resamples=resamples, seed=seed)))


def score_rows(resampled: Resampled) -> list[dict[str, Any]]:
    """Return the rows of `summarise`: group, metric, value, low, high, resamples, undefined, counts and remark."""
    rows: list[dict[str, Any]] = []
    for mode, test_set, domain, arm, fraction in resampled.groups.itertuples(index=False):
        test = resampled.tests[test_set]
        group = {"mode": mode, "test_set": test_set, "domain": domain, "arm": arm, "fraction": fraction}
        draws, seeds = resampled.draws(mode, test_set, arm, fraction), resampled.seeds(mode, test_set, arm, fraction)
        end = {"draws": len(draws), "seeds": seeds, **test.counts}
        for metric in resampled.metrics:
            found = resampled.distribution(mode, test_set, metric, arm, fraction)
            rows.append({**group, "metric": metric, **found.row(), **end, "flag": test.remark})
    return rows


def _count(metric: str, resamples: int) -> int:
    return resamples if metric == "auroc" else min(resamples, RESAMPLES_OF_OTHERS)


def _fill(test: ScoredSet, metrics: list[str], resamples: int, seed: int, values: Values) -> None:
    """Fill the arrays of a test set, block by block so that the weights of a block stay in the processor's cache."""
    formulas: dict[str, Many] = {metric: _formula(discovery.load("metrics", metric)) for metric in metrics}
    once = np.ones((len(test.labels), 1))
    for metric, formula in formulas.items():
        values[test.name, metric][0][:] = [formula(test.labels, scores, once)[0] for scores in test.scores]
    width = max(_LEAST_COLUMNS, _CACHED // len(test.labels))
    for start, stop in blocks(max(_count(metric, resamples) for metric in metrics)):
        counts = patient_counts(test.patients.max() + 1, start, stop, seed, test.stream).astype(np.float32)
        for first in range(start, stop, width):
            some = counts[first - start : first - start + width]
            weights = np.ascontiguousarray(some.T)[test.patients]
            for metric, formula in formulas.items():
                target = values[test.name, metric][1][:, first : first + len(some)]
                for cell, scores in enumerate(test.scores if target.size else []):
                    target[cell] = formula(test.labels, scores, weights[:, : target.shape[1]])


def _formula(module: ModuleType) -> Many:
    """Return a metric's `compute_many`, or a loop over its `compute`."""
    compute: Callable[..., float] = module.compute
    return getattr(module, "compute_many", None) or (
        lambda labels, scores, weights: np.array([compute(labels, scores, column) for column in weights.T])
    )
