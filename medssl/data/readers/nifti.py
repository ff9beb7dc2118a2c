"""NIfTI-1 and NIfTI-2, plain or gzipped, recognised by content.

Axes of a NIfTI array run (column, row, slice, time, vector); they are returned as (C, slice, row, column) with the
affine permuted to match. Time points and vector components become channels. The sform is used when its code is at
least that of the qform, else the qform; with neither the place in the world is unknown.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medssl.data.image import Image
from medssl.data.readers.parts.said import said
from medssl.errors import DataError

_MAGIC = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0", b"ni2\0"))}
_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
_HEADER_BYTES = 540
_PERMUTE = np.eye(4)[[2, 1, 0, 3]]  # (slice, row, column) to (column, row, slice)


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes, unpacked if need be, are a NIfTI header; the name does not matter."""
    head = _unpacked(head)
    for order in "<>":
        size = struct.unpack(order + "i", head[:4])[0] if len(head) >= 4 else 0
        if size in _MAGIC:
            place, words = _MAGIC[size]
            return head[place : place + 4] in words
    return False


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the row of a file from its header.

    Raises:
        DataError: The header breaks the format, or the file is shorter than it says.
    """
    header = _header(path)
    columns, rows, slices, channels = _shape(header, path)
    _check_length(path, header)
    spacing, remarks = _spacing(header)
    volume = slices > 1
    return [
        {
            "status": "ok",
            "ndim": 3 if volume else 2,
            "channels": channels,
            "rows": rows,
            "columns": columns,
            "slices": slices if volume else None,
            "row_spacing_mm": spacing[1],
            "column_spacing_mm": spacing[2],
            "slice_spacing_mm": spacing[0] if volume else None,
            "bits": 8 * _voxel_bytes(path, header) // (3 if _is_colour(header) else 1),
            "photometric": "RGB" if _is_colour(header) else None,
            "remarks": [*remarks, *_place(header)[1]],
        }
    ]


def read(path: Path, frame: int | None = None) -> Image:
    """Return a volume (C, slices, rows, columns), or a plane (C, rows, columns) where there is one slice.

    Raises:
        DataError: It cannot be read.
    """
    header = _header(path)
    columns, rows, slices, channels = _shape(header, path)
    _check_length(path, header)
    try:
        values = _values(path)
    except Exception as error:  # decoders raise anything on foreign bytes
        raise DataError(f"Cannot read the voxels: {said(error)}", where=path) from error
    values = values.reshape(columns, rows, slices, channels, order="F").transpose(3, 2, 1, 0)
    spacing, remarks = _spacing(header)
    affine, place_remarks = _place(header)
    scale = _MM.get(header.get_xyzt_units()[0], 1.0)
    if affine is not None:
        affine = np.diag([scale, scale, scale, 1.0]) @ affine @ _PERMUTE
    if slices == 1:
        values, affine = values[:, 0], None
    provenance = {"path": str(path), "frame": frame, "inverted": False}
    remarks += place_remarks
    spacing_mm = spacing if values.ndim == 4 else spacing[1:]
    return Image(np.ascontiguousarray(values), spacing_mm, affine, None, provenance, remarks)


def _unpacked(head: bytes) -> bytes:
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        return zlib.decompressobj(31).decompress(head, _HEADER_BYTES)
    except zlib.error:
        return b""


def _header(path: Path) -> Any:
    try:
        with path.open("rb") as handle:
            head = _unpacked(handle.read(4096))[:_HEADER_BYTES]
        first = head[:4]
        kind = (
            nib.Nifti2Header if 540 in (*struct.unpack("<i", first), *struct.unpack(">i", first)) else nib.Nifti1Header
        )
        return kind(head[: kind.template_dtype.itemsize], check=False)
    except (
        OSError,
        ValueError,
        struct.error,
        nib.spatialimages.HeaderDataError,
        nib.wrapstruct.WrapStructError,
    ) as error:
        raise DataError(f"The NIfTI header cannot be parsed: {said(error)}", where=path) from error


def _shape(header: Any, path: Path) -> tuple[int, int, int, int]:
    """Return (columns, rows, slices, channels); idle axes are dropped, axes beyond the third are channels."""
    dim = [int(d) for d in header["dim"]]
    axes = dim[1 : dim[0] + 1]
    if not 1 <= dim[0] <= 7 or min(axes, default=0) < 1:
        raise DataError(f"The NIfTI header has impossible dimensions {dim}", where=path)
    axes += [1] * (7 - len(axes))
    return axes[0], axes[1], axes[2], math.prod(axes[3:]) * (3 if _is_colour(header) else 1)


def _is_colour(header: Any) -> bool:
    return int(header["datatype"]) == 128


def _check_length(path: Path, header: Any) -> None:
    """Compare the size of the file, or of its unpacked content, with what the header describes."""
    size, magic = path.stat().st_size, bytes(header["magic"])[:2]
    dim = [int(d) for d in header["dim"]]
    needed = math.prod(dim[1 : dim[0] + 1]) * _voxel_bytes(path, header)
    if magic == b"ni":
        path, offset = path.with_suffix(".img"), 0
        if not path.is_file():
            raise DataError("The header of a NIfTI pair has no .img beside it", where=path)
        size = path.stat().st_size
    else:
        offset = int(header["vox_offset"])
    size = _unpacked_size(path, size, needed + offset)
    if size < needed + offset:
        raise DataError(f"The file is truncated: {needed + offset - size} bytes of voxels are missing", where=path)


def _voxel_bytes(path: Path, header: Any) -> int:
    """Return the size of a voxel by its type: `bitpix` says it again, and may be wrong."""
    try:
        return int(header.get_data_dtype().itemsize)
    except (KeyError, nib.spatialimages.HeaderDataError) as error:
        raise DataError(f"Voxels of NIfTI type {int(header['datatype'])} are not supported", where=path) from error


def _unpacked_size(path: Path, size: int, needed: int) -> int:
    """Return the size, up to `needed`, of what a gzipped file holds; of another file its own size.

    The length at the end of the file tells (modulo 4 GiB); only where it differs the file is unpacked to count.
    """
    with path.open("rb") as handle:
        if handle.read(2) != b"\x1f\x8b":
            return size
        handle.seek(-4, 2)
        if struct.unpack("<I", handle.read(4))[0] == needed % 2**32:
            return needed
    found = 0
    try:
        with gzip.open(path) as unpacked:
            while found < needed and (chunk := unpacked.read(1 << 20)):
                found += len(chunk)
    except (OSError, EOFError, zlib.error):
        pass
    return found


def _spacing(header: Any) -> tuple[tuple[float, float, float], list[str]]:
    """Return (slice, row, column) spacing in mm, NaN where it is unknown, and remarks."""
    unit = header.get_xyzt_units()[0]
    sizes = [float(abs(z)) * _MM.get(unit, 1.0) for z in header["pixdim"][1:4]]
    known = [z if math.isfinite(z) and z > 0 else math.nan for z in sizes]
    remarks = ["the header names no unit of length: taken as mm"] if unit == "unknown" else []
    return (known[2], known[1], known[0]), remarks


def _place(header: Any) -> tuple[np.ndarray | None, list[str]]:
    """Return the affine as the file has it, or None where it is unknown or of no use, and remarks."""
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code <= 0 and qform_code <= 0:
        return None, ["neither sform nor qform: orientation unknown"]
    affine = _affine(header.get_best_affine)
    if affine is None:
        return None, ["sform and qform are damaged: orientation unknown"]
    if sform_code > 0 and qform_code > 0:
        qform = _affine(header.get_qform)
        if qform is None:
            return affine, ["the qform cannot be read: the sform is used"]
        if not np.allclose(affine, qform, atol=1e-2):
            return affine, [f"sform (code {sform_code}) and qform (code {qform_code}) disagree: the sform is used"]
    return affine, []


def _affine(compute: Callable[[], np.ndarray]) -> np.ndarray | None:
    """Return an affine that places every voxel somewhere else, or None."""
    try:
        with np.errstate(all="ignore"):
            affine = compute()
            usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0
    except (ValueError, np.linalg.LinAlgError, nib.spatialimages.HeaderDataError):
        return None
    return affine if usable else None


def _values(path: Path) -> np.ndarray:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz", ".hdr")):
        image = nib.load(path)
    else:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        kind = (
            nib.Nifti2Image if 540 in struct.unpack("<i", data[:4]) + struct.unpack(">i", data[:4]) else nib.Nifti1Image
        )
        image = kind.from_bytes(data)
    values = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
    if values.dtype.names:
        values = np.stack([values[name] for name in values.dtype.names], axis=-1)
    if values.dtype.kind in "iu":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.astype(np.float32)
