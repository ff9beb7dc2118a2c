"""The two answers a reader comes for: the verdict in words, and how few labels are enough."""

import math
import re
from typing import Any

from medssl.evaluation.predictions import OWN, place_of
from medssl.report.sweep_folder import Row, Sweep, of_set, set_title
from medssl.report.words import known

_ALL = 100.0
_SENTENCE_END = re.compile(r"(?<=\.)\s+(?=[A-Z])")
_TONES = {"helps": "good", "harms": "bad", "no worthwhile gain": "neutral", "undecided": "open"}


def verdicts(sweep: Sweep, *, primary: bool) -> list[Row]:
    """Return the primary or the other verdicts, each with its tone, its test set in words, and its sentences apart."""
    return [
        {
            **row,
            "place": _rank(row, primary),
            "tone": _TONES.get(row["word"], "open"),
            "set_title": set_title(row["test_set"], row["domain"]),
            "sentences": _SENTENCE_END.split(row["sentence"]),
        }
        for row in sweep.verdicts
        if bool(row.get("primary")) == primary
    ]


def _rank(row: Row, primary: bool) -> str:
    """Say what a verdict is beside the primary one."""
    if primary:
        return "Primary comparison."
    whose = "with labels of another place, on its patients" if row["domain"] == OWN else "on other patients"
    return f"Secondary: the same comparison {whose}, corrected for the number of comparisons."


def elsewhere(sweep: Sweep) -> list[Row]:
    """Return the verdicts on the primary comparison on the other test sets: what holds at the next hospital."""
    primary = verdicts(sweep, primary=True)
    same = ("mode", "a", "b", "fraction")
    return [
        row
        for row in verdicts(sweep, primary=False)
        if any(all(row.get(key) == first.get(key) for key in same) for first in primary)
    ]


def answers(sweep: Sweep) -> list[Row]:
    """Return for each test set what fraction of the labels each arm needs, placed on a log scale of those tried."""
    looks = sweep.looks
    result = []
    for test_set, domain in sweep.test_sets:
        tried = [row["fraction"] for row in of_set(sweep.scores, test_set, domain) if known(row["fraction"])]
        scale = (min(tried, default=_ALL), max(tried, default=_ALL))
        rows = sorted(of_set(sweep.equivalence, test_set, domain), key=lambda row: list(looks).index(row["arm"]))
        learnt = [_placed(row, scale, sweep) for row in rows if looks[row["arm"]].learnt]
        others = [(looks[row["arm"]], row["text"]) for row in rows if not looks[row["arm"]].learnt]
        if rows:
            title = set_title(test_set, domain)
            result.append({"title": title, "rows": learnt, "others": others, "low": scale[0], "high": scale[1]})
    return result


def in_patients(row: Row, sweep: Sweep) -> str:
    """Say a fraction as patients to be labelled, where the results tell how many there are: `about 22 of 240`."""
    pool = f"training: {place_of(row['test_set'])}" if row["domain"] == OWN else "training"
    full = [
        count["patients"]
        for count in sweep.results.get("counts") or []
        if count.get("set") == pool and count.get("fraction") == _ALL and known(count.get("patients"))
    ]
    if not full or not known(row["value"]):
        return ""
    return f"about {max(1, math.ceil(row['value'] / _ALL * full[0])):,} of {full[0]:,} patients"


def _placed(row: Row, scale: tuple[float, float], sweep: Sweep) -> Row:
    """Add the interval's ends and the value, in percent of the scale's width; None where there is nothing to draw."""
    left, right = (_position(row.get(end), str(row.get(f"{end}_text", "")), scale) for end in ("low", "high"))
    drawn = left is not None and right is not None and left < right
    return {
        **row,
        "look": sweep.looks[row["arm"]],
        "patients": in_patients(row, sweep),
        "at": _position(row["value"], "", scale),
        "left": left if drawn else None,
        "right": right if drawn else None,
    }


def _position(value: Any, text: str, scale: tuple[float, float]) -> float | None:
    """Return the place of a fraction; one outside the grid, which only its text tells, lies at that end."""
    if not known(value) or value <= 0:
        return 100.0 if "not reached" in text else 0.0 if "below" in text else None
    if scale[1] <= scale[0]:
        return None
    share = math.log(value / scale[0]) / math.log(scale[1] / scale[0])
    return round(100 * min(max(share, 0.0), 1.0), 1)
