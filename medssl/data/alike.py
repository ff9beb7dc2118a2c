"""Which of many images look alike, turned in any way: all pairs compared, a block at a time.

Every pair is compared by its 64 bits in eight turns: most of a billion comparisons a second a core, in memory that does
not grow with the number of pairs. An index that skips most of them lives on images being unlike, and medical images of
one kind are alike.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from medssl.data.look import TURNS
from medssl.errors import DataError

DISTANCE = 8
"""Bits of 64 by which copies may differ."""
SIMILARITY = 0.96
"""Least product of the vectors of copies."""
_ROWS, _COLUMNS, _AT_ONCE = 16, 4096, 4096
_MOST = 2_000_000


class Pair(NamedTuple):
    """Two images that look alike: their places, bits that differ, similarity, and how the second one is turned."""

    first: int
    second: int
    distance: int
    similarity: float
    turn: str


def pairs(
    bits: np.ndarray,
    vectors: np.ndarray,
    *,
    distance: int = DISTANCE,
    similarity: float = SIMILARITY,
    split: int | None = None,
    progress: Callable[[str, dict[str, Any]], None] | None = None,
) -> list[Pair]:
    """Return each pair of images that look alike once, in the turn that fits best.

    Args:
        bits: (N, 8) uint64, the hashes of the turns.
        vectors: (N, 16, 16) float16.
        distance: Most bits that may differ.
        similarity: Least product of vectors, in [-1, 1].
        split: If given, the images before this place are compared with those from it on only.
        progress: Called with ("compare", {"done", "total"}).

    Raises:
        DataError: More than two million pairs look alike.
    """
    found: dict[tuple[int, int], Pair] = {}
    end = len(bits) if split is None else split
    for start in range(0, end, _ROWS):
        rows = slice(start, min(start + _ROWS, end))
        for pair in _of_strip(bits, vectors, rows, start if split is None else split, distance, similarity):
            known = found.get(pair[:2])
            if known is None or pair.similarity > known.similarity:
                found[pair[:2]] = pair
        if len(found) > _MOST:
            raise DataError(
                f"More than {_MOST} pairs of {len(bits)} images look alike, so look does not tell copies here",
                fix="Ask for a higher --similarity",
            )
        if progress and (start // _ROWS % 64 == 0 or rows.stop == end):
            progress("compare", {"done": rows.stop, "total": end})
    return [found[place] for place in sorted(found)]


def _of_strip(
    bits: np.ndarray, vectors: np.ndarray, rows: slice, begin: int, distance: int, similarity: float
) -> Iterator[Pair]:
    """Yield the pairs of a few images with those from a place on; a pair can come in several turns."""
    for number, name in enumerate(TURNS):
        near, far, apart = _candidates(bits[rows, 0], bits[begin:, number], distance)
        near, far = near + rows.start, far + begin
        inside = np.flatnonzero(near < far)
        for start in range(0, len(inside), _AT_ONCE):
            place = inside[start : start + _AT_ONCE]
            a, b = near[place], far[place]
            turned = TURNS[name](vectors[b].astype(np.float32))
            products = np.einsum("nij,nij->n", vectors[a].astype(np.float32), turned)
            for k in np.flatnonzero(products >= similarity):
                yield Pair(int(a[k]), int(b[k]), int(apart[place[k]]), float(products[k]), name)


def _candidates(left: np.ndarray, right: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places in both and the bits that differ, of all pairs that few bits are apart.

    Half a megabyte at a time: what stays in the processor's cache is compared three times as fast.
    """
    left, right = left[:, None], np.ascontiguousarray(right)
    found: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.intp),) * 3]
    for start in range(0, len(right), _COLUMNS):
        apart = np.bitwise_count(left ^ right[start : start + _COLUMNS])
        close = apart <= distance
        if close.any():
            a, b = np.nonzero(close)
            found.append((a, b + start, apart[a, b]))
    near, far, apart = (np.concatenate(one) for one in zip(*found, strict=True))
    return near, far, apart
