"""What another minute of pretraining brings: arms of one method and network, drawn over their wall time."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from medssl.report import fractions, svg
from medssl.report.score_tables import metric_title
from medssl.report.sweep_folder import Row, Sweep, of_set, set_title
from medssl.report.words import known, significant

_CHANCE = 0.5
_SAME = ("method", "backbone", "modality", "image size", "pretraining images")
_FEWEST = 3  # points that make a curve


def families(sweep: Sweep) -> list[list[tuple[float, str]]]:
    """Return the curves: mean minutes of pretraining and name of each arm that differs from others in time alone.

    Only where there are at least three, such as weights that one run kept on the way.
    """
    found: dict[tuple[str, ...], list[tuple[float, str]]] = defaultdict(list)
    kept = sweep.results.get("arms")
    for name, about in (kept if isinstance(kept, dict) else {}).items():
        minutes = _minutes(about)
        if minutes is not None and name in sweep.looks:
            found[tuple(str(about.get(what)) for what in _SAME)].append((minutes, name))
    curves = [sorted(points) for points in found.values()]
    return [points for points in curves if len({minutes for minutes, _ in points}) >= _FEWEST]


def section(sweep: Sweep) -> Row | None:
    """Return one panel a test set and fraction of labels, or None where no method was tested at several times."""
    curves = families(sweep)
    if not curves:
        return None
    rows = [row for row in sweep.scores if row["metric"] == sweep.main]
    limits = fractions.shared_limits(rows, _CHANCE)
    places = dict.fromkeys((row["mode"], row["test_set"], row["domain"], row["fraction"]) for row in rows)
    panels = [_panel(f"time-{number}", place, rows, curves, sweep, limits) for number, place in enumerate(places)]
    return {"panels": panels}


def _minutes(about: Any) -> float | None:
    minutes = about.get("minutes of pretraining") if isinstance(about, dict) else None
    if not isinstance(minutes, list) or not minutes or not all(known(value) and value > 0 for value in minutes):
        return None
    return float(sum(minutes) / len(minutes))


def _panel(
    name: str,
    place: tuple[Any, ...],
    rows: Sequence[Row],
    curves: Sequence[Sequence[tuple[float, str]]],
    sweep: Sweep,
    limits: tuple[float, float],
) -> Row:
    mode, test_set, domain, fraction = place
    own = {
        row["arm"]: row
        for row in of_set(list(rows), test_set, domain)
        if (row["mode"], row["fraction"]) == (mode, fraction) and known(row["value"])
    }
    ticks = sorted({minutes for points in curves for minutes, _ in points})

    def paint(axes: Axes) -> None:
        _axes(axes, ticks, limits)
        ends = {}
        for arm, look in sweep.looks.items():
            if arm in own and not look.learnt:
                axes.axhline(own[arm]["value"], color=svg.COLOURS[look.colour], linestyle=look.dash, linewidth=1.3)
                ends[arm] = (axes.get_xlim()[1], own[arm]["value"])
        for points in curves:
            drawn = [(minutes, own[arm]) for minutes, arm in points if arm in own]
            if drawn:
                last = points[-1][1]
                fractions.curve(axes, [minutes for minutes, _ in drawn], [row for _, row in drawn], sweep.looks[last])
                ends[last] = (drawn[-1][0], drawn[-1][1]["value"])
        fractions.direct_labels(axes, ends, sweep.looks, limits)

    title = f"{set_title(test_set, domain)}, {fraction:g} % of the labels" + (
        f", {mode}" if len(sweep.modes) > 1 else ""
    )
    about = f"{metric_title(sweep.main)} over minutes of pretraining. {title}"
    return {"title": title, "figure": svg.draw(name, about, paint, height=300, margins=(36, 108, 44, 26))}


def _axes(axes: Axes, ticks: list[float], limits: tuple[float, float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 2)))
    axes.set_xlabel("minutes of pretraining, log scale")
    axes.locator_params(axis="y", nbins=6)
    axes.grid(axis="y", color=svg.COLOURS["grid"], linewidth=1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
