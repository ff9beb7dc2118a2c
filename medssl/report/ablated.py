"""What the page of an ablation shows: a heat map or a curve, every cell with its interval, and what failed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from medssl.evaluation.validated import SCORES
from medssl.report import heat, page, svg
from medssl.report.run import method_title, modality_title
from medssl.report.words import interval, number, plural

NAME = "report.html"
Row = dict[str, Any]
_TITLES = {
    "augmentations": ("Which views teach most", "operation", "operation"),
    "batch": ("Batch size and epochs", "images a batch", "epochs"),
    "temperature": ("The temperature of the loss", "temperature", ""),
    "mask": ("How much to hide", "mask ratio", ""),
}
_READ = {
    "augmentations": "On the diagonal an operation by itself, elsewhere two together; all others are switched off.",
    "batch": "Every cell is a training of its own; the learning rate follows the batch size.",
    "temperature": "Smaller values press on the nearest negatives, larger ones on all alike.",
    "mask": "The share of patches that are hidden.",
}


def write(out: Path, plan: Row, cells: Sequence[Row], baseline: Row, score: str, synthetic: bool) -> Path:
    """Write the page of an ablation and return its path.

    Args:
        out: The ablation's folder.
        plan: What was varied, on what.
        cells: Method, row, column and seed of each training, with its scores or why it failed.
        baseline: The scores of random weights.
        score: "probe" or "knn".
        synthetic: Whether the images are a built-in cohort.
    """
    table = pd.DataFrame([cell for cell in cells if "failed" not in cell])
    title, rows, columns = _TITLES[plan["what"]]
    failed = [f"{_where(cell)} failed: {cell['failed']}" for cell in cells if "failed" in cell]
    context = {
        "title": title,
        "of": modality_title(plan["modality"]),
        "synthetic": synthetic,
        "name": out.resolve().name,
        "label": plan["label"][0],
        "headline": _headline(table, baseline, score, plan["what"]),
        "read": _READ[plan["what"]],
        "score": SCORES[score],
        "axes": (rows, columns),
        "panels": _panels(table, plan, baseline, score),
        "lines": [_line(cell) for cell in cells if "failed" not in cell],
        "baseline": _line({"method": "", "row": "", "column": "", "seed": 0, **baseline}),
        "remarks": [*failed, *_seeds(plan)],
        "plan": {**plan, "data": Path(plan["data"]).name if plan["data"] else "the built-in cohort"},
    }
    return page.write(out / NAME, page.render("ablate.html.j2", context))


def _panels(table: pd.DataFrame, plan: Row, baseline: Row, score: str) -> list[tuple[str, Markup]]:
    values = np.append(table[score].to_numpy(dtype=float), baseline[score])
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    limits = (float(values.min()), float(values.max()))
    grid = plan["what"] in ("augmentations", "batch")
    return [
        (method_title(str(method)), _grid(str(method), part, plan, score, limits))
        if grid
        else (method_title(str(method)), _curve(str(method), part, plan, baseline, score))
        for method, part in table.groupby("method", sort=False)
    ]


def _grid(method: str, part: pd.DataFrame, plan: Row, score: str, limits: tuple[float, float]) -> Markup:
    rows, columns = list(dict.fromkeys(part["row"])), list(dict.fromkeys(part["column"]))
    if plan["what"] == "augmentations":
        rows = columns = list(dict.fromkeys([*rows, *columns]))
    means = part.groupby(["row", "column"])[score].mean()
    values = np.array([[_mean(means, row, column, plan) for column in columns] for row in rows])
    about = f"{SCORES[score]} by {_TITLES[plan['what']][1]} and {_TITLES[plan['what']][2]}, {method_title(method)}"
    return heat.plot(f"grid-{method}", about, values, [_text(row) for row in rows], [_text(c) for c in columns], limits)


def _mean(means: pd.Series, row: Any, column: Any, plan: Row) -> float:
    if (row, column) in means.index:
        return float(means[row, column])
    if plan["what"] == "augmentations" and (column, row) in means.index:
        return float(means[column, row])  # a pair is the same in either order
    return float("nan")


def _curve(method: str, part: pd.DataFrame, plan: Row, baseline: Row, score: str) -> Markup:
    means = part.groupby("row")[score].mean()
    x, y = means.index.to_numpy(dtype=float), means.to_numpy(dtype=float)

    def paint(axes: Axes) -> None:
        if score == "knn" and plan["seeds"] == 1:
            ends = part.sort_values("row")[["knn_low", "knn_high"]].to_numpy(dtype=float)
            axes.vlines(x, ends[:, 0], ends[:, 1], color=svg.COLOURS["accent"], linewidth=1, alpha=0.5)
        axes.plot(part["row"], part[score], linestyle="none", marker="o", markersize=4, color=svg.COLOURS["faint"])
        axes.plot(x, y, color=svg.COLOURS["accent"], linewidth=2, marker="o", markersize=5)
        axes.axhline(baseline[score], color=svg.COLOURS["faint"], linewidth=1, dashes=(3, 3))
        place, muted = axes.get_yaxis_transform(), svg.COLOURS["muted"]
        axes.text(0.01, baseline[score], "random weights", color=muted, va="bottom", fontsize=11, transform=place)
        if plan["what"] == "temperature":
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(x, [_text(value) for value in x])
        axes.set_xlabel(_TITLES[plan["what"]][1])
        axes.grid(axis="y", color=svg.COLOURS["grid"], linewidth=1)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)

    return svg.draw(f"curve-{method}", f"{SCORES[score]} by {_TITLES[plan['what']][1]}, {method_title(method)}", paint)


def _headline(table: pd.DataFrame, baseline: Row, score: str, what: str) -> str:
    means = table.groupby(["method", "row", "column"])[score].mean()
    if not means.notna().any():
        return "No cell could be scored: there are too few patients of a class."
    best, lowest = float(means.max()), float(means.min())
    method, row, column = means.index[int(means.argmax())]
    _, first, second = _TITLES[what]
    both = bool(second) and not (what == "augmentations" and row == column)
    place = [f"{first} {_text(row)}", *([f"{second} {_text(column)}"] if both else [])]
    beaten = "" if best > baseline[score] else ", which none of the trainings beats"
    return (
        f"The highest score, {number(best)}, is that of {method_title(str(method))} with {' and '.join(place)}; "
        f"the lowest is {number(lowest)}. Random weights reach {number(baseline[score])}{beaten}."
    )


def _line(row: Row) -> Row:
    return {
        "method": method_title(str(row["method"])) if row["method"] else "random weights",
        "row": _text(row["row"]),
        "column": _text(row["column"]),
        "seed": int(row["seed"]),
        "probe": number(row["probe"]),
        "knn": number(row["knn"]),
        "interval": interval(row["knn_low"], row["knn_high"]),
        "images": f"{int(row['images']):,} of {plural(int(row['patients']), 'patient')}",
    }


def _where(cell: Row) -> str:
    place = " and ".join(dict.fromkeys(_text(cell[name]) for name in ("row", "column")))
    return f"{method_title(str(cell['method']))} with {place}, seed {cell['seed']}"


def _seeds(plan: Row) -> list[str]:
    if plan["seeds"] > 1:
        return [f"Scores of a cell are means over {plan['seeds']} seeds"]
    return ["One seed a cell: differences that are small beside the intervals are chance; --seeds 3 shows how much"]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
