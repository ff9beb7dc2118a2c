"""Figures of a sweep: performance over the fraction of labels, one panel a test set, intervals and direct labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from medssl.report import svg
from medssl.report.arms import Arm
from medssl.report.words import known, percent

_CHANCE = "chance"
_LABEL_GAP = 0.062
"""Least distance between two direct labels, as a share of the axes' height."""


@dataclass(frozen=True)
class Level:
    """The level an arm has to reach, and where each arm reaches it (percent of the labels)."""

    value: float
    reached: Mapping[str, float]


def panel(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    looks: Mapping[str, Arm],
    limits: tuple[float, float],
    *,
    unit: str,
    chance: float | None = None,
    level: Level | None = None,
) -> Markup:
    """Draw one test set.

    Args:
        name: Unique on the page.
        title: What is shown, for those who hear the page.
        rows: `arm`, `fraction` (percent), `value`, `low`, `high`; rows without a value are left out.
        looks: How each arm is drawn.
        limits: The range of the value, the same for panels that are compared.
        unit: What the value is, written above its axis.
        chance: The value of a guess, drawn as a line.
        level: What has to be reached.
    """
    rows = [row for row in rows if known(row["value"])]
    drawn = [arm for arm in looks if any(row["arm"] == arm for row in rows)]

    def paint(axes: Axes) -> None:
        _axes(axes, sorted({row["fraction"] for row in rows}), limits, unit)
        _references(axes, limits, chance, level, looks)
        ends = {} if chance is None else {_CHANCE: (axes.get_xlim()[1], chance)}
        for place, arm in enumerate(drawn):
            own = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["fraction"])
            dodge = 1.035 ** (place - (len(drawn) - 1) / 2)
            curve(axes, [row["fraction"] * dodge for row in own], own, looks[arm])
            ends[arm] = (own[-1]["fraction"], own[-1]["value"])
        direct_labels(axes, ends, looks, limits)

    return svg.draw(name, title, paint, height=330, margins=(36, 108, 44, 26))


def shared_limits(rows: Sequence[Mapping[str, Any]], chance: float | None) -> tuple[float, float]:
    """Return one range for all panels: from below the lowest interval or chance to above the highest."""
    values = [row[key] for row in rows for key in ("value", "low", "high") if known(row.get(key))]
    values += [] if chance is None else [chance]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = max(high - low, 0.05) * 0.06
    return max(low - room, 0.0), (min(high + room, 1.005) if high <= 1 else high + room)


def _axes(axes: Axes, fractions: list[float], limits: tuple[float, float], unit: str) -> None:
    axes.set_xscale("log")
    ends = (min(fractions), max(fractions)) if fractions else (1.0, 100.0)
    axes.set_xlim(ends[0] / 1.3, ends[1] * 1.3)
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(FixedLocator(fractions))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.set_xlabel("share of labelled training patients, log scale")
    axes.locator_params(axis="y", nbins=6)
    axes.annotate(
        unit, (0, 1), (-28, 8), xycoords="axes fraction", textcoords="offset points", color=svg.COLOURS["muted"]
    )
    axes.grid(axis="y", color=svg.COLOURS["grid"], linewidth=1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _references(
    axes: Axes, limits: tuple[float, float], chance: float | None, level: Level | None, looks: Mapping[str, Arm]
) -> None:
    if chance is not None:
        axes.axhline(chance, color=svg.COLOURS["faint"], linewidth=1, dashes=(2, 3))
    if level is None:
        return
    axes.axhline(level.value, color=svg.COLOURS["ink"], linewidth=1, dashes=(5, 3), alpha=0.6)
    for arm, fraction in level.reached.items():
        colour = svg.COLOURS[looks[arm].colour]
        axes.plot([fraction, fraction], [limits[0], level.value], color=colour, linewidth=1, dashes=(2, 2))


def curve(axes: Axes, x: Sequence[float], rows: Sequence[Mapping[str, Any]], look: Arm) -> None:
    """Draw the values of one arm at x, with their intervals."""
    colour = svg.COLOURS[look.colour]
    y = [row["value"] for row in rows]
    strong = look.learnt or look.name == "scratch"
    axes.plot(
        x,
        y,
        color=colour,
        linestyle=look.dash,
        linewidth=2.2 if strong else 1.4,
        marker=look.marker,
        markersize=6 if strong else 4.5,
        markeredgecolor=svg.COLOURS["page"],
        markeredgewidth=0.8,
        zorder=4 if strong else 3,
    )
    for position, row in zip(x, rows, strict=True):
        if known(row.get("low")) and known(row.get("high")):
            ends = [row["low"], row["high"]]
            axes.plot([position] * 2, ends, color=colour, linewidth=1.3, alpha=0.75, solid_capstyle="butt", zorder=2)


def direct_labels(
    axes: Axes, ends: Mapping[str, tuple[float, float]], looks: Mapping[str, Arm], limits: tuple[float, float]
) -> None:
    """Write each arm's name beside the end of its curve, moved apart where names would overlap."""
    span = limits[1] - limits[0]
    wanted = {arm: (value - limits[0]) / span for arm, (_, value) in ends.items()}
    for arm, height in spread(wanted, _LABEL_GAP).items():
        look = looks.get(arm)
        axes.annotate(
            svg.label(arm, 15),
            ends[arm],
            (1.04, height),
            xycoords="data",
            textcoords="axes fraction",
            color=svg.COLOURS[look.colour if look else "muted"],
            fontweight="bold" if look and look.learnt else "normal",
            va="center",
            arrowprops={"arrowstyle": "-", "color": svg.COLOURS["faint"], "linewidth": 0.8, "shrinkA": 1, "shrinkB": 5},
        )


def spread(wanted: Mapping[str, float], gap: float) -> dict[str, float]:
    """Return heights in [0, 1] at least `gap` apart, in the wanted order and near the wanted ones.

    Neighbours that are too close become a block around their mean, which may swallow further ones (pool adjacent
    violators); a block is then kept within the axes.
    """
    blocks: list[tuple[float, list[str]]] = []
    for name in sorted(wanted, key=lambda name: (wanted[name], name)):
        blocks.append((wanted[name], [name]))
        while len(blocks) > 1 and _top(*blocks[-2], gap) + gap > _bottom(*blocks[-1], gap):
            (_, below), (_, above) = blocks[-2:]
            names = below + above
            centre = sum(wanted[each] for each in names) / len(names)
            half = gap * (len(names) - 1) / 2
            blocks[-2:] = [(min(max(centre, half), max(1 - half, half)), names)]
    return {
        name: _bottom(centre, names, gap) + gap * place for centre, names in blocks for place, name in enumerate(names)
    }


def _bottom(centre: float, names: list[str], gap: float) -> float:
    return centre - gap * (len(names) - 1) / 2


def _top(centre: float, names: list[str], gap: float) -> float:
    return centre + gap * (len(names) - 1) / 2
