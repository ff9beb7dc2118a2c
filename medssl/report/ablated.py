"""What the page of an ablation shows: a heat map or a curve, every cell with its interval, and what failed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from medssl.evaluation.validated import SCORES
from medssl.report import heat, page, svg
from medssl.report.run import method_title, modality_title
from medssl.report.words import count, interval, known, number, percent, plural
from medssl.settings import flat

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

_MOST_LISTED = 4


def write(
    out: Path,
    plan: Row,
    cells: Sequence[Row],
    baseline: Row,
    score: str,
    synthetic: bool,
    settings: Sequence[Row] = (),
    said: Sequence[str] = (),
) -> Path:
    """Write the page of an ablation and return its path.

    Args:
        out: The ablation's folder.
        plan: What was varied, on what.
        cells: Method, row, column and seed of each training, with its scores, or why it `failed`, or that it is
            `missing` and will be tried again.
        baseline: The scores of random weights.
        score: "probe" or "knn".
        synthetic: Whether the images are a built-in cohort.
        settings: Every resolved value of each training that was scored.
        said: What it remarked on its images.
    """
    scored = [cell for cell in cells if "probe" in cell]
    table = pd.DataFrame(scored)
    title, rows, columns = _TITLES[plan["what"]]
    alike, chosen = _held(settings, plan)
    context = {
        "title": title,
        "of": modality_title(plan["modality"], plan.get("own_modality")),
        "synthetic": synthetic,
        "name": out.resolve().name,
        "label": _label(plan),
        "headline": _headline(table, baseline, score, plan),
        "facts": _facts(baseline, alike),
        "chance": _chance(table, score, plan),
        "tested": "no patient was kept for tests"
        if alike.get("data.holdout") == 0
        else "test patients were not looked at",
        "read": _read(table, baseline, score, plan),
        "score": SCORES[score],
        "axes": (rows, columns),
        "seeds": plan["seeds"],
        "panels": _panels(table, plan, baseline, score),
        "lines": [_line(cell) for cell in scored],
        "baseline": _line({"method": "", "row": "", "column": "", "seed": 0, **baseline}),
        "remarks": [*_remarks(cells, baseline), *said],
        "plan": _asked(plan),
        "settings": alike,
        "chosen": chosen,
    }
    return page.write(out / NAME, page.render("ablate.html.j2", context))


def _asked(plan: Row) -> Row:
    """Return what was asked for as it reads on the page; what was left open is not there."""
    words = {
        "label": _label(plan),
        "data": Path(plan["data"]).name if plan["data"] else "the built-in cohort",
        "values": {name: ", ".join(_text(value) for value in values) for name, values in plan["values"].items()},
    }
    return {name: value for name, value in {**plan, **words}.items() if value not in (None, {})}


def _label(plan: Row) -> str:
    column, positive, negative = plan["label"]
    if not (positive or negative):
        return f"“{column}”"
    sides = [", ".join(words) if words else "every other word" for words in (positive, negative)]
    return f"“{column}” ({' against '.join(sides)})"


def _facts(baseline: Row, alike: Row) -> str:
    """Say on how many images scores stand, and what every training was."""
    images, patients = plural(int(baseline["images"]), "image"), plural(int(baseline["patients"]), "patient")
    scored = f"{images} of {patients}, {count(baseline.get('positives'))} of them positive"
    parts = [
        f"{alike['backbone']}" if "backbone" in alike else "",
        f"{alike['data.image_size']} pixels a side" if "data.image_size" in alike else "",
        plural(alike["train.epochs"], "epoch") if "train.epochs" in alike else "",
        f"{alike['train.batch_size']} images a batch" if "train.batch_size" in alike else "",
    ]
    each = ", ".join(part for part in parts if part)
    return f"Scored on {scored}.{f' Each training: {each}.' if each else ''}"


def _held(settings: Sequence[Row], plan: Row) -> tuple[Row, list[str]]:
    """Return the settings that all trainings have alike, and a line each of those that were chosen by training.

    What varies, places and seeds are in neither. What one method alone has is alike where its trainings have it alike.
    """
    varied = {*plan.get("values", {}), "train.seed", "data.manifest", *([] if plan["what"] != "batch" else ["method"])}
    augment = plan["what"] == "augmentations"
    found: dict[str, list[Any]] = {}
    for one in settings:
        for name, value in flat(one).items():
            if name not in varied and not (augment and name.startswith("augment")):
                different = found.setdefault(name, [])
                different.extend([value] if value not in different else [])
    alike = {name: values[0] for name, values in found.items() if len(values) == 1}
    return alike, [f"{name} {_these(values)}" for name, values in found.items() if len(values) > 1]


def _these(values: list[Any]) -> str:
    """Return a few values one by one, and more numbers than that by their ends."""
    numbers = all(known(value) for value in values)
    if numbers and len(values) > _MOST_LISTED:
        return f"from {_text(min(values))} to {_text(max(values))}"
    return " or ".join(_text(value) for value in (sorted(values) if numbers else values))


def _remarks(cells: Sequence[Row], baseline: Row) -> list[str]:
    failed = [f"{_where(cell)} failed: {cell['failed']}" for cell in cells if "failed" in cell]
    again = [
        f"{_where(cell)} is not scored, for want of images or files: --resume tries it again"
        for cell in cells
        if "missing" in cell
    ]
    unknown = int(baseline.get("unknown", 0))
    alone = (
        f"{plural(unknown, 'image')} of unknown patient count as patients of their own: where they are several of one "
        "person, scores are too high and intervals too narrow"
    )
    return [*failed, *again, *([alone] if unknown else [])]


def _chance(table: pd.DataFrame, score: str, plan: Row) -> str:
    """Say how far another seed moves a score, where that was tried."""
    if plan["seeds"] == 1:
        return (
            "One seed a cell: how far another seed would move a score is not in the intervals and not known here; "
            "--seeds 3 shows it."
        )
    each = table.groupby(["method", "row", "column"])[score]
    apart = (each.max() - each.min())[each.count() > 1]
    if apart.dropna().empty:
        return f"Scores are means over {plan['seeds']} seeds."
    return (
        f"Scores are means over {plan['seeds']} seeds, which lie {number(apart.median())} apart in the median and "
        f"{number(apart.max())} at most; intervals are of patients alone."
    )


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
    _, down, across = _TITLES[plan["what"]]
    about = f"{SCORES[score]} by {down} and {across}, {method_title(method)}"
    names = [_text(row) for row in rows], [_text(column) for column in columns]
    both = down != across
    return heat.plot(
        f"grid-{method}", about, values, *names, limits, down=down if both else "", across=across if both else ""
    )


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
        accent, muted, faint = (svg.COLOURS[name] for name in ("accent", "muted", "faint"))
        axes.axhspan(*_limits(baseline, score), color=faint, alpha=0.15, linewidth=0)
        axes.axhline(baseline[score], color=faint, linewidth=1, dashes=(3, 3))
        aside = axes.get_yaxis_transform()
        axes.text(1.02, baseline[score], "random\nweights", color=muted, va="center", fontsize=11, transform=aside)
        for seed, points in part.groupby("seed"):
            _seed(axes, points, seed - (plan["seeds"] - 1) / 2, score, several=plan["seeds"] > 1)
        axes.plot(x, y, color=accent, linewidth=2, marker="o", markersize=5)
        axes.set_ylim(*_span(part, baseline, score))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        if plan["what"] == "temperature":
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(x, [_text(value) for value in x])
        axes.set_xlabel(_TITLES[plan["what"]][1])
        axes.grid(axis="y", color=svg.COLOURS["grid"], linewidth=1)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)

    about = f"{SCORES[score]} by {_TITLES[plan['what']][1]}, {method_title(method)}"
    return svg.draw(f"curve-{method}", about, paint, margins=(52, 64, 44, 12))


def _seed(axes: Axes, points: pd.DataFrame, step: float, score: str, *, several: bool) -> None:
    """Draw the intervals of a seed, a little to the side where there are several, and then its points."""
    place = axes.transData + ScaledTranslation(step * 5 / 72, 0, axes.figure.dpi_scale_trans)
    ends = np.array([_limits(point, score) for _, point in points.iterrows()])
    axes.vlines(points["row"], *ends.T, color=svg.COLOURS["accent"], linewidth=1.5, alpha=0.5, transform=place)
    if several:
        axes.plot(points["row"], points[score], "o", markersize=4, color=svg.COLOURS["faint"], transform=place)


def _span(part: pd.DataFrame, baseline: Row, score: str) -> tuple[float, float]:
    """Return the ends of the axis, which the intervals of all points are within."""
    drawn = [score, f"{score}_low", f"{score}_high"]
    values = np.append(part[drawn].to_numpy(dtype=float).ravel(), [baseline[name] for name in drawn])
    low, high = np.nanmin(values), np.nanmax(values)
    return low - 0.06 * (high - low + 0.01), high + 0.06 * (high - low + 0.01)


def _limits(row: Row | pd.Series, score: str) -> tuple[float, float]:
    return float(row[f"{score}_low"]), float(row[f"{score}_high"])


def _read(table: pd.DataFrame, baseline: Row, score: str, plan: Row) -> str:
    """Say how the figure is to be read."""
    if plan["what"] not in ("augmentations", "batch"):
        seeds = "" if plan["seeds"] == 1 else " Small points: single seeds; the line joins their means."
        return (
            f"{_READ[plan['what']]} Upward: AUROC; 0.5 is a guess. Thin lines, and the grey band of random "
            f"weights, drawn once: {percent(95)} intervals over patients.{seeds}"
        )
    width = (table[f"{score}_high"] - table[f"{score}_low"]).median() / 2
    ends = (
        f" A {percent(95)} interval over patients reaches some {number(width)} to either side." if known(width) else ""
    )
    random = f"random weights, drawn once, reach {number(baseline[score])}"
    return f"{_READ[plan['what']]} AUROC, the fuller a cell the higher: 0.5 is a guess, and {random}.{ends}"


def _headline(table: pd.DataFrame, baseline: Row, score: str, plan: Row) -> str:
    limits = [f"{score}_low", f"{score}_high"]
    means = table.groupby(["method", "row", "column"], sort=False)[[score, *limits]].mean()
    means = means[means[score].notna()]
    if means.empty:
        return "No cell could be scored: there are too few patients of a class."
    highest = int(means[score].argmax())
    best = means.iloc[highest]
    random = f"Random weights reach {_with_interval(baseline, score)}"
    beaten = "" if best[score] > baseline[score] else ", which none of the settings beats"
    return (
        f"The highest score, {_with_interval(best, score)}, is that of {_of(means.index[highest], plan['what'])}"
        f"{_lowest(means[score], plan['what'])}. {_told_apart(means[score], float(best[limits[0]]))}{random}{beaten}."
    )


def _lowest(means: pd.Series, what: str) -> str:
    """Name the lowest score, where there are several."""
    if len(means) == 1:
        return ""
    return f"; the lowest, {number(float(means.min()))}, that of {_of(means.index[int(means.argmin())], what)}"


def _told_apart(means: pd.Series, low: float) -> str:
    """Say how many of the other scores lie within the interval of the highest."""
    others = len(means) - 1
    within = int((means >= low).sum()) - 1
    if not others or not known(low) or not within:
        return ""
    if others == 1:
        return "The interval of the highest holds the other score, which is not told apart from it here. "
    many = "all" if within == others else within
    said = f"The interval of the highest holds {many} of the {others} other scores"
    return f"{said}, which are not told apart from it here. "


def _with_interval(row: Row | pd.Series, score: str) -> str:
    return f"{number(float(row[score]))} ({interval(*_limits(row, score))})"


def _of(cell: tuple[str, Any, Any], what: str) -> str:
    method, row, column = cell
    if what == "augmentations":
        place = f"{row} alone" if row == column else f"{row} and {column}"
    elif what == "batch":
        place = f"{_text(row)} images a batch and {plural(int(column), 'epoch')}"
    else:
        place = f"{_TITLES[what][1]} {_text(row)}"
    return f"{method_title(str(method))} with {place}"


def _line(row: Row) -> Row:
    alone = bool(row["method"]) and isinstance(row["row"], str) and row["row"] == row["column"]
    return {
        "method": method_title(str(row["method"])) if row["method"] else "random weights",
        "row": _text(row["row"]),
        "column": "alone" if alone else _text(row["column"]),
        "seed": int(row["seed"]),
        "probe": number(row["probe"]),
        "probe_interval": interval(*_limits(row, "probe")),
        "knn": number(row["knn"]),
        "knn_interval": interval(*_limits(row, "knn")),
    }


def _where(cell: Row) -> str:
    place = " and ".join(dict.fromkeys(_text(cell[name]) for name in ("row", "column")))
    return f"{method_title(str(cell['method']))} with {place}, seed {cell['seed']}"


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, int | float) else str(value)
