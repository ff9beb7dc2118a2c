"""What acquisition shifts do to every arm: a value for each shift and severity, and the mean over the unseen ones.

Shifted images are those of the in-distribution test patients, and every resample holds the same patients in all of
them, so that means over shifts and differences from the unchanged images are paired.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medssl.evaluation.bootstrap import Distribution, Resampled, mean, resample
from medssl.evaluation.predictions import SHIFTED
from medssl.evaluation.shifts import SHIFTS

METRIC = "auroc"
RESAMPLES = 2_000


def shift_results(
    predictions: pd.DataFrame,
    seen: Mapping[str, Sequence[str]],
    *,
    reference: str = "scratch",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what stands in `results.json` under "shifts".

    Args:
        predictions: The table, with the unchanged in-distribution images ("id") and the shifted ones.
        seen: For each arm, the shifts of whose kind its augmentations show something.
        reference: The arm that the others are compared with.
        resamples: At most 2,000 are taken.
        seed: Of the resampling.

    Returns:
        `seen`; `curves`, a row an arm, fraction, shift and severity (0: unchanged) with value, interval and `seen`;
        `headline`, a row an arm and fraction with the value on unchanged images, the mean over the shifts that the arm
        has not seen (`unseen`, with its interval and their names), the `drop` between the two, and the difference to
        the reference over the shifts that neither has seen.
    """
    rows = predictions[(predictions["test_set"] == "id") | (predictions["domain"] == SHIFTED)]
    resampled = resample(rows, [METRIC], min(resamples, RESAMPLES), seed)
    names = [name for name in SHIFTS if any(test.startswith(f"{name} ") for test in resampled.tests)]
    places = resampled.groups[resampled.groups["test_set"] == "id"]
    curves: list[dict[str, Any]] = []
    headline: list[dict[str, Any]] = []
    for mode, arm, fraction in places[["mode", "arm", "fraction"]].itertuples(index=False):
        place = (str(mode), str(arm), float(fraction))
        curves += _curves(resampled, place, names, seen)
        headline.append(_headline(resampled, place, names, seen, reference))
    return {"seen": {arm: list(kinds) for arm, kinds in seen.items()}, "curves": curves, "headline": headline}


def _curves(
    resampled: Resampled, place: tuple[str, str, float], names: Sequence[str], seen: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    mode, arm, fraction = place
    rows = []
    for name in names:
        tests = ["id", *(test for test in resampled.tests if test.startswith(f"{name} "))]
        for test in tests:
            severity = 0 if test == "id" else int(test.rpartition(" ")[2])
            found = _value(resampled, place, test).row()
            known = {"mode": mode, "arm": arm, "fraction": fraction, "shift": name, "severity": severity}
            rows.append({**known, **found, "seen": name in seen.get(arm, ())})
    return rows


def _headline(
    resampled: Resampled,
    place: tuple[str, str, float],
    names: Sequence[str],
    seen: Mapping[str, Sequence[str]],
    reference: str,
) -> dict[str, Any]:
    mode, arm, fraction = place
    unseen = [name for name in names if name not in seen.get(arm, ())]
    clean, unseen_mean = _value(resampled, place, "id"), _mean(resampled, place, unseen)
    result = {
        "mode": mode,
        "arm": arm,
        "fraction": fraction,
        "unchanged": clean.value,
        "unseen": unseen_mean.row(),
        "unseen_shifts": unseen,
        "drop": unseen_mean.minus(clean).row(),
        "against": None,
    }
    if arm != reference and resampled.has(mode, "id", reference, fraction):
        both = [name for name in unseen if name not in seen.get(reference, ())]
        other = _mean(resampled, (mode, reference, fraction), both)
        difference = _mean(resampled, place, both).minus(other).row()
        result["against"] = {"arm": reference, "shifts": both, **difference}
    return result


def _value(resampled: Resampled, place: tuple[str, str, float], test: str) -> Distribution:
    mode, arm, fraction = place
    return resampled.distribution(mode, test, METRIC, arm, fraction)


def _mean(resampled: Resampled, place: tuple[str, str, float], names: Sequence[str]) -> Distribution:
    """Return the mean over all severities of some shifts; undefined where there are none."""
    tests = [test for test in resampled.tests if test.rpartition(" ")[0] in names]
    return mean([_value(resampled, place, test) for test in tests])
