"""Values as an image holds them: integers as they are, other numbers in single precision."""

from pathlib import Path

import numpy as np

from medssl.errors import DataError


def as_values(array: np.ndarray, path: Path) -> np.ndarray:
    """Return integers in native byte order, booleans as uint8, floating point as float32.

    Raises:
        DataError: A value is beyond single precision.
    """
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if array.dtype.itemsize > 4 and not np.array_equal(np.isfinite(values), np.isfinite(array)):
        raise DataError("Values are beyond single precision (3.4e38)", where=path, fix="Rescale them")
    return values
