"""One look for each arm on the whole page: colour, dash, marker.

Learnt arms have the colours of Okabe and Ito ("Color Universal Design", 2008), told apart by most colour-blind
readers, and a marker of their own; the built-in arms they are compared with stay grey and differ by their dashes.
"""

from dataclasses import dataclass

from medssl.evaluation.arms import BUILT_IN

_DASHES = {"scratch": "-", "random": (0, (1, 1.6)), "pixels": (0, (5, 2)), "shortcut": (0, (5, 1.5, 1, 1.5))}
_MARKERS = {"scratch": "s", "random": "v", "pixels": "X", "shortcut": "P"}
_LEARNT_MARKERS = "oD^hp*"


@dataclass(frozen=True)
class Arm:
    """How an arm is drawn.

    Attributes:
        name: As in the tables.
        colour: A CSS variable of the page, see `svg.COLOURS`.
        dash: Matplotlib line style.
        marker: Matplotlib marker.
        learnt: Whether it comes from a pretraining run.
    """

    name: str
    colour: str
    dash: object
    marker: str
    learnt: bool


def looks(names: list[str]) -> dict[str, Arm]:
    """Return the look of every arm: learnt ones first in their own order, then the built-in ones in theirs."""
    learnt = [name for name in names if name not in BUILT_IN]
    result = {
        name: Arm(name, f"arm-{i % 8}", "-", _LEARNT_MARKERS[i % len(_LEARNT_MARKERS)], learnt=True)
        for i, name in enumerate(learnt)
    }
    for name in BUILT_IN:
        if name in names:
            colour = "ink" if name == "scratch" else "muted"
            result[name] = Arm(name, colour, _DASHES[name], _MARKERS[name], learnt=False)
    return result
