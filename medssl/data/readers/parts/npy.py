"""The header of a NumPy array, checked against the bytes that there are, and how far an archive can be trusted."""

import math
import zipfile
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy

from medssl.errors import DataError

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_MOST = 1032  # bytes that one deflated byte can unpack to
_WORDS = ("no", "one", "two", "three", "four")


def trusted(path: Path, member: zipfile.ZipInfo) -> int:
    """Return the most bytes that a member of an archive can unpack to, whatever it declares.

    Raises:
        DataError: It is encrypted or packed in a way that does not tell.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise DataError("The array is encrypted, or packed with another method than deflate", where=path)
    return member.compress_size * (_MOST if member.compress_type == zipfile.ZIP_DEFLATED else 1)


def array_header(
    path: Path, handle: IO[bytes], size: int, most: int, axes: tuple[int, ...] = (2, 3)
) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype[Any]]:
    """Return shape, order and type of an array, and leave the handle at its first value.

    Args:
        path: The file, for messages.
        handle: It, or its member, at the first byte.
        size: Its length as declared.
        most: The most bytes that it can hold.
        axes: How many axes it may have.

    Raises:
        DataError: It is no array of numbers with so many axes, or not all of it is there.
    """
    try:
        shape, fortran, dtype = _HEADERS[npy.read_magic(handle)](handle)
    except KeyError as error:
        raise DataError(f"Version {error} of .npy is not supported", where=path) from error
    except Exception as error:  # numpy's parser raises anything on foreign bytes
        raise DataError("The header of the array cannot be parsed: it is damaged or cut off", where=path) from error
    if dtype.kind not in "biuf":
        what = {"c": "complex numbers", "O": "Python objects", "V": "structured records"}.get(dtype.kind, "no numbers")
        raise DataError(f"The array holds {what} ({dtype.name}), expected integers or real numbers", where=path)
    if len(shape) not in axes or min(shape) < 1:
        expected = f"{_WORDS[axes[0]]} or {_WORDS[axes[-1]]}" if len(axes) == 2 else f"{axes[0]} to {axes[-1]}"
        raise DataError(f"The array has the shape {shape}, expected {expected} axes, none empty", where=path)
    needed = handle.tell() + math.prod(shape) * dtype.itemsize
    if needed > min(size, most):
        raise DataError(f"The array is truncated: {needed} bytes are described, {min(size, most)} there", where=path)
    return shape, "F" if fortran else "C", dtype
