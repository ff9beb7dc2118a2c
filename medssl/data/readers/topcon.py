"""Topcon's files of optical coherence tomography, `.fda` and `.fds`, recognised by content.

A header of 15 bytes ("FOCT", a kind, two numbers), then chunks: a name, a size, the content. B-scans are code streams
one after the other (@IMG_JPEG: JPEG 2000) or plain 16 bit numbers (@IMG_SCAN_03, @IMG_MOT_COMP_03). The layout is the
one that the uocte project found and OCT-Converter (MIT) reads; it is not published by the maker, and no file of a
device was at hand to test it. Where the eye lies in the world is unknown, so there is no affine.
"""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import imagecodecs
import numpy as np

from medssl.data.image import Image
from medssl.data.readers.parts.colour import channels_first
from medssl.errors import DataError

_MAGIC, _HEADER_BYTES = b"FOCT", 15
_CODED = b"@IMG_JPEG"
_PLAIN = (b"@IMG_SCAN_03", b"@IMG_MOT_COMP_03")
_CODED_HEAD = struct.Struct("<B6I")  # pattern, two unknown, width, height, count, unknown
_PLAIN_HEAD = struct.Struct("<B4IBI")  # pattern, width, height, bits, count, format, bytes
_PARAMETERS = {b"@PARAM_SCAN_04": 12, b"@PARAM_SCAN_02": 21}  # chunk, and where three lengths begin in it
_EYES = {0: "R", 1: "L"}
_CUBE = 2  # scan patterns; 3 radial, 4 cross
_MOST_CHUNKS, _MOST_SIDE = 10_000, 65_536


class _Chunk(NamedTuple):
    start: int
    size: int


class _Scan(NamedTuple):
    """Sizes in pixels, spacings in mm with NaN where they are unknown; `chunk` holds the B-scans."""

    chunks: dict[bytes, _Chunk]
    name: bytes
    columns: int
    rows: int
    scans: int
    pattern: int
    spacing: tuple[float, float, float]

    @property
    def parallel(self) -> bool:
        """Return whether the B-scans are the slices of a volume."""
        return self.scans > 1 and self.pattern == _CUBE


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are of a Topcon file; the name does not matter."""
    return head.startswith(_MAGIC) and head[4:7].isalpha()


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the row of a cube; of B-scans that are not parallel one row each.

    Raises:
        DataError: It holds no B-scans, or not all of them.
    """
    with _opened(path) as handle:
        scan = _scan(path, handle)
        places = _places(path, handle, scan)
        row = {
            "status": "ok",
            "patient_id": _text(handle, scan, (b"@PATIENT_INFO_02", b"@PATIENT_INFO"), 32),
            "modality": "OPT",
            "ndim": 3 if scan.parallel else 2,
            "channels": 1,
            "rows": scan.rows,
            "columns": scan.columns,
            "slices": scan.scans if scan.parallel else None,
            "row_spacing_mm": scan.spacing[1],
            "column_spacing_mm": scan.spacing[2],
            "slice_spacing_mm": scan.spacing[0] if scan.parallel else None,
            "bits": None if scan.name == _CODED else 16,
            "photometric": "MONOCHROME2",
            "manufacturer": "Topcon",
            "model": _text(handle, scan, (b"@HW_INFO_03", b"@HW_INFO_02", b"@HW_INFO_01"), 16),
            "laterality": _eye(handle, scan),
            "remarks": _remarks(scan),
        }
    frames = range(len(places)) if scan.scans > 1 and not scan.parallel else [None]
    return [row | {"frame": frame} for frame in frames]


def read(path: Path, frame: int | None = None) -> Image:
    """Return (1, slices, rows, columns), or (1, rows, columns) of one B-scan, in the type it is stored in.

    Args:
        path: The file.
        frame: Number of a B-scan, from 0, where they are not parallel.

    Raises:
        DataError: It cannot be read, or there is no such B-scan.
    """
    with _opened(path) as handle:
        scan = _scan(path, handle)
        if frame is not None and not 0 <= frame < scan.scans:
            raise DataError(f"There is no B-scan {frame}", where=path)
        chosen = range(scan.scans) if frame is None and scan.parallel else [frame or 0]
        places = _places(path, handle, scan)
        planes = [_plane(path, handle, scan, places[number]) for number in chosen]
    values = np.stack(planes, axis=1)
    provenance = {"path": str(path), "frame": frame, "inverted": False}
    if frame is None and scan.parallel:
        return Image(values, scan.spacing, None, None, provenance, _remarks(scan))
    return Image(values[:, 0], scan.spacing[1:], None, None, provenance, _remarks(scan))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error


