"""Readers, one file a format, found by their names.

A reader is a module with `sniff(path, head) -> bool` (is this content mine?), `describe(path) -> list[dict]` (manifest
rows from the header alone) and `read(path, frame) -> Image`. One whose files may be slices tells the `plane` of such a
row, and has `read_slices(paths) -> Image`; see `medssl.data.grouping`. One whose header names a file of voxels beside
it tells that `data_file`, which a scan then skips. One that can tell rows from the first bytes of an open file has
`glance(path, handle, head, size) -> list[dict] | None`, which must return what `describe` does, or None.
"""

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from medssl import discovery
from medssl.data.image import Image
from medssl.data.manifest import Manifest
from medssl.errors import DataError

HEAD_BYTES = 8192
for _library in ("pydicom", "highdicom", "PIL", "nibabel"):  # their logs quote what they read, a person's name perhaps
    logging.getLogger(_library).setLevel(logging.CRITICAL)
    logging.getLogger(_library).addFilter(lambda record: record.levelno >= logging.CRITICAL)  # pydicom sets its level


@lru_cache
def all_readers() -> dict[str, ModuleType]:
    """Return every reader by its name."""
    return {name: discovery.load("data.readers", name) for name in discovery.names("data.readers")}


def reader_of(path: Path | str, head: bytes) -> str | None:
    """Return the name of the reader for a file's content, or None.

    Args:
        path: The file.
        head: Its first `HEAD_BYTES` bytes.
    """
    if head[128:132] == b"DICM":  # by far the commonest, and the only one that begins so
        return "dicom"
    path = Path(path)
    return next((name for name, reader in all_readers().items() if reader.sniff(path, head)), None)


def read_file(path: Path, frame: int | None = None) -> Image:
    """Return the image of a file, whatever its format.

    Raises:
        DataError: It does not exist, is no image, or cannot be decoded.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    name = reader_of(path, head)
    if name is None:
        raise DataError("This is no image format known here", where=path)
    return all_readers()[name].read(path, frame)


def read_image(manifest: Manifest, row: Mapping[str, Any] | pd.Series) -> Image:
    """Return the image of a manifest's row.

    Raises:
        DataError: The row has no image, or the file is gone or cannot be decoded.
    """
    path = manifest.path_of(row)
    if row["status"] != "ok":
        raise DataError(f"This image is {row['status']}: {row['reason']}", where=path)
    if not path.is_file():
        raise DataError(
            "The file is not there", where=path, fix="Put it back, or scan the folder again where it is now"
        )
    slices = manifest.slices_of(row)
    if slices is not None:
        gone = next((place for place in slices if not place.is_file()), None)
        if gone is not None:
            raise DataError(
                f"A slice of this volume is not there: {gone.name}", where=path, fix="Scan the folder again"
            )
        return all_readers()[row["format"]].read_slices(slices)
    frame = row["frame"]
    return all_readers()[row["format"]].read(path, None if pd.isna(frame) else int(frame))
