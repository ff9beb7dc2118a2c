"""Zeiss Cirrus raw cubes (`.img`): bytes without a header, known by their name and size alone.

The device names them "P1_Macular Cube 512x128_1-31-2020_10-11-12_OD_sn7_cube_z.img": A-scans x B-scans, and the eye.
An A-scan has 1024 pixels. Rows run from the deepest to the nearest, columns from right to left, as two independent
public programs read it; no file of a device was at hand to test it. The size of a pixel is not in the file, and the
name says the pattern only, so spacing is unknown. A file whose name or size does not tell is not read.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from medssl.data.image import Image
from medssl.errors import DataError

_DEPTH = 1024
_NAME = re.compile(
    r"(?:(?P<patient>P\d+)_)?.*?(?P<columns>\d{2,4})x(?P<scans>\d{1,4})_.*?(?P<eye>O[DS])_sn\d+_cube_(?:z|raw)\.img",
    re.IGNORECASE,
)
_EYES = {"OD": "R", "OS": "L"}
_REMARK = (
    "a raw cube without a header: sizes and eye are those of its name, compare an image with the device's own view"
)


def sniff(path: Path, head: bytes) -> bool:
    """Return whether the name is that of a raw cube and the size fits; content tells nothing."""
    found = _NAME.fullmatch(path.name) if path is not None and head else None
    return found is not None and path.stat().st_size == _DEPTH * int(found["columns"]) * int(found["scans"])


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the row of a cube.

    Raises:
        DataError: Name and size do not fit to each other.
    """
    columns, scans, found = _told(path)
    return [
        {
            "status": "ok",
            "patient_id": found["patient"],
            "modality": "OPT",
            "ndim": 3,
            "channels": 1,
            "rows": _DEPTH,
            "columns": columns,
            "slices": scans,
            "bits": 8,
            "photometric": "MONOCHROME2",
            "manufacturer": "Carl Zeiss Meditec",
            "laterality": _EYES[found["eye"].upper()],
            "remarks": [_REMARK],
        }
    ]


def read(path: Path, frame: int | None = None) -> Image:
    """Return uint8 (1, slices, rows, columns).

    Raises:
        DataError: It cannot be read, or name and size do not fit to each other.
    """
    columns, scans, _ = _told(path)
    try:
        values = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    if values.size != scans * _DEPTH * columns:
        raise DataError(f"The file is truncated: {values.size} bytes of {scans * _DEPTH * columns}", where=path)
    cube = np.ascontiguousarray(values.reshape(1, scans, _DEPTH, columns)[..., ::-1, ::-1])
    return Image(cube, None, None, None, {"path": str(path), "frame": frame, "inverted": False}, [_REMARK])


def _told(path: Path) -> tuple[int, int, "re.Match[str]"]:
    """Return columns, B-scans, and what else the name says."""
    found = _NAME.fullmatch(path.name)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    if found is None or size != _DEPTH * int(found["columns"]) * int(found["scans"]):
        raise DataError("A raw .img has no header, and this name and size do not tell its shape", where=path)
    return int(found["columns"]), int(found["scans"]), found
