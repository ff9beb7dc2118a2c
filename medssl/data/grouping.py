"""From slices to volumes: the single-frame files of a DICOM series grouped by geometry, echo and time.

A series number alone does not make a stack: localizers, echoes, time points and copies share it. Slices are one volume
when they have the same series, size, spacing, direction and kind (image type, echo, time point, diffusion, frame of
reference) and step evenly along one line. Whatever does not is left as slices of their own, with a remark that says
why: nothing is filled in and nothing is left out in silence.
"""

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from medssl.data.readers.parts.planes import MOST_ANGLE, Steps, steps, tilted
from medssl.data.rows import JOINT, STACKED, orientations

__all__ = ["STACKED", "stacked"]
_WHOLE = 0.02  # of a step: how far a gap may be from a whole number of steps
_CHANGED = (
    "planes", "ndim", "slices", "slice_spacing_mm", "instance_id", "bits", "file_bytes", "remarks", "status", "reason",
)  # fmt: skip


def stacked(table: pa.Table) -> pa.Table:
    """Return the rows of a scan with slices that belong together made one row a volume, in the place of its first.

    Args:
        table: As `medssl.data.rows` has it, in the order of files; it gains the column `planes`.
    """
    slices = _Slices.of(table)
    for series in slices.series():
        groups = [slices.without_copies(group) for group in slices.groups(series)]
        for group in groups:
            _stack(group, slices, several=len(groups) > 1)
    return slices.edits.applied(table)


@dataclass
class _Edits:
    """What becomes of the rows of a table: some go, some move to the place of another, some cells change."""

    gone: np.ndarray
    place: np.ndarray
    cells: dict[str, dict[int, Any]] = field(default_factory=lambda: {name: {} for name in _CHANGED})

    def change(self, row: int, **cells: Any) -> None:
        """Put values into a row."""
        for name, value in cells.items():
            self.cells[name][row] = value

    def applied(self, table: pa.Table) -> pa.Table:
        """Return the table with all of it done."""
        table = table.append_column("planes", pa.nulls(len(table), pa.string()))
        rows = np.flatnonzero(~self.gone)
        rows = rows[np.argsort(self.place[rows], kind="stable")]
        kept = table.take(pa.array(rows)) if self.gone.any() else table
        number = np.zeros(len(table), dtype=np.int64)
        number[rows] = np.arange(len(rows))
        for name, cells in self.cells.items():
            if cells := {int(number[row]): value for row, value in cells.items() if not self.gone[row]}:
                kept = _with_cells(kept, name, cells)
        return kept


def _with_cells(table: pa.Table, name: str, cells: dict[int, Any]) -> pa.Table:
    kind = table.schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    column = table[name].cast(kind).combine_chunks()
    mask = np.zeros(len(table), dtype=bool)
    mask[list(cells)] = True
    values = pa.array([cells[row] for row in sorted(cells)], kind)
    return table.set_column(
        table.schema.get_field_index(name), name, pc.replace_with_mask(column, pa.array(mask), values)
    )


