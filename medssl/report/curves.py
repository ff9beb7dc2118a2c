"""Figures of a run: the loss and what the monitors saw, over epochs."""

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from medssl.report import svg
from medssl.report.words import number, significant

Points = list[tuple[float, float]]
_SMOOTH_FROM = 40
_MOST_POINTS = 1500


def loss(steps: Points) -> Markup:
    """Draw the loss over epochs: every logged step faint, a running median over a twentieth of the run strong."""
    x, y = np.asarray(_thinned(steps), dtype=float).T

    def paint(axes: Axes) -> None:
        many = len(x) >= _SMOOTH_FROM
        axes.plot(x, y, color=svg.COLOURS["accent"], linewidth=0.8 if many else 2, alpha=0.35 if many else 1)
        line = smoothed(y)
        if many:
            axes.plot(x, line, color=svg.COLOURS["accent"], linewidth=2)
        _mark(axes, x[-1], line[-1], significant(line[-1]))
        robust = np.percentile(y, [1, 99])
        _limits(axes, x, min(robust[0], line.min()), max(robust[1], line.max()))

    return svg.draw("loss", "Training loss over epochs", paint, height=240)


def monitor(name: str, title: str, points: Points, *, chance: float | None = None, digits: int | None = None) -> Markup:
    """Draw a monitored value over epochs, with the level of chance where there is one."""
    x, y = np.asarray(points, dtype=float).T

    def paint(axes: Axes) -> None:
        if chance is not None:
            axes.axhline(chance, color=svg.COLOURS["faint"], linewidth=1, dashes=(3, 3))
            place = axes.get_yaxis_transform()
            axes.text(0.01, chance, "chance", color=svg.COLOURS["muted"], va="bottom", fontsize=11, transform=place)
        axes.plot(x, y, color=svg.COLOURS["accent"], linewidth=2, marker="o", markersize=4, clip_on=False)
        _mark(axes, x[-1], y[-1], number(y[-1], digits) if digits is not None else significant(y[-1]))
        values = y if chance is None else np.append(y, chance)
        _limits(axes, x, values.min(), values.max())

    return svg.draw(name, title, paint, height=240)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the running median over a twentieth of the values, (N,) -> (N,); few values are returned as they are.

    A median ignores single spikes, a mean would not. At both ends the window is what there is of it.
    """
    half = len(values) // 40
    padded = np.pad(values.astype(float), half, constant_values=np.nan)
    return np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)


def _thinned(points: Points) -> Points:
    every = max(1, len(points) // _MOST_POINTS)
    return points[:-1:every] + points[-1:]


def _mark(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(
        text, (x, y), (-2, 7), textcoords="offset points", ha="right", fontweight="bold", color=svg.COLOURS["ink"]
    )


def _limits(axes: Axes, x: np.ndarray, low: float, high: float) -> None:
    room = (high - low) or abs(high) * 0.1 or 1.0
    axes.set_ylim(low - 0.1 * room, high + 0.2 * room)
    axes.set_xlim(min(0.0, x.min()), max(x.max(), x.min() + 1e-6))
    axes.set_xlabel("epoch")
    axes.locator_params(axis="y", nbins=5)
    axes.locator_params(axis="x", nbins=6, integer=bool(x.max() >= 3))
    axes.grid(axis="y", color=svg.COLOURS["grid"], linewidth=1)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
