"""Deflated DICOM, unpacked once and to a limit: 4 MB may hold 4 GB of zeros."""

import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, dcmread, uid
from pydicom.filereader import read_file_meta_info

from medssl.data.readers.parts.said import said
from medssl.errors import DataError

MOST_INFLATED = 2**29  # bytes; a reader in a child process has twice as much


class Inflated(NamedTuple):
    """A deflated object.

    Attributes:
        dataset: All elements before the pixels.
        content: The data set, unpacked.
        pixels_at: Offset of the pixel data element in it; None where there is none.
    """

    dataset: Dataset
    content: bytes
    pixels_at: int | None


def syntax_of(head: bytes) -> tuple[uid.UID | None, int]:
    """Return the transfer syntax of a file that begins as the standard says, and where its data set begins.

    Args:
        head: Its first bytes; None and 0 come of any that end within the file meta information.
    """
    if head[128:140] != b"DICM\2\0\0\0UL\4\0":
        return None, 0
    at = 144 + int.from_bytes(head[140:144], "little")
    found = head.find(b"\2\0\x10\0UI", 144, at)
    length = int.from_bytes(head[found + 6 : found + 8], "little")
    if found < 0 or at > len(head):
        return None, 0
    return uid.UID(head[found + 8 : found + 8 + length].rstrip(b"\0 ").decode("latin-1")), at


def inflated(path: Path, at: int) -> Inflated:
    """Return a deflated object.

    Args:
        path: The file.
        at: Where its data set begins.

    Raises:
        DataError: It cannot be unpacked or parsed, or unpacks to more than `MOST_INFLATED`.
    """
    try:
        content = _unpacked(path, at)
        opened = BytesIO(content)
        dataset = dcmread(opened, force=True, stop_before_pixels=True)
        dataset.file_meta = read_file_meta_info(path)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # pydicom raises anything on foreign bytes
        raise DataError(f"The deflated DICOM cannot be parsed: {said(error)}", where=path) from error
    place = opened.tell()
    return Inflated(dataset, content, place if content[place : place + 2] == b"\xe0\x7f" else None)


def _unpacked(path: Path, at: int) -> bytes:
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as handle:
        handle.seek(at)
        content = unpacking.decompress(handle.read(), MOST_INFLATED)
    if not unpacking.eof and len(content) >= MOST_INFLATED:
        raise DataError(f"The deflated file unpacks to more than {MOST_INFLATED / 2**30:g} GiB", where=path)
    if not unpacking.eof:
        raise DataError("The file is truncated: its deflated content has no end", where=path)
    return content
