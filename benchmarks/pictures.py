"""Draw a finished sweep as pictures for a document.

    python benchmarks/pictures.py docs/results/cxr-simclr/probe

Writes beside `results.json` what there is to draw, AUROC with its 95 % interval over

    curves.png   the share of labels, one panel a test set
    minutes.png  the minutes of pretraining, where one method was tested at several times
    shifts.png   the severity of an acquisition shift, one panel a shift, with the largest share of labels
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from medssl.report.over_time import families
from medssl.report.sweep_folder import Row, Sweep, of_set, set_title

INK, GREY = "#1f2933", "#7b8794"
COLOURS = ("#0b6bb5", "#b5500b", "#2f855a", "#805ad5")
STYLES = {
    "scratch": (INK, "-", "o"),
    "random": (GREY, "--", "s"),
    "pixels": (GREY, "-.", "^"),
    "shortcut": (GREY, ":", "v"),
}


def curves(sweep: Sweep) -> Figure | None:
    """Draw every test set over the share of labels."""
    rows = _drawable(sweep.scores, sweep)
    figure, panels = _panels([set_title(*place) for place in sweep.test_sets], "share of labelled training patients")
    for axes, place in zip(panels, sweep.test_sets, strict=True):
        for number, arm in enumerate(sweep.looks):
            points = sorted((row for row in of_set(rows, *place) if row["arm"] == arm), key=lambda row: row["fraction"])
            _curve(axes, [row["fraction"] * 1.04 ** (number - 2) for row in points], points, sweep, arm)
        axes.set_xscale("log")
        _ticks(axes, sorted({row["fraction"] for row in rows}), lambda value: f"{value:g} %")
    return _finished(figure, panels, rows)


def minutes(sweep: Sweep) -> Figure | None:
    """Draw every test set over the minutes of pretraining, with the arms that learnt nothing as levels."""
    found, rows = families(sweep), _drawable(sweep.scores, sweep)
    if not found:
        return None
    fraction = sweep.primary["fraction"]
    rows = [row for row in rows if row["fraction"] == fraction]
    figure, panels = _panels([set_title(*place) for place in sweep.test_sets], "minutes of pretraining")
    for axes, place in zip(panels, sweep.test_sets, strict=True):
        own = {row["arm"]: row for row in of_set(rows, *place)}
        for arm in (arm for arm in STYLES if arm in own):
            colour, line, _ = _style(sweep, arm)
            axes.axhline(own[arm]["value"], color=colour, linestyle=line, linewidth=1.2, label=arm)
        for points in found:
            arms = [(x, arm) for x, arm in points if arm in own]
            _curve(axes, [x for x, _ in arms], [own[arm] for _, arm in arms], sweep, points[-1][1])
        axes.set_xscale("log")
        _ticks(axes, sorted({x for points in found for x, _ in points}), lambda value: f"{value:.2g}")
    return _finished(figure, panels, rows)


def shifts(sweep: Sweep) -> Figure | None:
    """Draw every acquisition shift over its severity; 0 is the unchanged image."""
    if not sweep.shift_curves:
        return None
    most = max(row["fraction"] for row in sweep.shift_curves)
    rows = [row for row in sweep.shift_curves if row["fraction"] == most and row["value"] is not None]
    names = list(dict.fromkeys(row["shift"] for row in rows))
    figure, panels = _panels(names, "severity", columns=3)
    for axes, name in zip(panels, names, strict=True):
        for number, arm in enumerate(sweep.looks):
            points = [row for row in rows if (row["shift"], row["arm"]) == (name, arm)]
            points.sort(key=lambda row: row["severity"])
            _curve(axes, [row["severity"] + 0.05 * (number - 2) for row in points], points, sweep, arm)
        _ticks(axes, sorted({row["severity"] for row in rows}), lambda value: f"{value:g}" if value else "none")
    return _finished(figure, panels, rows)


def _drawable(rows: list[Row], sweep: Sweep) -> list[Row]:
    return [row for row in rows if row["metric"] == sweep.main and row["value"] is not None]


def _panels(titles: Sequence[str], below: str, columns: int = 4) -> tuple[Figure, list[Axes]]:
    columns = min(columns, len(titles))
    lines = -(-len(titles) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.7 * lines), layout="constrained")
    panels = [figure.add_subplot(lines, columns, number + 1) for number in range(len(titles))]
    for number, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(below)
        axes.set_ylabel("" if number % columns else "AUROC")
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _style(sweep: Sweep, arm: str) -> tuple[str, str, str]:
    learnt = [name for name in sweep.looks if name not in STYLES]
    return STYLES[arm] if arm in STYLES else (COLOURS[learnt.index(arm) % len(COLOURS)], "-", "D")


def _curve(axes: Axes, x: list[float], points: list[Row], sweep: Sweep, arm: str) -> None:
    if points:
        colour, line, marker = _style(sweep, arm)
        y = [row["value"] for row in points]
        spread = [[row["value"] - row["low"] for row in points], [row["high"] - row["value"] for row in points]]
        axes.errorbar(x, y, spread, color=colour, linestyle=line, marker=marker, markersize=4, label=arm, elinewidth=1)


def _ticks(axes: Axes, values: list[float], write: Any) -> None:
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def _finished(figure: Figure, panels: Sequence[Axes], rows: list[Row]) -> Figure:
    limits = [row[side] for row in rows for side in ("low", "high")]
    for axes in panels:
        axes.axhline(0.5, color=GREY, linewidth=0.8)
        axes.set_ylim(min(*limits, 0.5) - 0.02, max(limits) + 0.02)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def draw(folder: Path) -> list[Path]:
    """Draw what there is and return the paths of the pictures."""
    sweep, written = Sweep.read(folder), []
    for paint in (curves, minutes, shifts):
        figure = paint(sweep)
        if figure is not None:
            written.append(folder / f"{paint.__name__}.png")
            figure.savefig(written[-1], dpi=120, metadata={"Software": None})
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    mpl.rcParams["font.size"] = 9
    for path in draw(parser.parse_args().folder):
        print(path)
