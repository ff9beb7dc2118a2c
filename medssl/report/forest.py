"""Figure of paired differences: one row a comparison, its interval, and the smallest gain that matters."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from medssl.report import svg
from medssl.report.arms import Arm
from medssl.report.words import known, percent, signed

_ROW = 40
_MARGINS = (10, 10, 46, 22)


def plot(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    looks: Mapping[str, Arm],
    limits: tuple[float, float],
    smallest_gain: float | None,
) -> Markup:
    """Draw the differences of one test set, top down in the order given.

    Args:
        name: Unique on the page.
        title: What is shown, for those who hear the page.
        rows: `a`, `b`, `fraction`, `difference` (a minus b), `low`, `high`.
        looks: How each arm is drawn.
        limits: The range of differences, the same for all test sets.
        smallest_gain: Differences from zero up to here do not matter; shaded. None where it is not known.
    """
    rows = [row for row in rows if known(row["difference"])]

    def paint(axes: Axes) -> None:
        axes.set_xlim(*limits)
        axes.set_ylim(-(len(rows) - 0.5), 0.75)
        for place, row in enumerate(rows):
            _rail(axes, -place - 0.08, limits, smallest_gain)
            _row(axes, -place, row, looks)
        _frame(axes, limits)

    return svg.draw(name, title, paint, height=_ROW * len(rows) + _MARGINS[2] + _MARGINS[3] + 10, margins=_MARGINS)


def shared_limits(rows: Sequence[Mapping[str, Any]], smallest_gain: float | None) -> tuple[float, float]:
    """Return one range of differences for all test sets, zero and the smallest gain that matters within it."""
    values = [row[key] for row in rows for key in ("difference", "low", "high") if known(row.get(key))]
    low, high = min([0.0, *values]), max([0.0, smallest_gain or 0.0, *values])
    room = max(high - low, 0.02) * 0.06
    return low - room, high + room


def _rail(axes: Axes, y: float, limits: tuple[float, float], smallest_gain: float | None) -> None:
    """Draw what a row's interval is read against: the scale, no difference, and differences that do not matter."""
    axes.plot(limits, [y] * 2, color=svg.COLOURS["grid"], linewidth=1, zorder=1)
    if smallest_gain:
        axes.add_patch(Rectangle((0, y - 0.17), smallest_gain, 0.34, color=svg.COLOURS["grid"], linewidth=0))
    axes.plot([0, 0], [y - 0.2, y + 0.2], color=svg.COLOURS["muted"], linewidth=1.2, zorder=2)


def _row(axes: Axes, y: float, row: Mapping[str, Any], looks: Mapping[str, Arm]) -> None:
    look = looks[row["a"]]
    colour = svg.COLOURS[look.colour]
    place = axes.get_yaxis_transform()
    text = f"{svg.label(row['a'], 14)} against {svg.label(row['b'], 14)}, {percent(row['fraction'])}"
    axes.text(0.0, y + 0.33, text, va="center", transform=place, color=svg.COLOURS["ink"])
    axes.text(1.0, y + 0.33, _figures(row), va="center", ha="right", transform=place, color=svg.COLOURS["muted"])
    if known(row.get("low")) and known(row.get("high")):
        ends = [row["low"], row["high"]]
        axes.plot(ends, [y - 0.08] * 2, color=colour, linewidth=2, solid_capstyle="butt", zorder=3)
    axes.plot(
        [row["difference"]],
        [y - 0.08],
        marker=look.marker,
        markersize=7,
        color=colour,
        markeredgecolor=svg.COLOURS["page"],
        zorder=4,
    )


def _figures(row: Mapping[str, Any]) -> str:
    if not (known(row.get("low")) and known(row.get("high"))):
        return f"{signed(row['difference'])} (no interval)"
    return f"{signed(row['difference'])} ({signed(row['low'])} to {signed(row['high'])})"


def _frame(axes: Axes, limits: tuple[float, float]) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: "0" if abs(value) < 1e-9 else signed(value, 2))
    axes.set_xlabel("difference")
    top = axes.get_xaxis_transform()
    zero = (0 - limits[0]) / (limits[1] - limits[0])
    side: dict[str, Any] = {"textcoords": "offset points", "color": svg.COLOURS["muted"], "fontsize": 11}
    if zero > 0.15:
        axes.annotate("← worse", (0, 1), (-5, 4), xycoords=top, ha="right", **side)
    if zero < 0.85:
        axes.annotate("better →", (0, 1), (5, 4), xycoords=top, ha="left", **side)
