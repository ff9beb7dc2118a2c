"""From slices to volumes: the single-frame files of a DICOM series grouped by geometry, echo and time.

A series number alone does not make a stack: localizers, echoes, time points and copies share it. Slices are one volume
when they have the same series, size, spacing, direction and kind (image type, echo, time point, diffusion, frame of
reference) and step evenly along one line. Whatever does not is left as slices of their own, with a remark that says
why: nothing is filled in and nothing is left out in silence.
"""

import json
import posixpath
from collections import Counter
from typing import Any

import numpy as np

from medssl.data.manifest import sample_id
from medssl.data.readers.parts.planes import Plane, Steps, same_direction, steps, tilted

STACKED = ("CT", "MR", "PT")  # modalities whose single-frame objects are slices of a volume
_WHOLE = 0.02  # of a step: how far a gap may be from a whole number of steps
_ALIKE = ("study_id", "series_id", "rows", "columns", "channels", "row_spacing_mm", "column_spacing_mm")

Row = dict[str, Any]


def stacked(rows: list[Row]) -> list[Row]:
    """Return the rows of a scan with slices that belong together made one row a volume, in the place of its first.

    Args:
        rows: As readers describe them, with `path`, and `plane` where a file is a slice.
    """
    result: dict[int, Row] = dict(enumerate(rows))
    series: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if row.get("plane") is not None and row.get("modality") in STACKED and row.get("series_id"):
            series.setdefault(row["series_id"], []).append(number)
    for numbers in series.values():
        groups = [_without_copies(group, result) for group in _groups(numbers, rows)]
        for group in groups:
            _stack(group, result, several=len(groups) > 1)
    return list(result.values())


def _groups(numbers: list[int], rows: list[Row]) -> list[list[int]]:
    """Return the slices of a series that may be one stack."""
    found: list[tuple[tuple[Any, ...], tuple[float, ...], list[int]]] = []
    for number in numbers:
        row, plane = rows[number], rows[number]["plane"]
        alike = (*(row.get(name) for name in _ALIKE), plane.kind)
        for other, orientation, group in found:
            if other == alike and same_direction(np.array(orientation), np.array(plane.orientation)):
                group.append(number)
                break
        else:
            found.append((alike, plane.orientation, [number]))
    return [group for _, _, group in found]


def _without_copies(group: list[int], rows: dict[int, Row]) -> list[int]:
    """Return the slices that are no copy of another (of the same instance); copies are skipped by name."""
    seen: dict[str, str] = {}
    kept = []
    for number in group:
        instance = rows[number].get("instance_id")
        if instance in seen:
            reason = f"a copy of {seen[instance]}: the same SOPInstanceUID"
            rows[number] = rows[number] | {"status": "skipped", "reason": reason}
        else:
            kept.append(number)
            if instance:
                seen[instance] = rows[number]["path"]
    return kept


def _stack(group: list[int], rows: dict[int, Row], *, several: bool) -> None:
    """Make a group of slices one volume, or several of equal positions, or leave it with a remark."""
    if len(group) < 2:
        for number in group if several else []:
            rows[number] = _remarked(rows[number], "no other slice of its series has its orientation and kind")
        return
    if rows[group[0]].get("row_spacing_mm") is None:
        _leave(group, rows, "have no spacing")
        return
    parts = _by_repetition(group, rows)
    found = [_steps(part, rows) for part in parts]
    problem = next((one.problem for one in found if one.problem), None)
    if problem:
        whole = _steps(group, rows)
        _leave(group, rows, (whole.problem or problem) + _missing(whole.lengths))
        return
    for number, (part, one) in enumerate(zip(parts, found, strict=True), start=1):
        ordered = [part[place] for place in one.order]
        said = f"part {number} of {len(parts)}: each position occurs {len(parts)} times" if len(parts) > 1 else None
        first = min(part)
        volume = _volume([rows[n] for n in ordered], one, said)
        for n in part:
            if n != first:
                del rows[n]
        rows[first] = volume


def _by_repetition(group: list[int], rows: dict[int, Row]) -> list[list[int]]:
    """Return as many groups as each position occurs, by acquisition and instance number; one where that differs."""
    at: dict[tuple[float, ...], list[int]] = {}
    for number in group:
        at.setdefault(tuple(np.round(rows[number]["plane"].position, 3)), []).append(number)
    counts = Counter(len(numbers) for numbers in at.values())
    times = next(iter(counts))
    if len(counts) > 1 or times == 1 or len(at) < 2:
        return [group]
    sorted_in_place = [sorted(numbers, key=lambda n: rows[n]["plane"].order) for numbers in at.values()]
    return [[numbers[time] for numbers in sorted_in_place] for time in range(times)]


def _steps(group: list[int], rows: dict[int, Row]) -> Steps:
    planes: list[Plane] = [rows[number]["plane"] for number in group]
    return steps(np.array([plane.position for plane in planes]), np.array(planes[0].orientation))


def _missing(lengths: np.ndarray) -> str:
    """Say how many slices seem to be missing, where all steps are whole multiples of the smallest."""
    if lengths.min() <= 0:
        return ""
    times = lengths / lengths.min()
    gaps = int(np.rint(times).sum()) - len(times)
    whole = np.abs(times - np.rint(times)).max() < _WHOLE
    return f", as if {gaps} were missing" if whole and 0 < gaps < len(times) else ""


def _leave(group: list[int], rows: dict[int, Row], why: str) -> None:
    remark = f"{len(group)} slices of this series {why}: left as single slices"
    for number in group:
        rows[number] = _remarked(rows[number], remark)


def _remarked(row: Row, remark: str) -> Row:
    return row | {"remarks": [*(row.get("remarks") or []), remark]}


def _volume(slices: list[Row], found: Steps, said: str | None) -> Row:
    """Return the row of a volume: what its first slice says, the files of all, and every remark once."""
    first = slices[0]
    remarks = list(dict.fromkeys(remark for row in slices for remark in row.get("remarks") or []))
    remarks += [text for text in (None if found.along_normal else tilted(found), said) if text]
    beside = posixpath.dirname(first["path"])
    return first | {
        "sample_id": sample_id(f"{first['path']}\x1fvolume"),
        "planes": json.dumps([posixpath.relpath(row["path"], beside or ".") for row in slices]),
        "ndim": 3,
        "slices": len(slices),
        "slice_spacing_mm": found.length,
        "instance_id": None,
        "bits": max((row["bits"] for row in slices if row.get("bits")), default=None),
        "file_bytes": sum(row.get("file_bytes") or 0 for row in slices),
        "remarks": remarks,
    }
