"""The part of a plane that shows the patient: where it is, cut out, and made square without changing its aspect."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
from scipy import ndimage

from medssl.data.image import Image
from medssl.data.packing import stretched
from medssl.modalities.parts.preparation import above, check_plane

Box = tuple[slice, slice]
_ROUND = np.ones((3, 3), dtype=bool)


def lit(plane: np.ndarray, level: float, share: float, floor: float = -np.inf) -> Box:
    """Return the rows and columns that are more than dark border.

    A row or column counts from where a share of its pixels lies above the level, so that a hot pixel or a grain of
    compression at the border does not.

    Args:
        plane: (rows, columns).
        level: Between the least value of the plane and its 99.5th percentile, in [0, 1).
        share: Of the pixels of a row or column, in [0, 1).
        floor: Values at or below it are padding.
    """
    measured = above(plane, floor)
    low, high = float(measured.min()), float(np.percentile(measured, 99.5))
    return box(plane > low + level * (high - low), share)


def largest_part(plane: np.ndarray, level: float, side: int, close: float = 0.01, floor: float = -np.inf) -> np.ndarray:
    """Return the largest connected part above a level, (rows, columns) bool; gaps closed, lines dropped, holes filled.

    It is found on a thinned plane, and is as coarse: about 1 / `side` of the shorter side.

    Args:
        plane: (rows, columns).
        level: Between the least value of the plane and its 99.5th percentile, in [0, 1).
        side: Pixels of the shorter side of the thinned plane.
        close: Half-width of gaps and lines, as a share of the shorter side.
        floor: Values at or below it are padding.
    """
    step = max(1, min(plane.shape) // side)
    thin = ndimage.maximum_filter(plane, step)[::step, ::step] if step > 1 else plane
    measured = above(thin, floor)
    low, high = float(measured.min()), float(np.percentile(measured, 99.5))
    reach = max(1, round(close * min(thin.shape)))
    wide = np.pad(thin > low + level * (high - low), reach)
    shut = ndimage.binary_closing(wide, _ROUND, iterations=reach)[reach:-reach, reach:-reach]
    thick = ndimage.binary_opening(shut, _ROUND, iterations=reach)  # frames and rulers are thinner than tissue
    shut &= ndimage.binary_dilation(thick, _ROUND, iterations=3 * reach)  # and the tips of a sector are, too
    parts, count = ndimage.label(shut)
    if count == 0:
        return np.zeros(plane.shape, dtype=bool)
    largest = ndimage.binary_fill_holes(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
    return np.kron(largest, np.ones((step, step), dtype=bool))[: plane.shape[0], : plane.shape[1]]


def box(inside: np.ndarray, share: float = 0.0) -> Box:
    """Return the least box around the rows and columns of which more than a share is inside; all where none is."""
    ends = []
    for axis in (1, 0):
        places = np.flatnonzero(inside.mean(axis=axis) > share)
        ends.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, inside.shape[1 - axis]))
    return ends[0], ends[1]


def large(found: Box, shape: tuple[int, ...], least: float) -> bool:
    """Return whether a box covers at least that share of the plane along both axes."""
    return all(part.stop - part.start >= least * n for part, n in zip(found, shape, strict=True))


def without_border(image: Image, level: float, share: float, least: float) -> Image:
    """Return a plane without its dark border, padded to a square; whole where less than `least` of a side is left.

    Args:
        image: (1 | 3 | 4, rows, columns); a fourth channel is opacity and is not looked at.
        level: As for `lit`.
        share: As for `lit`.
        least: Share of each side, in [0, 1].

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    check_plane(image)
    found = lit(image.array[:3].max(axis=0), level, share, image.floor)
    return squared(cut(image, found) if large(found, image.array.shape[1:], least) else image)


def once(find: Callable[..., Image]) -> Callable[..., Image]:
    """Return `find(image, ...)` that remembers its last image, since storing and its spacing both ask for it.

    Changing the array of an image in place is not noticed.
    """
    last: list[Any] = [None, None, None]

    @wraps(find)
    def found(image: Image, *how: Any, **named: Any) -> Image:
        asked = (*how, *named.values())
        if last[0] is not image.array or last[1] != asked:
            last[:] = [image.array, asked, find(image, *how, **named)]
        return last[2]

    return found


def spacing_of_part(find: Callable[[Image], Image], image: Image, stored: np.ndarray) -> tuple[float, ...]:
    """Return the spacing of the part of a plane that `find` cuts out."""
    return stretched(image, stored, find(image).array.shape[1:])


def spacing_of_square(image: Image, stored: np.ndarray) -> tuple[float, ...]:
    """Return the spacing of a whole plane that was stored `squared`."""
    return stretched(image, stored, (max(image.array.shape[1:]),) * 2)


def cut(image: Image, found: Box) -> Image:
    """Return the image within a box, all channels."""
    return replace(image, array=image.array[:, found[0], found[1]], affine=None)


def squared(image: Image, *, mirrored: bool = False) -> Image:
    """Return the image padded evenly to a square: with its darkest value, or with its mirror image."""
    rows, columns = image.array.shape[1:]
    side = max(rows, columns)
    before = ((side - rows) // 2, (side - columns) // 2)
    padding = ((0, 0), (before[0], side - rows - before[0]), (before[1], side - columns - before[1]))
    if mirrored:
        return replace(image, array=np.pad(image.array, padding, mode="symmetric"), affine=None)
    return replace(image, array=np.pad(image.array, padding, constant_values=image.array.min()), affine=None)
