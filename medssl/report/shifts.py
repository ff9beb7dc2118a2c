"""Under another acquisition: curves over severity, one panel a shift, and the mean over the shifts not seen."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from medssl.report import fractions, svg
from medssl.report.score_tables import metric_title, plain
from medssl.report.sweep_folder import Row, Sweep
from medssl.report.words import interval, known, number, signed

_CHANCE = 0.5
_METRIC = "auroc"
_DODGE = 0.05


def section(sweep: Sweep) -> Row | None:
    """Return panels and table of the section, or None where no shift was tested.

    Panels show the largest fraction of labels; the table has all.
    """
    if not sweep.shift_curves:
        return None
    most = max(row["fraction"] for row in sweep.shift_curves)
    rows = [row for row in sweep.shift_curves if row["fraction"] == most]
    limits = fractions.shared_limits(rows, _CHANCE)
    names = list(dict.fromkeys(row["shift"] for row in rows))
    panels = [_panel(name, [row for row in rows if row["shift"] == name], sweep, limits) for name in names]
    return {"fraction": most, "panels": panels, "table": plain(_lines(sweep.shift_headline))}


def _panel(name: str, rows: Sequence[Row], sweep: Sweep, limits: tuple[float, float]) -> Row:
    looks = sweep.looks
    drawn = [arm for arm in looks if any(row["arm"] == arm and known(row["value"]) for row in rows)]

    def paint(axes: Axes) -> None:
        _axes(axes, sorted({row["severity"] for row in rows}), limits)
        ends = {}
        for place, arm in enumerate(drawn):
            own = sorted(
                (row for row in rows if row["arm"] == arm and known(row["value"])), key=lambda row: row["severity"]
            )
            shift = _DODGE * (place - (len(drawn) - 1) / 2)
            fractions.curve(axes, [row["severity"] + shift for row in own], own, looks[arm])
            ends[arm] = (own[-1]["severity"], own[-1]["value"])
        fractions.direct_labels(axes, ends, looks, limits)

    seen = [arm for arm in looks if any(row["arm"] == arm and row["seen"] for row in rows)]
    about = f"{metric_title(_METRIC)} over the severity of {name}"
    figure = svg.draw(f"shift-{name}", about, paint, height=260, margins=(36, 108, 44, 26))
    note = f"In the augmentations of {', '.join(seen)}." if seen else "In no arm's augmentations."
    return {"title": name, "figure": figure, "note": note}


def _axes(axes: Axes, severities: list[int], limits: tuple[float, float]) -> None:
    axes.set_xlim(severities[0] - 0.3, severities[-1] + 0.3)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(FixedLocator(severities))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}" if value else "none"))
    axes.set_xlabel("severity")
    axes.locator_params(axis="y", nbins=5)
    axes.axhline(_CHANCE, color=svg.COLOURS["faint"], linewidth=1, dashes=(2, 3))
    axes.grid(axis="y", color=svg.COLOURS["grid"], linewidth=1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _lines(headline: Sequence[Row]) -> list[Row]:
    several = len({row["mode"] for row in headline}) > 1
    return [
        {
            **({"mode": row["mode"]} if several else {}),
            "arm": row["arm"],
            "fraction": row["fraction"],
            "unchanged": row["unchanged"],
            "unseen shifts, mean": _with_interval(row["unseen"]),
            "change": _with_interval(row["drop"], signed),
            "against scratch": _with_interval(row["against"], signed) if row["against"] else "",
            "unseen": ", ".join(row["unseen_shifts"]) or "none",
        }
        for row in headline
    ]


def _with_interval(row: Row, write: Any = number) -> str:
    if not known(row["value"]):
        return "undefined"
    limits = [write(row["low"]), write(row["high"])] if write is not number else None
    return f"{write(row['value'])} ({' to '.join(limits) if limits else interval(row['low'], row['high'])})"
