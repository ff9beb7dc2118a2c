"""Are all pixels there? Answered from lengths alone, so that a cut-off file is named at scan time."""

import struct
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, uid

from medssl.data.readers.parts.dicom_header import Header, frame_count, integer, syntax

UNDEFINED = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN", b"OL", b"OV")


def pixels_missing(path: Path, header: Header) -> str | None:
    """Return what is missing of the pixel data in words, or None where all of it is there.

    Args:
        path: The file.
        header: Its header, with the place of the pixels.
    """
    if header.pixels_at is None:
        return None
    if header.pixel_bytes is not None and header.pixel_bytes[1] != UNDEFINED:
        return _native_missing(*header.pixel_bytes, header.dataset)
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(header.pixels_at)
        length = value_length(handle, header.dataset)
        if length is None:
            return "the file is truncated: it ends within the pixel data element"
        if length == UNDEFINED:
            return _fragments_missing(handle, size, frame_count(header.dataset))
        return _native_missing(size - handle.tell(), length, header.dataset)


def _native_missing(available: int, length: int, dataset: Dataset) -> str | None:
    if available < length:
        return f"the file is truncated: {length - available} of {length} bytes of pixel data are missing"
    needed = _bytes_needed(dataset)
    if needed is not None and length < needed:
        return f"the pixel data is too short: {length} bytes, but the header describes {needed}"
    return None


def value_length(handle: BinaryIO, dataset: Dataset) -> int | None:
    """Return the length of the element that a handle is at, and leave it at the value; None where the file ends."""
    implicit, little = dataset.original_encoding
    order = ">" if little is False else "<"
    head = handle.read(8)
    if len(head) < 8:
        return None
    if implicit:
        return struct.unpack(order + "I", head[4:])[0]
    if head[4:6] not in _LONG_VRS:
        return struct.unpack(order + "H", head[6:])[0]
    rest = handle.read(4)
    return struct.unpack(order + "I", rest)[0] if len(rest) == 4 else None


def _fragments_missing(handle: BinaryIO, size: int, frames: int) -> str | None:
    """Walk the items of encapsulated pixel data; the first holds offsets, every frame has at least one more."""
    items = -1
    while True:
        head = handle.read(8)
        if len(head) < 8 or head[:4] != b"\xfe\xff\x00\xe0":
            break
        items += 1
        length = struct.unpack("<I", head[4:])[0]
        if handle.tell() + length > size:
            missing = handle.tell() + length - size
            return f"the file is truncated: {missing} bytes of compressed pixel data are missing"
        handle.seek(length, 1)
    if items < frames:
        return f"the pixel data is incomplete: {max(items, 0)} compressed fragments for {frames} frames"
    return None


def _bytes_needed(dataset: Dataset) -> int | None:
    """Return the bytes that native pixels need, None where the header does not say."""
    names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    rows, columns, samples, bits = (integer(dataset.get(name)) for name in names)
    if syntax(dataset) not in uid.UncompressedTransferSyntaxes or not (rows and columns and bits):
        return None
    count = rows * columns * (samples or 1) * frame_count(dataset)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        count = count * 2 // 3
    return (count * bits + 7) // 8
