"""NumPy arrays, `.npy` and `.npz` with one array, recognised by content and read without pickle.

Two axes are (rows, columns). Three are (slices, rows, columns), or (rows, columns, channels) where the last is 3 or 4
long; which of the two is a remark, for the file cannot say. Spacing and orientation are unknown.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from medssl.data.image import Image
from medssl.data.readers.parts.npy import array_header, trusted
from medssl.data.readers.parts.said import said
from medssl.data.readers.parts.values import as_values
from medssl.errors import DataError

_VOLUME = "three axes: read as (slices, rows, columns)"
_COLOUR = "three axes, the last {} long: read as (rows, columns, channels)"

Shape = tuple[int, ...]


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are of an array, or of an archive that begins with one."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(npy.MAGIC_PREFIX) or (head.startswith(b"PK\x03\x04") and name.endswith(b".npy"))


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the row of an array from its header.

    Raises:
        DataError: It is no array of two or three axes of numbers, or not all of it is there.
    """
    with _opened(path) as (_, shape, _, dtype, remarks):
        (channels, *space), remark = _axes(shape)
    return [
        {
            "status": "ok",
            "ndim": len(space),
            "channels": channels,
            "rows": space[-2],
            "columns": space[-1],
            "slices": space[0] if len(space) == 3 else None,
            "bits": dtype.itemsize * 8,
            "remarks": [*remarks, *remark],
        }
    ]


def read(path: Path, frame: int | None = None) -> Image:
    """Return (C, rows, columns) or (1, slices, rows, columns).

    Raises:
        DataError: It cannot be read.
    """
    with _opened(path) as (handle, shape, order, dtype, remarks):
        try:
            data = handle.read(math.prod(shape) * dtype.itemsize)
        except Exception as error:  # decoders raise anything on foreign bytes
            raise DataError(f"Cannot read the array: {said(error)}", where=path) from error
    if len(data) < math.prod(shape) * dtype.itemsize:
        raise DataError(f"The array is truncated: it ends after {len(data)} bytes", where=path)
    values = as_values(np.frombuffer(data, dtype).reshape(shape, order=order), path)
    target, remark = _axes(shape)
    values = np.moveaxis(values, -1, 0) if target[0] > 1 else values.reshape(target)
    provenance = {"path": str(path), "frame": frame, "inverted": False}
    return Image(np.array(values, order="C"), provenance=provenance, remarks=[*remarks, *remark])


def _axes(shape: Shape) -> tuple[Shape, list[str]]:
    """Return the shape with channels first, and what was taken for what."""
    if len(shape) == 2:
        return (1, *shape), []
    if shape[2] in (3, 4):
        return (shape[2], shape[0], shape[1]), [_COLOUR.format(shape[2])]
    return (1, *(shape[1:] if shape[0] == 1 else shape)), [_VOLUME]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Shape, Any, np.dtype, list[str]]]:
    """Open the array of a file: its bytes from the first value on, shape, order "C" or "F", type, and remarks."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                with zipfile.ZipFile(file) as archive:
                    member = _only_array(path, archive)
                    with archive.open(member) as handle:
                        yield (handle, *_header(path, handle, member.file_size, trusted(path, member)))
            else:
                file.seek(0)
                size = path.stat().st_size
                yield (file, *_header(path, file, size, size))
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"Cannot read the file: {said(error)}", where=path) from error


def _only_array(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one array of an archive."""
    members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
    if len(members) != 1:
        raise DataError(
            f"The .npz holds {len(members)} arrays, expected one",
            where=path,
            fix="Save each as an .npy of its own",
        )
    return members[0]


def _header(path: Path, handle: IO[bytes], size: int, most: int) -> tuple[Shape, Any, np.dtype, list[str]]:
    """Return shape, order, type and remarks of an array; see `array_header`."""
    shape, order, dtype = array_header(path, handle, size, most)
    rest = size - handle.tell() - math.prod(shape) * dtype.itemsize
    return shape, order, dtype, [f"{rest} bytes after the array are not read"] if rest > 0 else []
