"""Everything that is concluded from a table of predictions, without training anything."""

import math
from collections.abc import Collection, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medssl.errors import DataError, unknown_name
from medssl.evaluation.bootstrap import RESAMPLES, Resampled, resample, score_rows
from medssl.evaluation.equivalence import equivalence_rows
from medssl.evaluation.paired import Difference, difference, differences
from medssl.evaluation.predictions import OWN
from medssl.evaluation.sentences import TRIVIAL, sentence
from medssl.evaluation.verdict import HELPS, LEVEL, MARGIN, UNDECIDED, Evidence, holm, judge

METRIC = "auroc"
_GUESS = 0.5
SMALLEST_FRACTION = "the smallest fraction of labels, in distribution"

_Key = tuple[str, str, float, str, str]  # mode, test set, fraction, a, b


def analyse(
    predictions: pd.DataFrame,
    *,
    primary: tuple[str, str] | None = None,
    primary_fraction: float | None = None,
    reference: str = "scratch",
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed: int = 0,
    unfinished: Mapping[str, Collection[tuple[str, float]]] | None = None,
) -> dict[str, Any]:
    """Return scores, paired differences, label equivalence and verdicts as they stand in `results.json`.

    Args:
        predictions: The table of `medssl.evaluation.predictions`.
        primary: The comparison that was fixed before the run, (arm, other arm); None if there was none.
        primary_fraction: Percent of labels of the primary comparison, by default the smallest; in distribution.
        reference: The arm that the others are judged against.
        margin: The smallest gain in AUROC that matters.
        resamples: For AUROC; other metrics get at most 2,000.
        seed: Of the resampling.
        unfinished: (arm, fraction) whose training the budget ended before its plateau, nothing is said to help
            against such an arm; by whose labels were learnt from, "id" or the test set of another place's own labels.

    Returns:
        `primary`, `scores`, `paired`, `equivalence`, `verdicts`, `test_sets` and `statistics` (resamples, margin,
        level, number of comparisons, remarks); JSON-ready, with None for what is undefined.

    Raises:
        DataError: The table is not valid, or the reference is not in it.
        SettingsError: The primary comparison names an arm that is not there, or the margin is negative.
    """
    resampled = resample(predictions, resamples=resamples, seed=seed)
    arms = _arms(resampled, reference)
    fixed = _primary(resampled, primary, primary_fraction, [*arms, reference])
    pairs = {_key(d): d for a, b in combinations([*arms, reference], 2) for d in differences(resampled, a, b, METRIC)}
    judged = {key: d for key, d in pairs.items() if d.a not in TRIVIAL and d.b == reference}
    if fixed is not None and fixed not in judged:
        judged[fixed] = pairs[fixed] if fixed in pairs else difference(resampled, *fixed, METRIC)
    corrected = _corrected(judged, fixed, margin)
    equivalence = equivalence_rows(resampled, reference, METRIC)
    comparisons = len(judged) - (fixed in judged)
    verdicts = [
        _verdict(
            resampled, judged[key], corrected[key], key == fixed, margin, equivalence, comparisons, unfinished or {}
        )
        for key in _ordered(judged, fixed)
    ]
    return plain(
        {
            "primary": None if fixed is None else _described(fixed, margin),
            "scores": score_rows(resampled),
            "paired": _paired_rows(resampled, pairs, corrected, fixed, reference),
            "equivalence": equivalence,
            "verdicts": verdicts,
            "test_sets": [{"test_set": t.name, "domain": t.domain, **t.counts} for t in resampled.tests.values()],
            "statistics": {
                "resamples": resamples,
                "seed": seed,
                "margin": margin,
                "level": LEVEL,
                "reference": reference,
                "comparisons": comparisons,
                "remarks": _remarks(resampled, arms, fixed, reference),
            },
        }
    )


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numpy scalars as Python's, what is not finite as None."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _arms(resampled: Resampled, reference: str) -> list[str]:
    """Return all arms but the reference: the learnt ones, then those that need no learning."""
    arms = sorted(set(resampled.groups["arm"]))
    if reference not in arms:
        raise DataError(f"There are no predictions of the reference '{reference}'", fix=f"Arms: {', '.join(arms)}")
    return sorted((arm for arm in arms if arm != reference), key=lambda arm: (arm in TRIVIAL, arm))


