"""What is found in a file, a manifest or a run: facts to print, and pictures to draw."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from medssl.data.image import Image
from medssl.report import pictures
from medssl.report.sheet import Cell

Fact = tuple[str, str]
"""A name and what is said of it; an empty name goes on with the one before."""
_RGB = 3


@dataclass(frozen=True)
class Inspected:
    """What a person is shown.

    Attributes:
        facts: In the order of printing.
        cells: Of the sheet; none where there are no pictures.
    """

    facts: list[Fact]
    cells: list[Cell] = field(default_factory=list)


def listed(name: str, lines: Iterable[str], most: int = 10) -> list[Fact]:
    """Return lines under one name, at most so many, then how many more there are."""
    lines = list(lines)
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return [(name if place == 0 else "", line) for place, line in enumerate([*lines[:most], *more])]


def evenly(count: int, most: int) -> list[int]:
    """Return at most so many places of `range(count)`, evenly spaced, the first and the last among them.

    Example:
        >>> evenly(9, 5), evenly(2, 5)
        ([0, 2, 4, 6, 8], [0, 1])
    """
    return [int(place) for place in np.linspace(0, count - 1, min(count, most)).round()]


def is_colour(image: Image, photometric: object) -> bool:
    """Tell whether three channels are red, green and blue, and not, say, three points in time."""
    return len(image.array) == _RGB and isinstance(photometric, str)


def drawn(planes: list[np.ndarray], *, colour: bool) -> list[np.ndarray]:
    """Return planes (C, H, W) as they are drawn, all in one grey scale; 8-bit colour keeps its values."""
    bytes_of_colour = colour and all(plane.dtype == np.uint8 for plane in planes)
    shown = [plane if colour else plane[:1] for plane in planes]
    limits = (0.0, 255.0) if bytes_of_colour else pictures.window(np.concatenate([plane.ravel() for plane in shown]))
    return [pictures.levels(plane, *limits, colour=colour) for plane in shown]
