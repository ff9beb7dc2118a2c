"""Figure of scores over two things that vary: a grid of coloured cells, each with its number."""

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from medssl.report import svg
from medssl.report.words import number

_NARROW = 5
"""Columns beyond which words below them stand at an angle."""


def plot(
    name: str,
    title: str,
    values: np.ndarray,
    rows: list[str],
    columns: list[str],
    limits: tuple[float, float],
    *,
    down: str = "",
    across: str = "",
) -> Markup:
    """Draw a grid; the fuller a cell is coloured the higher its score, and an empty one has none.

    Args:
        name: Unique on the page.
        title: What is shown, for those who hear the page.
        values: (rows, columns), NaN where there is no score.
        rows: Names from top to bottom.
        columns: Names from left to right.
        limits: The scores of an empty and of a full colour, shared by the grids that are compared.
        down: What varies from top to bottom, where that has to be said.
        across: What varies from left to right.
    """
    slanted = len(columns) > _NARROW and max(map(len, columns)) > _NARROW

    def paint(axes: Axes) -> None:
        low, high = limits
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                continue
            share = float(np.clip((value - low) / max(high - low, 1e-9), 0, 1))
            place = (column + 0.03, len(rows) - 1 - row + 0.03)
            axes.add_patch(
                Rectangle(place, 0.94, 0.94, color=svg.COLOURS["accent"], alpha=0.06 + 0.6 * share, linewidth=0)
            )
            middle = (column + 0.5, len(rows) - 0.5 - row)
            axes.text(*middle, number(value), ha="center", va="center", color=svg.COLOURS["ink"], fontsize=12)
        axes.set_xlim(0, len(columns))
        axes.set_ylim(0, len(rows))
        axes.set_xticks(np.arange(len(columns)) + 0.5, [svg.label(text, 12) for text in columns])
        if slanted:
            for tick in axes.get_xticklabels():
                tick.set(rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(len(rows)) + 0.5, [svg.label(text, 12) for text in reversed(rows)])
        axes.set_xlabel(across)
        axes.set_ylabel(down)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    below = 36 + 22 * bool(across) + 32 * slanted
    return svg.draw(name, title, paint, height=34 + below + 52 * len(rows), margins=(86, 8, below, 8))
