"""Rows of DICOM files that are alike: within a series most headers differ in number, place and identifier alone.

What a row says is worked out once for each set of equal elements; the next file that has them gets the same row with
its own instance, and its own place in the stack.
"""

from pathlib import Path
from typing import Any

from medssl.data.readers.parts.dicom_glance import APART, Glimpse, OddError, glimpse
from medssl.data.readers.parts.dicom_rows import rows_of
from medssl.data.readers.parts.planes import Plane

_UNDEFINED = 0xFFFFFFFF
_MOST_KEPT = 2000
_kept: dict[Any, dict[str, Any]] = {}


def rows(path: Path | str, handle: int, head: bytes, size: int) -> list[dict[str, Any]] | None:
    """Return what `dicom_rows.describe` would, or None where only that can tell.

    Args:
        path: The file.
        handle: The file, open.
        head: Its first bytes, some thousands.
        size: Of the file, in bytes.
    """
    try:
        seen = glimpse(handle, head, size)
        apart = {name: APART[name](raw) for name, raw in seen.walked.apart.items()}
        key = _key(seen, apart)
        row = _kept.get(key) if key is not None else None
        if row is not None:
            return [_moved(row, apart)]
        found = rows_of(Path(path), seen.header())
    except OddError:
        return None
    if key is not None and len(found) == 1 and ("ImagePositionPatient" not in apart or "plane" in found[0]):
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[key] = dict(found[0])
    return found


def _key(seen: Glimpse, apart: dict[str, Any]) -> Any:
    """Return all that a row depends on but what is apart; None where files must be looked at one by one."""
    there, length = seen.pixel_bytes
    if length == _UNDEFINED or None in apart.values() or "SOPInstanceUID" not in apart:
        return None
    return seen.code, b"".join(seen.walked.elements), length, there if there < length else None, (*apart,)


def _moved(row: dict[str, Any], apart: dict[str, Any]) -> dict[str, Any]:
    """Return a row like another, of another instance in another place."""
    moved = {**row, "instance_id": apart["SOPInstanceUID"], "remarks": [*row["remarks"]]}
    if "plane" in row:
        plane = row["plane"]
        number = float(apart.get("InstanceNumber", "inf"))
        order = (plane.order[0], number)
        moved["plane"] = Plane(apart["ImagePositionPatient"], plane.orientation, plane.kind, order)
    return moved
