"""Figure of an embedding map: one dot an image, coloured by what is known of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from medssl.report import svg

MOST_DOTS = 1200
_MARKERS = "os^Dv*"
UNKNOWN = "unknown"
_MOST_GROUPS = 7


def plot(name: str, title: str, x: np.ndarray, y: np.ndarray, groups: Sequence[str]) -> Markup:
    """Draw dots coloured by group.

    Args:
        name: Unique on the page.
        title: What is shown, for those who hear the page.
        x: First coordinate, (N,).
        y: Second coordinate, (N,).
        groups: The group of each dot; `UNKNOWN` is drawn faint and beneath the others.
    """
    group_of = np.asarray(groups, dtype=object)
    names = ordered(groups)

    def paint(axes: Axes) -> None:
        for place, group in enumerate(reversed(names)):
            chosen = group_of == group
            colour, marker = style(group, len(names) - 1 - place)
            axes.plot(
                x[chosen],
                y[chosen],
                linestyle="none",
                marker=marker,
                markersize=4,
                markeredgewidth=0,
                color=svg.COLOURS[colour],
                alpha=0.7,
            )
        _frame(axes)

    return svg.draw(name, title, paint, height=340, margins=(4, 4, 4, 4))


def view(name: str, of: str, by: str, xy: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """Return a map with its legend: by what it is coloured, the figure (None where nothing is known), group rows.

    Args:
        name: Unique on the page.
        of: Whose features they are.
        by: What the groups are.
        xy: Coordinates, (N, 2).
        groups: The group of each dot.
    """
    if all(group == UNKNOWN for group in groups):
        return {"by": by, "figure": None, "legend": []}
    figure = plot(name, f"Embedding map of {svg.label(of)}, coloured by {by}", xy[:, 0], xy[:, 1], groups)
    return {"by": by, "figure": figure, "legend": legend(groups)}


def legend(groups: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return each group with its CSS variable and its number of dots, the largest first."""
    held = list(groups)
    return [(group, style(group, place)[0], held.count(group)) for place, group in enumerate(ordered(held))]


def few(groups: list[str]) -> list[str]:
    """Return groups in which all but the largest seven are called `other`, so that colours stay distinct."""
    kept = [group for group in ordered(groups) if group != UNKNOWN][:_MOST_GROUPS]
    keep = {*kept, UNKNOWN}
    other = len(set(groups) - keep)
    return [group if group in keep else f"other ({other})" for group in groups]


def ordered(groups: Sequence[str]) -> list[str]:
    """Return the groups from the largest to the smallest, the unknown one last."""
    names, counts = np.unique(np.asarray(groups, dtype=str), return_counts=True)
    order = sorted(zip(names.tolist(), counts.tolist()), key=lambda pair: (pair[0] == UNKNOWN, -pair[1], pair[0]))
    return [name for name, _ in order]


def style(group: str, place: int) -> tuple[str, str]:
    """Return the CSS variable and the marker of the group at a place of `ordered`."""
    return ("faint", ".") if group == UNKNOWN else (f"arm-{place % 8}", _MARKERS[place % len(_MARKERS)])


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(svg.COLOURS["grid"])
