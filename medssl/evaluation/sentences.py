"""The verdict in plain words, for a person in a hospital."""

import math
from typing import Any

from medssl.evaluation.predictions import OWN, place_of
from medssl.evaluation.verdict import HARMS, HELPS, NO_GAIN, UNDECIDED, alone

TRIVIAL = {
    "shortcut": "trivial image statistics (brightness, contrast, border, size, device)",
    "pixels": "the image shrunk to 16 x 16 pixels",
    "random": "an untrained network",
}
_NAMES = {"scratch": "training from scratch", **TRIVIAL}
_MINUS = "\u2212"


def sentence(row: dict[str, Any], comparisons: int) -> str:
    """Return the verdict of a row in words: where, what, how sure, and how it compares with what needs no learning.

    Args:
        row: A row of `medssl.evaluation.statistics`, with its word, values, interval, trivial arms and equivalence.
        comparisons: How many comparisons the correction was for.
    """
    parts = [
        _finding(row),
        _size(row, comparisons),
        _chance(row),
        *_trivial(row),
        _equivalence(row),
        _cut_short(row),
        _caution(row),
    ]
    return " ".join(part for part in parts if part)


def name(arm: str) -> str:
    """Return an arm in words; learnt arms keep the name they were given."""
    return _NAMES.get(arm, arm)


def _finding(row: dict[str, Any]) -> str:
    if row["domain"] == OWN:
        place, whose = f"At another place ({place_of(row['test_set'])})", "its own labels"
    else:
        place = "In distribution" if row["domain"] == "id" else f"Out of distribution ({row['test_set']})"
        whose = "the labels"
    start = f"{place}, with {row['fraction']:g} % of {whose},"
    arm, against = name(row["a"]), name(row["b"])
    if not math.isfinite(row["difference"]):
        return f"{start} {arm} cannot be compared with {against}: the AUROC is undefined."
    values = f"AUROC {row['value_a']:.3f} against {row['value_b']:.3f} for {against}"
    interval = f"difference {_signed(row['difference'])}, 95 % interval {_signed(row['low'])} to {_signed(row['high'])}"
    said = {
        HELPS: f"{arm} helps",
        HARMS: f"{arm} harms",
        NO_GAIN: f"{arm} brings no worthwhile gain",
        UNDECIDED: f"it is undecided whether {arm} helps",
    }
    return f"{start} {said[row['word']]}: {values} ({interval})."


def _size(row: dict[str, Any], comparisons: int) -> str:
    """Say what the size of the difference means, and where correction for many comparisons changed the verdict."""
    if not math.isfinite(row["difference"]):
        return ""
    word, uncorrected = row["word"], alone(row["low"], row["high"], row["margin"])
    if row["cut_short"] and word == UNDECIDED and row["low"] > 0:
        return ""
    if word == HELPS and row["low"] < row["margin"]:
        return f"The gain may be smaller than the {row['margin']:g} that matters."
    if word == NO_GAIN and row["low"] > 0:
        return f"The difference is above zero, but below the {row['margin']:g} that matters."
    if word == NO_GAIN:
        return f"A gain of {row['margin']:g}, the smallest that matters, is ruled out."
    if word != uncorrected:
        return f"Taken alone this interval would say '{uncorrected}'; it does not hold among {comparisons} comparisons."
    if word == UNDECIDED:
        return "The interval is too wide to tell; more test patients or more label draws would narrow it."
    return ""


def _chance(row: dict[str, Any]) -> str:
    """Say where what helps, or may, is not shown to be better than a guess, or what it is compared with is not."""
    if row["word"] not in (HELPS, UNDECIDED) or not math.isfinite(row["difference"]):
        return ""
    if not row["above_chance"]:
        return f"But {name(row['a'])} is not shown to be better than a guess (AUROC 0.5) here."
    if row["word"] == HELPS and not row["reference_above_chance"]:
        return (
            f"But {name(row['b'])} is not shown to be better than a guess (AUROC 0.5) here: equalling it means little."
        )
    return ""


def _trivial(row: dict[str, Any]) -> list[str]:
    """Compare with what needs no learning: a result that does not beat it may rest on trivial properties."""
    better = [one for one in row["trivial"] if one["beats"]]
    parts = [f"It is better than {_listed([_scored(one) for one in better])}."] if better else []
    for one in row["trivial"]:
        if not one["beats"] and one["difference"] is not None:
            interval = f"difference {_signed(one['difference'])}, {_signed(one['low'])} to {_signed(one['high'])}"
            said = "is worse than" if one["high"] < 0 else "is not shown to beat"
            solved = one["arm"] == "shortcut" and one["above_chance"]
            why = " The task may be solved without looking at anatomy." if solved else ""
            parts.append(f"It {said} {_scored(one)}; {interval}.{why}")
    return parts


def _scored(one: dict[str, Any]) -> str:
    return f"{name(one['arm'])}, AUROC {one['value']:.3f}"


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{'; '.join(texts[:-1])}; and {texts[-1]}"


def _equivalence(row: dict[str, Any]) -> str:
    """Say how few labels equal the reference with all of them."""
    found = row["equivalence"]
    if found is None or found["reached"] == "undefined":
        return ""
    against = f"{name(row['b'])} with all labels" + (" (cut short)" if row["reference_cut_short"] else "")
    if found["reached"] == "not reached":
        limits = "" if found["interval"] == "not reached" else f" (95 % interval {found['interval']})"
        return f"It does not reach {against} at any fraction tried{limits}."
    return f"To equal {against} it needs {found['text']} of them (95 % interval {found['interval']})."


def _cut_short(row: dict[str, Any]) -> str:
    """Say that the reference could have become better, so that a gain over it is none."""
    if not row["cut_short"]:
        return ""
    against = name(row["b"])
    return f"The budget ended {against} while it was still improving; only with more steps can a gain over it be shown."


def _caution(row: dict[str, Any]) -> str:
    return f"Caution: {row['flag']}." if row["flag"] else ""


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", _MINUS)
