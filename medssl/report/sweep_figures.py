"""The figures of a sweep: performance over labels, paired differences, embedding maps."""

from typing import Any

import numpy as np
import pandas as pd

from medssl.report import embedding, forest, fractions
from medssl.report.score_tables import metric_title
from medssl.report.sweep_folder import Row, Sweep, of_set, set_title
from medssl.report.words import known, plural

_CHANCE = {"auroc": 0.5, "balanced_accuracy": 0.5}
_MOST_ROWS = 16
_ALL = 100.0


def panels(sweep: Sweep) -> list[Row]:
    """Return one figure a mode and test set, all with the same range."""
    rows = [row for row in sweep.scores if row["metric"] == sweep.main]
    chance = _CHANCE.get(sweep.main)
    limits = fractions.shared_limits(rows, chance)
    result: list[Row] = []
    for mode in sweep.modes:
        for test_set, domain in sweep.test_sets:
            own = [row for row in of_set(rows, test_set, domain) if row["mode"] == mode]
            title = set_title(test_set, domain) + (f", {mode}" if len(sweep.modes) > 1 else "")
            about = f"{metric_title(sweep.main)} over the fraction of labels. {title}"
            level = _level(sweep, own)
            name = f"panel-{len(result)}"
            unit = metric_title(sweep.main)
            figure = fractions.panel(name, about, own, sweep.looks, limits, unit=unit, chance=chance, level=level)
            undefined = sum(not known(row["value"]) for row in own)
            note = f"{plural(undefined, 'value is', 'values are')} undefined and not drawn." if undefined else ""
            result.append({"title": title, "figure": figure if own else None, "note": note})
    return result


def _level(sweep: Sweep, rows: list[Row]) -> fractions.Level | None:
    """Return what scratch reaches with all labels, and where the learnt arms reach that."""
    full = [row for row in rows if row["arm"] == "scratch" and row["fraction"] == _ALL and known(row["value"])]
    if not full:
        return None
    place = full[0]
    reached = {
        row["arm"]: row["value"]
        for row in of_set(sweep.equivalence, place["test_set"], place["domain"])
        if known(row["value"]) and sweep.looks[row["arm"]].learnt and row.get("mode", place["mode"]) == place["mode"]
    }
    return fractions.Level(place["value"], reached)


def forests(sweep: Sweep) -> list[Row]:
    """Return one forest plot a test set, all with the same range: the learnt arms against scratch, if there is one."""
    drawn = _main_pairs(sweep)
    limits = forest.shared_limits(drawn, sweep.smallest_gain)
    result: list[Row] = []
    for test_set, domain in sweep.test_sets:
        own = sorted(of_set(drawn, test_set, domain), key=lambda row: row["fraction"])
        shown = [row for row in own if known(row["difference"])][:_MOST_ROWS]
        if shown:
            title = set_title(test_set, domain)
            about = f"Paired differences in {metric_title(sweep.main)}. {title}"
            figure = forest.plot(f"forest-{len(result)}", about, shown, sweep.looks, limits, sweep.smallest_gain)
            left = len(own) - len(shown)
            note = f"{plural(left, 'comparison is', 'comparisons are')} in the table only." if left else ""
            result.append({"title": title, "figure": figure, "note": note})
    return result


def _main_pairs(sweep: Sweep) -> list[Row]:
    looks = sweep.looks
    rows = [row for row in sweep.paired if row.get("metric", sweep.main) == sweep.main]
    return [row for row in rows if row["b"] == "scratch" and looks[row["a"]].learnt] or rows


def maps(sweep: Sweep) -> list[Row]:
    """Return for each embedded arm the same map twice: coloured by label and by site."""
    if sweep.embeddings is None or sweep.embeddings.empty:
        return []
    table = finite(sweep.embeddings)
    order = {arm: place for place, arm in enumerate(sweep.looks)}
    names = sorted(table["arm"].unique(), key=lambda arm: (order.get(arm, len(order)), str(arm)))
    return [_map(place, str(arm), table[table["arm"] == arm], sweep) for place, arm in enumerate(names)]


def mapped(sweep: Sweep) -> set[str]:
    """Return the arms that have a map."""
    return set() if sweep.embeddings is None else {str(arm) for arm in sweep.embeddings["arm"]}


def _map(place: int, arm: str, table: pd.DataFrame, sweep: Sweep) -> Row:
    shown = table.iloc[:: max(1, -(-len(table) // embedding.MOST_DOTS))]
    views = [
        ("label", [_label(value, sweep.results.get("label") or {}) for value in shown["label"]]),
        ("site", embedding.few([_site(value) for value in shown["site"]])),
    ]
    xy = shown[["x", "y"]].to_numpy(dtype=float)
    note = f"{len(shown):,} of {len(table):,} images are drawn." if len(shown) < len(table) else ""
    return {
        "arm": arm,
        "folded": arm in sweep.looks and not sweep.looks[arm].learnt,
        "note": note,
        "views": [embedding.view(f"map-{place}-{by}", arm, by, xy, groups) for by, groups in views],
    }


def _label(value: Any, names: Row) -> str:
    if pd.isna(value):
        return embedding.UNKNOWN
    words = {1: names.get("positive"), 0: names.get("negative")}
    return str(words.get(value) or value)


def _site(value: Any) -> str:
    return embedding.UNKNOWN if pd.isna(value) or value == "" else str(value)


def finite(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose coordinates are numbers."""
    return table[np.isfinite(table[["x", "y"]].to_numpy(dtype=float)).all(axis=1)]
