"""The tables behind the figures: every metric with its interval, and lists of rows as they stand in the results."""

import functools
from collections.abc import Sequence
from typing import Any

from medssl import discovery
from medssl.report.sweep_folder import Row, Sweep, of_set, set_title
from medssl.report.words import UNDEFINED, interval, known, number, percent

_TITLES = {
    "test_set": "test set",
    "n_images": "images",
    "n_patients": "patients",
    "n_positive": "positive",
    "a": "arm",
    "b": "against",
    "p": "p",
    "p_holm": "p (Holm)",
}
_P_VALUES, _SMALLEST_P = ("p", "p_holm"), 0.001
_PAIR = ("mode", "metric", "fraction", "a", "b", "difference", "low", "high", "p", "p_holm")
_PLACE = ("set", "test_set", "domain", "part", "fraction")


@functools.cache
def metric_title(name: str) -> str:
    """Return the title of a metric, and which way is better where that is the unusual one."""
    module = discovery.load("metrics", name) if name in discovery.names("metrics") else None
    title = str(getattr(module, "TITLE", name.replace("_", " ")))
    return title if getattr(module, "HIGHER_IS_BETTER", True) else f"{title} (lower is better)"


def tables(sweep: Sweep) -> list[Row]:
    """Return for each metric its title and tables, one a mode and test set: a row an arm, a column a fraction."""
    result = []
    for metric in sweep.metrics:
        parts = [
            {"title": ", ".join([set_title(*place), mode]), **_pivot(rows, sweep)}
            for mode in sweep.modes
            for place in sweep.test_sets
            if (rows := [row for row in of_set(sweep.scores, *place) if (row["metric"], row["mode"]) == (metric, mode)])
        ]
        if parts:
            result.append({"title": metric_title(metric), "parts": parts})
    return result


def _pivot(rows: list[Row], sweep: Sweep) -> Row:
    fractions = sorted({row["fraction"] for row in rows})
    by_place = {(row["arm"], row["fraction"]): row for row in rows}
    notes: list[str] = []
    shared = shared_flag(rows)
    lines = [
        {"look": look, "cells": [_cell(by_place.get((arm, fraction)), notes, shared) for fraction in fractions]}
        for arm, look in sweep.looks.items()
        if any(row["arm"] == arm for row in rows)
    ]
    return {"fractions": fractions, "lines": lines, "notes": notes, "shared": shared, "sizes": _sizes(rows)}


def shared_flag(rows: Sequence[Row]) -> str:
    """Return what is to be remarked on every row alike, or an empty text."""
    flags = {str(row.get("flag") or "") for row in rows}
    return flags.pop() if len(flags) == 1 else ""


def _cell(row: Row | None, notes: list[str], shared: str) -> Row:
    if row is None:
        return {"value": "not run", "interval": "", "note": None}
    said = [str(row["flag"])] if row.get("flag") and not shared else []
    if row.get("undefined"):
        said.append(f"undefined in {row['undefined']} of {row.get('resamples', '?')} resamples, which are left out")
    text = "; ".join(said)
    if text and text not in notes:
        notes.append(text)
    limits = interval(row.get("low"), row.get("high")) if known(row["value"]) else ""
    return {
        "value": number(row["value"]) if known(row["value"]) else UNDEFINED,
        "interval": limits,
        "note": notes.index(text) + 1 if text else None,
    }


def _sizes(rows: list[Row]) -> str:
    """Say how large the test set is, where the rows know it and agree."""
    parts = []
    for key, noun in (("n_patients", "patients"), ("n_images", "images"), ("n_positive", "of them positive")):
        values = {row.get(key) for row in rows}
        if len(values) == 1 and known(value := values.pop()):
            parts.append(f"{int(value):,} {noun}")
    return ", ".join(parts)


def pairs(sweep: Sweep) -> Row:
    """Return all paired differences as rows, and the remarks on them once each."""
    rows = [
        {
            "test set": set_title(row["test_set"], row["domain"]),
            **{key: row.get(key) for key in _PAIR if any(key in other for other in sweep.paired)},
            "metric": metric_title(row.get("metric", sweep.main)),
        }
        for row in sweep.paired
    ]
    flags = dict.fromkeys(str(row["flag"]) for row in sweep.paired if row.get("flag"))
    return {**plain(rows), "notes": list(flags)}


def plain(rows: Sequence[Any]) -> Row:
    """Return rows as they stand: titles of the columns, and cells as text with whether their column is of numbers."""
    rows = [row for row in rows if isinstance(row, dict)]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    numeric = [all(row.get(key) is None or _is_number(row[key]) for row in rows) for key in keys]
    return {
        "titles": [(_TITLES.get(key, key.replace("_", " ")), right) for key, right in zip(keys, numeric)],
        "lines": [[(_text(key, row.get(key)), right) for key, right in zip(keys, numeric)] for row in rows],
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | _Span) and not isinstance(value, bool)


def _text(key: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "fraction":
        return percent(value)
    if key in _P_VALUES and _is_number(value) and value < _SMALLEST_P:
        return f"< {_SMALLEST_P:g}"
    if isinstance(value, _Span) or not _is_number(value):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else number(value)


class _Span(str):
    """Whole numbers over several draws, as `11 to 13`."""


def counts(rows: Sequence[Any]) -> Row:
    """Return how many patients and images there were, the draws of a fraction in one line."""
    rows = [row for row in rows if isinstance(row, dict)]
    place = [key for key in _PLACE if any(key in row for row in rows)]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in place), []).append(row)
    return plain([{**dict(zip(place, values)), **_joined(group)} for values, group in groups.items()])


def _joined(group: list[Row]) -> Row:
    """Return the counts of several draws in one row: a number where they agree, else a span."""
    drawn = group[0].get("draw") is not None
    result: Row = {"draws": len(group) if drawn else None}
    for key in [key for key in group[0] if key not in (*_PLACE, "draw")]:
        values = [row.get(key) for row in group]
        spans = len(set(map(str, values))) > 1 and all(map(_is_number, values))
        result[key] = _Span(f"{min(values):,} to {max(values):,}") if spans else values[0]  # type: ignore[type-var]
    return result