def _scan(path: Path, handle: BinaryIO) -> _Scan:
    chunks = _chunks(path, handle)
    name = next((name for name in (_CODED, *_PLAIN) if name in chunks), None)
    if name is None:
        raise DataError("The file holds no B-scans in a form known here", where=path)
    layout = _CODED_HEAD if name == _CODED else _PLAIN_HEAD
    head = _content(handle, chunks[name], layout.size)
    if len(head) < layout.size:
        raise DataError("The file is truncated: it ends within the head of its B-scans", where=path)
    pattern, *fields = layout.unpack(head)
    columns, rows, scans = fields[2:5] if name == _CODED else (fields[0], fields[1], fields[3])
    if not all(0 < side <= _MOST_SIDE for side in (columns, rows, scans)):
        raise DataError(f"The header has impossible sizes: {scans} B-scans of {rows} x {columns} pixels", where=path)
    if name != _CODED and fields[2] != 16:
        raise DataError(f"B-scans of {fields[2]} bits are not supported, only 16", where=path)
    return _Scan(chunks, name, columns, rows, scans, pattern, _spacing(handle, chunks, columns, scans))


def _chunks(path: Path, handle: BinaryIO) -> dict[bytes, _Chunk]:
    """Return the chunks by name; of one name the first."""
    size = path.stat().st_size
    handle.seek(_HEADER_BYTES)
    found: dict[bytes, _Chunk] = {}
    for _ in range(_MOST_CHUNKS):
        length = handle.read(1)
        if length in (b"", b"\0"):
            return found
        name, counted = handle.read(length[0]), handle.read(4)
        start = handle.tell()
        if len(counted) < 4 or start + int.from_bytes(counted, "little") > size:
            raise DataError("The file is truncated: it ends within a chunk", where=path)
        found.setdefault(name, _Chunk(start, int.from_bytes(counted, "little")))
        handle.seek(int.from_bytes(counted, "little"), 1)
    raise DataError(f"The file has more than {_MOST_CHUNKS} chunks", where=path)


def _places(path: Path, handle: BinaryIO, scan: _Scan) -> list[_Chunk]:
    """Return where each B-scan lies."""
    start, size = scan.chunks[scan.name]
    end = start + size
    if scan.name != _CODED:
        each = 2 * scan.rows * scan.columns
        places = [_Chunk(start + _PLAIN_HEAD.size + number * each, each) for number in range(scan.scans)]
    else:
        places, at = [], start + _CODED_HEAD.size
        for _ in range(scan.scans):
            handle.seek(at)
            counted = int.from_bytes(handle.read(4), "little")
            places.append(_Chunk(at + 4, counted))
            at += 4 + counted
            if at > end:
                break
    whole = sum(place.start + place.size <= end for place in places)
    if whole < scan.scans:
        raise DataError(f"The file is truncated: {whole} of {scan.scans} B-scans are there", where=path)
    return places


def _plane(path: Path, handle: BinaryIO, scan: _Scan, place: _Chunk) -> np.ndarray:
    """Return a B-scan, (1, rows, columns)."""
    data = _content(handle, place, place.size)
    if scan.name != _CODED:
        return np.frombuffer(data, "<u2").reshape(1, scan.rows, scan.columns).astype(np.uint16)
    decode = imagecodecs.jpeg8_decode if data.startswith(b"\xff\xd8") else imagecodecs.jpeg2k_decode
    try:
        array, _ = channels_first(decode(data))
    except Exception as error:  # decoders raise anything on foreign bytes
        raise DataError(f"Cannot decode a B-scan: {error}", where=path) from error
    if array.shape != (1, scan.rows, scan.columns):
        raise DataError(f"A B-scan is {array.shape}, the header says {scan.rows} x {scan.columns}", where=path)
    return array


def _content(handle: BinaryIO, chunk: _Chunk, count: int) -> bytes:
    handle.seek(chunk.start)
    return handle.read(min(count, chunk.size))


def _spacing(handle: BinaryIO, chunks: dict[bytes, _Chunk], columns: int, scans: int) -> tuple[float, float, float]:
    """Return (slice, row, column) spacing in mm, from the sides of the cube in mm and the depth of a pixel in µm."""
    for name, offset in _PARAMETERS.items():
        if name in chunks:
            content = _content(handle, chunks[name], offset + 24)
            if len(content) == offset + 24:
                width, height, depth = struct.unpack_from("<3d", content, offset)
                return _length(height / scans), _length(depth / 1000), _length(width / columns)
    return math.nan, math.nan, math.nan


def _length(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else math.nan


def _eye(handle: BinaryIO, scan: _Scan) -> str | None:
    for name in (b"@CAPTURE_INFO_02", b"@CAPTURE_INFO"):
        if name in scan.chunks:
            return _EYES.get(int.from_bytes(_content(handle, scan.chunks[name], 1), "little"))
    return None


def _text(handle: BinaryIO, scan: _Scan, names: tuple[bytes, ...], count: int) -> str | None:
    for name in names:
        if name in scan.chunks:
            content = _content(handle, scan.chunks[name], count).split(b"\0")[0]
            return content.decode("latin-1").strip() or None
    return None


def _remarks(scan: _Scan) -> list[str]:
    remarks = ["Topcon's layout is not published: compare an image with the device's own view"]
    if scan.scans > 1 and not scan.parallel:
        remarks.append(f"scan pattern {scan.pattern}: B-scans are images of their own, not slices")
    return remarks
