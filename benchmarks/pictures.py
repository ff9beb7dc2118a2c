"""Draw the curves of a finished sweep as a picture for a document.

    python benchmarks/pictures.py docs/results/cxr-simclr/probe

Writes `curves.png` beside `results.json`: AUROC with its 95 % interval over the share of labels, one panel a test set.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from medssl.report.sweep_folder import Sweep, of_set, set_title

INK, GREY = "#1f2933", "#7b8794"
COLOURS = ("#0b6bb5", "#b5500b", "#2f855a", "#805ad5")
STYLES = {
    "scratch": (INK, "-", "o"),
    "random": (GREY, "--", "s"),
    "pixels": (GREY, "-.", "^"),
    "shortcut": (GREY, ":", "v"),
}


def curves(folder: Path) -> Path:
    """Draw the curves and return the path of the picture."""
    sweep = Sweep.read(folder)
    rows = [row for row in sweep.scores if row["metric"] == sweep.main and row["value"] is not None]
    fractions = sorted({row["fraction"] for row in rows})
    limits = [row[side] for row in rows for side in ("low", "high")]
    figure = Figure(figsize=(5 * len(sweep.test_sets), 4), layout="constrained")
    for place, (test_set, domain) in enumerate(sweep.test_sets):
        axes = figure.add_subplot(1, len(sweep.test_sets), place + 1)
        own = of_set(rows, test_set, domain)
        for number, arm in enumerate(sweep.looks):
            points = sorted((row for row in own if row["arm"] == arm), key=lambda row: row["fraction"])
            colour, line, marker = STYLES.get(arm, (COLOURS[number % len(COLOURS)], "-", "D"))
            x = [row["fraction"] * 1.04 ** (number - 2) for row in points]
            y = [row["value"] for row in points]
            spread = [[row["value"] - row["low"] for row in points], [row["high"] - row["value"] for row in points]]
            axes.errorbar(
                x, y, spread, color=colour, linestyle=line, marker=marker, markersize=4, label=arm, elinewidth=1
            )
        axes.axhline(0.5, color=GREY, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_ylim(min(*limits, 0.5) - 0.02, max(limits) + 0.02)
        axes.xaxis.set_major_locator(FixedLocator(fractions))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        axes.set_title(set_title(test_set, domain), fontsize=10)
        axes.set_xlabel("share of labelled training patients")
        axes.set_ylabel("AUROC" if place == 0 else "")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(folder / "curves.png", dpi=120, metadata={"Software": None})
    return folder / "curves.png"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    mpl.rcParams["font.size"] = 9
    print(curves(parser.parse_args().folder))