def _primary(
    resampled: Resampled, primary: tuple[str, str] | None, fraction: float | None, arms: list[str]
) -> _Key | None:
    """Return the primary comparison: in distribution, by probe where there is one, at the smallest common fraction."""
    if primary is None:
        return None
    for arm in primary:
        if arm not in arms:
            raise unknown_name("arm", arm, arms, where="the primary comparison")
    groups = resampled.groups.sort_values(["mode", "fraction"], ascending=[False, True], kind="stable")
    first = groups[groups["test_set"] == next(iter(resampled.tests))]
    for mode, rows in first.groupby("mode", sort=False):
        both = [set(rows.loc[rows["arm"] == arm, "fraction"]) for arm in primary]
        common = sorted(both[0] & both[1] if fraction is None else both[0] & both[1] & {float(fraction)})
        if common:
            return str(mode), next(iter(resampled.tests)), float(common[0]), *primary
    raise DataError(f"{primary[0]} and {primary[1]} have no fraction of labels in common for the primary comparison")


def _key(found: Difference) -> _Key:
    return found.mode, found.test_set, found.fraction, found.a, found.b


def _ordered(judged: dict[_Key, Difference], fixed: _Key | None) -> list[_Key]:
    """Return the primary comparison, the same one on the other test sets, and the rest as they came."""
    if fixed is None:
        return list(judged)
    return sorted(judged, key=lambda key: (key != fixed, (key[0], *key[2:]) != (fixed[0], *fixed[2:])))


def _corrected(judged: dict[_Key, Difference], fixed: _Key | None, margin: float) -> dict[_Key, Evidence]:
    """Return the evidence of each comparison, with p-values corrected over all but the primary one."""
    others = [key for key in judged if key != fixed]
    zero = holm(np.array([judged[key].p() for key in others]))
    gain = holm(np.array([judged[key].p(margin) for key in others]))
    found = {key: Evidence(*_limits(judged[key]), z, g) for key, z, g in zip(others, zero, gain)}
    if fixed is not None:
        found[fixed] = Evidence(*_limits(judged[fixed]), judged[fixed].p(), judged[fixed].p(margin))
    return found


def _limits(found: Difference) -> tuple[float, float]:
    row = found.distribution.row()
    return row["low"], row["high"]


def _verdict(
    resampled: Resampled,
    found: Difference,
    evidence: Evidence,
    primary: bool,
    margin: float,
    equivalence: list[dict[str, Any]],
    comparisons: int,
    unfinished: Mapping[str, Collection[tuple[str, float]]],
) -> dict[str, Any]:
    """Return a row of verdict: word, numbers, comparison with trivial arms, and all of it as a sentence."""
    ended = unfinished.get(found.test_set if resampled.tests[found.test_set].domain == OWN else "id", ())
    word, cut_short = judge(evidence, margin), (found.b, found.fraction) in ended
    row = {
        **found.row(resampled.tests[found.test_set].domain),
        "primary": primary,
        "word": UNDECIDED if cut_short and word == HELPS else word,
        "cut_short": cut_short,
        "reference_cut_short": (found.b, max(resampled.groups["fraction"])) in ended,
        "above_chance": _above_chance(resampled, found, found.a),
        "reference_above_chance": _above_chance(resampled, found, found.b),
        "value_a": _value(resampled, found, found.a),
        "value_b": _value(resampled, found, found.b),
        "p_holm": None if primary else evidence.p_zero,
        "margin": margin,
        "trivial": _trivial(resampled, found),
        "equivalence": _equivalence(resampled, found, equivalence),
    }
    return {**row, "sentence": sentence(row, comparisons)}


