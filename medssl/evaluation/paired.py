"""Differences between two arms on the same resampled patients and label draws."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medssl.evaluation.bootstrap import RESAMPLES, Distribution, Resampled, resample

ONE_DRAW = "one label draw: the chance of draw and training is not in the interval"


class Difference(NamedTuple):
    """Arm `a` minus arm `b` at one fraction on one test set."""

    mode: str
    test_set: str
    fraction: float
    metric: str
    a: str
    b: str
    distribution: Distribution
    flag: str

    def p(self, null: float = 0.0) -> float:
        """Return the two-sided bootstrap p-value of the difference being `null`.

        Twice the share of resamples on the rarer side, p = 2 min(#{d <= null} + 1, #{d >= null} + 1) / (R + 1), at
        most 1: below 0.05 when the 95 % percentile interval leaves `null` out. It cannot be below 2 / (R + 1), and is
        NaN where nothing is defined.

        Reference: Davison and Hinkley, "Bootstrap methods and their application", 1997, chapter 4.
        """
        values = self.distribution.widened
        values = values[np.isfinite(values)]
        if not len(values) or not np.isfinite(self.distribution.value):
            return float("nan")
        rarer = min(int((values <= null).sum()), int((values >= null).sum()))
        return min(1.0, 2 * (rarer + 1) / (len(values) + 1))

    def row(self, domain: str) -> dict[str, Any]:
        """Return the difference with its interval and p-value."""
        found = self.distribution.row()
        place = {"mode": self.mode, "test_set": self.test_set, "domain": domain, "fraction": self.fraction}
        pair = {"metric": self.metric, "a": self.a, "b": self.b, "difference": found.pop("value")}
        return {**place, **pair, "low": found["low"], "high": found["high"], "p": self.p(), **found, "flag": self.flag}


def paired(
    predictions: pd.DataFrame, a: str, b: str, *, metric: str = "auroc", resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Return a row of difference (a minus b), 95 % interval and two-sided p per mode, test set and common fraction.

    Patients and label draws are resampled together for both arms, seeds for each arm by itself.
    """
    resampled = resample(predictions, [metric], resamples, seed)
    return pd.DataFrame([d.row(resampled.tests[d.test_set].domain) for d in differences(resampled, a, b, metric)])


def differences(resampled: Resampled, a: str, b: str, metric: str = "auroc") -> list[Difference]:
    """Return the difference of two arms at every mode, test set and fraction that both have."""
    groups = resampled.groups
    keys = ["mode", "test_set", "fraction"]
    both = groups[groups["arm"] == a][keys].merge(groups[groups["arm"] == b][keys], how="inner")
    places = zip(both["mode"], both["test_set"], both["fraction"])
    return [difference(resampled, mode, test_set, fraction, a, b, metric) for mode, test_set, fraction in places]


def difference(
    resampled: Resampled, mode: str, test_set: str, fraction: float, a: str, b: str, metric: str = "auroc"
) -> Difference:
    """Return the difference of two arms at one fraction on one test set.

    Below 100 % only the label draws that both arms have are compared. With all labels there is one set of labels, and
    draws differ by chance in training only, so all of them are used.
    """
    of_a, of_b = (resampled.draws(mode, test_set, arm, fraction) for arm in (a, b))
    flag = resampled.tests[test_set].remark
    common = tuple(sorted(set(of_a) & set(of_b)))
    if fraction < 100 and common:
        of_a = of_b = common
    elif fraction < 100:
        flag = "; ".join(part for part in (flag, "the arms have no label draw in common") if part)
    first = resampled.distribution(mode, test_set, metric, a, fraction, of_a)
    second = resampled.distribution(mode, test_set, metric, b, fraction, of_b)
    if 1 in (len(of_a), len(of_b)):
        flag = "; ".join(part for part in (flag, ONE_DRAW) if part)
    return Difference(mode, test_set, float(fraction), metric, a, b, first.minus(second), flag)
