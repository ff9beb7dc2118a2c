"""Colour that is none: a grey picture stored with three equal channels."""

import numpy as np

_EVERY = 64  # rows
GREY_AS_COLOUR = "grey stored as colour: read as one channel"


def channels_first(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return (C, rows, columns) and remarks; three equal channels become one.

    Args:
        array: (rows, columns) or (rows, columns, C).
    """
    if array.ndim == 2:
        return array[None], []
    some = array[::_EVERY]  # most colour pictures show it here
    if array.shape[2] > 1 and _equal_channels(some) and _equal_channels(array):
        return np.ascontiguousarray(array[None, ..., 0]), [GREY_AS_COLOUR]
    return np.ascontiguousarray(np.moveaxis(array, -1, 0)), []


def _equal_channels(array: np.ndarray) -> bool:
    return all(np.array_equal(array[..., 0], array[..., c]) for c in range(1, array.shape[2]))
