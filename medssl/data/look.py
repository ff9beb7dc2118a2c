"""The look of an image in a few numbers, so that copies are found that were flipped, resized or compressed.

An image is averaged to 32 x 32 and its cosine transform is taken (Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010; the hash of `imagehash.phash`):

    bits     which of the 8 x 8 lowest frequencies are above their median, 64 bits: quickly compared, for candidates
    vector   the 16 x 16 lowest frequencies times their frequency, of length 1: fine structure, for the decision

The hash alone cannot tell apart images that are made alike: of 1,200 chest X-rays 414 pairs are within 8 bits, and
apart from one exact copy no vectors of theirs are nearer than 0.91 (`docs/results/data.md`).

A flip or a quarter turn changes signs of frequencies, or exchanges rows and columns, so all eight turns of an image
have their bits without another transform.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image as Picture
from scipy.fft import dctn

SIDE, FINE, COARSE = 32, 16, 8
_MIDDLE = 0.1  # share of a volume's slices, about the middle, whose mean is looked at
_BLANK = 1e-4  # standard deviation below which the averaged image says nothing, as a share of the image's range
_ROWS, _COLUMNS = np.mgrid[:FINE, :FINE]
_SIGN_ROWS, _SIGN_COLUMNS = ((1.0 - 2.0 * (axis % 2)).astype(np.float32) for axis in (_ROWS, _COLUMNS))
_FREQUENCY = np.hypot(_ROWS, _COLUMNS).astype(np.float32)
_UNSCALED = np.where(_ROWS, 1, np.sqrt(2)) * np.where(_COLUMNS, 1, np.sqrt(2))  # from the orthonormal transform

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda c: c,
    "flipped left-right": lambda c: c * _SIGN_COLUMNS,
    "flipped up-down": lambda c: c * _SIGN_ROWS,
    "turned by 180 degrees": lambda c: c * _SIGN_ROWS * _SIGN_COLUMNS,
    "transposed": lambda c: np.swapaxes(c, -1, -2),
    "turned by 90 degrees": lambda c: np.swapaxes(c, -1, -2) * _SIGN_ROWS,
    "turned by 270 degrees": lambda c: np.swapaxes(c, -1, -2) * _SIGN_COLUMNS,
    "transposed the other way": lambda c: np.swapaxes(c, -1, -2) * _SIGN_ROWS * _SIGN_COLUMNS,
}
"""What each turn of an image does to its frequencies, (..., 16, 16)."""


class Look(NamedTuple):
    """The look of an image.

    Attributes:
        bits: (8,) uint64, the hash of each of its `TURNS`.
        vector: (16, 16) float16, of length 1.
    """

    bits: np.ndarray
    vector: np.ndarray


def look(array: np.ndarray) -> Look | None:
    """Return the look of an image, (C, *spatial), None for one without any structure.

    Channels are averaged; of a volume the mean of the tenth of its slices about the middle is looked at.
    """
    plane = _plane(array)
    low, high = float(plane.min()), float(plane.max())
    if not high > low:
        return None
    averaged = Picture.fromarray(plane).resize((SIDE, SIDE), Picture.Resampling.BOX)
    small = (np.asarray(averaged, np.float64) - low) / (high - low) * 255
    if small.std() < _BLANK * 255:
        return None
    frequencies = dctn(small, norm="ortho")[:FINE, :FINE]
    vector = frequencies * _FREQUENCY
    turned = np.stack([turn(frequencies) * _UNSCALED for turn in TURNS.values()])
    return Look(_bits(turned[:, :COARSE, :COARSE]), (vector / np.linalg.norm(vector)).astype(np.float16))


def _plane(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        slices = array.shape[1]
        first = min(round(slices * (0.5 - _MIDDLE / 2)), (slices - 1) // 2)
        array = array[:, first : slices - first].mean(axis=1, dtype=np.float64)
    plane = array[0] if len(array) == 1 else array.mean(axis=0, dtype=np.float64)
    single = plane.astype(np.float32)
    return single if array.dtype.kind in "biu" else np.nan_to_num(single, copy=False, posinf=0.0, neginf=0.0)


def _bits(frequencies: np.ndarray) -> np.ndarray:
    """Return 64 bits of each block, (N, 8, 8) -> (N,) uint64: above the median or not, row by row."""
    flat = frequencies.reshape(len(frequencies), -1)
    above = flat > np.median(flat, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8").astype(np.uint64)[:, 0]