@dataclass
class _Slices:
    """The rows of a table that are slices, by column.

    Attributes:
        table: All rows.
        rows: Numbers of those that may be stacked, (n,).
        series_of: Series of each, and `stack_of` its kind of stack, as numbers, (n,).
        position: Of every row of the table, (N, 3) mm, and its `orientation`, (N, 6).
        order: Acquisition and instance number, (N, 2).
        bits: Bits of a stored value, 0 for unknown, and `file_bytes`, (N,).
        instance: SOPInstanceUID as a number, -1 for none, (N,).
    """

    table: pa.Table
    rows: np.ndarray
    series_of: np.ndarray
    stack_of: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    order: np.ndarray
    bits: np.ndarray
    file_bytes: np.ndarray
    instance: np.ndarray
    edits: _Edits
    _columns: dict[str, pa.Array] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pa.Table) -> "_Slices":
        """Return the slices of a table."""
        rows = np.flatnonzero(table["stack"].is_valid().to_numpy())
        numbers = {name: _floats(table, name) for name in ("x", "y", "z", "acquisition", "number")}
        return cls(
            table,
            rows,
            _codes(table["series_id"])[rows],
            _codes(table["stack"])[rows],
            np.stack([numbers[name] for name in ("x", "y", "z")], axis=1),
            orientations(table["orientation"]),
            np.stack([numbers[name] for name in ("acquisition", "number")], axis=1),
            np.asarray(table["bits"].fill_null(0).to_numpy()),
            np.asarray(table["file_bytes"].fill_null(0).to_numpy()),
            _codes(table["instance_id"]),
            _Edits(np.zeros(len(table), dtype=bool), np.arange(len(table))),
        )

    def series(self) -> Iterator[np.ndarray]:
        """Yield places in `rows` of each series, in their order."""
        order = np.argsort(self.series_of, kind="stable")
        ends = np.flatnonzero(np.diff(self.series_of[order])) + 1
        yield from np.split(order, ends) if len(order) else ()

    def groups(self, series: np.ndarray) -> list[np.ndarray]:
        """Return the rows of a series that may be one stack each."""
        result = []
        for kind in pd.unique(self.stack_of[series]):
            left = self.rows[series[self.stack_of[series] == kind]]
            while len(left):
                apart = np.abs(self.orientation[left] - self.orientation[left[0]]).max(axis=1) > MOST_ANGLE
                result.append(left[~apart])
                left = left[apart]
        return result

    def without_copies(self, group: np.ndarray) -> np.ndarray:
        """Return the slices that are no copy of another (of the same instance); copies are skipped by name."""
        known = group[self.instance[group] >= 0]
        if len(np.unique(self.instance[known])) == len(known):
            return group
        _, first, inverse = np.unique(self.instance[known], return_index=True, return_inverse=True)
        copies = np.setdiff1d(np.arange(len(known)), first)
        for place in copies:
            original = self.table["path"][int(known[first[inverse[place]]])].as_py()
            reason = f"a copy of {original}: the same SOPInstanceUID"
            self.edits.change(int(known[place]), status="skipped", reason=reason)
        return group[~np.isin(group, known[copies])] if len(copies) else group

    def steps(self, group: np.ndarray) -> Steps:
        """Return how slices step."""
        return steps(self.position[group], self.orientation[group[0]])

    def remark(self, group: np.ndarray, remark: str) -> None:
        """Add a remark to rows."""
        for row, said in zip(group.tolist(), self.cells("remarks", group), strict=True):
            self.edits.change(row, remarks=said + JOINT + remark if said else remark)

    def cells(self, name: str, group: np.ndarray) -> list[Any]:
        """Return the cells of a column in some rows."""
        if name not in self._columns:
            self._columns[name] = self.table[name].combine_chunks()
        return self._columns[name].take(pa.array(group)).to_pylist()


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return numbers for the words of a column, -1 for none, (N,)."""
    found = column.combine_chunks()
    found = found if pa.types.is_dictionary(found.type) else found.dictionary_encode()
    return np.asarray(found.indices.fill_null(-1).to_numpy(zero_copy_only=False))


def _floats(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy())


def _stack(group: np.ndarray, slices: _Slices, *, several: bool) -> None:
    """Make a group of slices one volume, or several of equal positions, or leave it with a remark."""
    if len(group) < 2:
        if several:
            slices.remark(group, "no other slice of its series has its orientation and kind")
        return
    if slices.table["row_spacing_mm"][int(group[0])].as_py() is None:
        _leave(group, slices, "have no spacing")
        return
    parts = _by_repetition(group, slices)
    found = [slices.steps(part) for part in parts]
    problem = next((one.problem for one in found if one.problem), None)
    if problem:
        whole = slices.steps(group)
        _leave(group, slices, (whole.problem or problem) + _missing(whole.lengths))
        return
    for number, (part, one) in enumerate(zip(parts, found, strict=True), start=1):
        said = f"part {number} of {len(parts)}: each position occurs {len(parts)} times" if len(parts) > 1 else None
        ordered = part[one.order]
        slices.edits.gone[ordered[1:]] = True
        slices.edits.place[ordered[0]] = part.min()
        _volume(ordered, slices, one, said)


def _by_repetition(group: np.ndarray, slices: _Slices) -> list[np.ndarray]:
    """Return as many groups as each position occurs, by acquisition and instance number; one where that differs."""
    places = np.round(slices.position[group], 3) + 0.0  # no -0.0
    if len({*map(tuple, places.tolist())}) == len(group):
        return [group]
    _, first, inverse, counts = np.unique(places, axis=0, return_index=True, return_inverse=True, return_counts=True)
    if len(set(counts.tolist())) > 1 or counts[0] == 1 or len(counts) < 2:
        return [group]
    order = slices.order[group]
    by_place = np.lexsort((order[:, 1], order[:, 0], first[inverse.reshape(-1)]))
    return list(group[by_place].reshape(len(counts), counts[0]).T)


def _missing(lengths: np.ndarray) -> str:
    """Say how many slices seem to be missing, where all steps are whole multiples of the smallest."""
    if lengths.min() <= 0:
        return ""
    times = lengths / lengths.min()
    gaps = int(np.rint(times).sum()) - len(times)
    whole = np.abs(times - np.rint(times)).max() < _WHOLE
    return f", as if {gaps} were missing" if whole and 0 < gaps < len(times) else ""


def _leave(group: np.ndarray, slices: _Slices, why: str) -> None:
    slices.remark(group, f"{len(group)} slices of this series {why}: left as single slices")


def _volume(ordered: np.ndarray, slices: _Slices, found: Steps, said: str | None) -> None:
    """Make the row of the first slice that of a volume: the files of all, and every remark once."""
    all_said = dict.fromkeys(slices.cells("remarks", ordered))
    remarks = list(dict.fromkeys(remark for text in all_said if text for remark in text.split(JOINT)))
    remarks += [text for text in (None if found.along_normal else tilted(found), said) if text]
    paths = slices.cells("path", ordered)
    slices.edits.change(
        int(ordered[0]),
        planes=json.dumps(_beside(paths)),
        ndim=3,
        slices=len(ordered),
        slice_spacing_mm=found.length,
        instance_id=None,
        bits=int(slices.bits[ordered].max()) or None,
        file_bytes=int(slices.file_bytes[ordered].sum()),
        remarks=JOINT.join(remarks) or None,
    )


def _beside(paths: list[str]) -> list[str]:
    """Return paths as they are seen from the folder of the first."""
    parts = [path.rpartition("/") for path in paths]
    folder = parts[0][0]
    if all(part[0] == folder for part in parts):
        return [part[2] for part in parts]
    return [posixpath.relpath(path, folder or ".") for path in paths]