def _above_chance(resampled: Resampled, found: Difference, arm: str) -> bool:
    """Tell whether the whole interval of an arm lies above what a guess gives."""
    own = resampled.distribution(found.mode, found.test_set, METRIC, arm, found.fraction)
    return bool(own.row()["low"] > _GUESS)


def _value(resampled: Resampled, found: Difference, arm: str) -> float:
    return resampled.distribution(found.mode, found.test_set, found.metric, arm, found.fraction).value


def _trivial(resampled: Resampled, found: Difference) -> list[dict[str, Any]]:
    """Compare the arm with those that need no learning, at the same place; only those that are there."""
    rows = []
    for other in (arm for arm in TRIVIAL if arm not in (found.a, found.b)):
        if resampled.has(found.mode, found.test_set, other, found.fraction):
            pair = difference(resampled, found.mode, found.test_set, found.fraction, found.a, other, found.metric)
            low, high = _limits(pair)
            value = pair.distribution.value if math.isfinite(pair.distribution.value) else None
            row = {
                "arm": other,
                "value": _value(resampled, found, other),
                "difference": value,
                "low": low,
                "high": high,
            }
            rows.append({**row, "beats": bool(low > 0), "above_chance": _above_chance(resampled, found, other)})
    return rows


def _equivalence(resampled: Resampled, found: Difference, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the label equivalence of the arm, for its row at the smallest fraction only."""
    groups = resampled.groups
    own = groups[(groups["mode"] == found.mode) & (groups["test_set"] == found.test_set) & (groups["arm"] == found.a)]
    if found.fraction != own["fraction"].min():
        return None
    place = (found.mode, found.test_set, found.a, found.b)
    keys = ("mode", "test_set", "arm", "reference")
    return next((row for row in rows if tuple(row[key] for key in keys) == place), None)


def _paired_rows(
    resampled: Resampled,
    pairs: dict[_Key, Difference],
    corrected: dict[_Key, Evidence],
    fixed: _Key | None,
    reference: str,
) -> list[dict[str, Any]]:
    """Return a row a pair of arms for AUROC, and for the other metrics those against the reference."""
    others = [metric for metric in resampled.metrics if metric != METRIC]
    found = list(pairs.values())
    for a in dict.fromkeys(d.a for d in found if d.b == reference):
        for metric in others:
            found += differences(resampled, a, reference, metric)
    rows = []
    for d in found:
        key = _key(d)
        counted = d.metric == METRIC and key in corrected and key != fixed
        p_holm = corrected[key].p_zero if counted else None
        row = d.row(resampled.tests[d.test_set].domain)
        rows.append({**row, "p_holm": p_holm, "primary": d.metric == METRIC and key == fixed})
    return rows


def _described(fixed: _Key, margin: float) -> dict[str, Any]:
    mode, test_set, fraction, a, b = fixed
    place = {"mode": mode, "test_set": test_set, "fraction": fraction, "metric": METRIC}
    return {"a": a, "b": b, **place, "margin": margin}


def _remarks(resampled: Resampled, arms: list[str], fixed: _Key | None, reference: str) -> list[str]:
    """Say which sources of chance the intervals do not hold."""
    remarks = ["No primary comparison was fixed before the run; all are corrected for their number."] * (fixed is None)
    groups = resampled.groups
    places = list(zip(groups["mode"], groups["test_set"], groups["arm"], groups["fraction"]))
    learnt = [arm for arm in arms if arm not in TRIVIAL]
    if not learnt:
        remarks.append("No pretrained arm was tested, so there is no verdict.")
    for arm in [*learnt, reference]:
        own = [place for place in places if place[2] == arm]
        if max(resampled.seeds(*place) for place in own) == 1 and arm != reference:
            remarks.append(f"{arm} was pretrained once: the chance of pretraining is not in its intervals.")
        if max(len(resampled.draws(*place)) for place in own) == 1:
            remarks.append(f"{arm} was trained on one draw of labels: the chance of the draw is not in its intervals.")
    return remarks
