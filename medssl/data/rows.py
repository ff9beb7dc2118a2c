"""Described rows as columns: how they travel from a child, lie in the journal of a scan, and are kept by the million.

A block is what came of neighbouring files: an Arrow stream of one record batch, compressed. Besides the columns of a
manifest it has what the scan alone needs: the stamp of the file, and where a slice lies.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medssl.data.columns import COLUMNS
from medssl.data.describing import Row, Stamp
from medssl.data.manifest import ARROW
from medssl.data.readers.parts.planes import Plane

JOINT = "\x1f"  # between remarks; no header's word has it
STACKED = ("CT", "MR", "PT")
"""Modalities whose single-frame objects are slices of a volume."""
_ALIKE = ("study_id", "series_id", "rows", "columns", "channels", "row_spacing_mm", "column_spacing_mm")
_MADE_LATER = ("sample_id", "planes", "id_key")
_OWN = {
    "mtime_ns": pa.int64(),
    "size": pa.int64(),
    "stack": pa.string(),  # slices with equal words may be one stack
    "orientation": pa.binary(),  # six numbers
    "x": pa.float64(),
    "y": pa.float64(),
    "z": pa.float64(),
    "acquisition": pa.float64(),
    "number": pa.float64(),
    "data_file": pa.string(),
    "names_patient": pa.bool_(),  # this and the next for remarks alone
    "issuer": pa.string(),
    "extra": pa.string(),  # what else a reader said, as JSON
}
OWN = tuple(_OWN)
"""Columns that are not a manifest's."""
SCHEMA = pa.schema(
    [pa.field(c.name, ARROW[c.kind]) for c in COLUMNS if c.name not in _MADE_LATER]
    + [pa.field(name, kind) for name, kind in _OWN.items()]
)
_STRUCT = pa.struct(list(SCHEMA))
_NAMES = frozenset(SCHEMA.names)
_NOT_EXTRA = _NAMES | {"plane"}
_UNIQUE = ("path", "instance_id")
_REPEATED = [field.name for field in SCHEMA if field.type in (pa.string(), pa.binary()) and field.name not in _UNIQUE]
_TOGETHER = 50_000  # rows that share one list of words
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)  # there are none in a forked child
_SIX = struct.Struct("<6d")


class Described(NamedTuple):
    """A file and what was found in it.

    Attributes:
        path: As it stands in the manifest of the scanned folder.
        stamp: None where it cannot be had.
        rows: At least one.
    """

    path: str
    stamp: Stamp | None
    rows: list[Row]


def packed(found: Iterable[Described]) -> bytes:
    """Return a block."""
    return written(batch_of(found))


def batch_of(found: Iterable[Described]) -> pa.RecordBatch:
    """Return rows as columns."""
    rows = [_flat(row, one) for one in found for row in one.rows]
    try:
        return _batch(rows)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return _batch([_fitting(row) for row in rows])


def written(batch: pa.RecordBatch) -> bytes:
    """Return columns as a block."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=_OPTIONS) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def unpacked(block: bytes | memoryview) -> pa.RecordBatch:
    """Return the columns of a block.

    Raises:
        pyarrow.ArrowException: It is no block of this version.
    """
    with pa.ipc.open_stream(block) as reader:
        batch = reader.read_next_batch()
    if batch.schema != SCHEMA:
        raise pa.ArrowInvalid("these are columns of another version")
    return batch


def compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return columns with repeated words kept once."""
    return pa.record_batch(
        {name: pc.dictionary_encode(column) if name in _REPEATED else column
         for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    )  # fmt: skip


class Gathered:
    """Rows of many blocks on their way to one table, repeated words kept once for many rows."""

    def __init__(self) -> None:
        self._new: list[pa.RecordBatch] = []
        self._compact: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block."""
        self._new.append(batch)
        self._rows += len(batch)
        if self._rows >= _TOGETHER:
            self._settle()

    def table(self) -> pa.Table:
        """Return all rows, in the order they came."""
        self._settle()
        if not self._compact:
            return pa.Table.from_batches([compact(_batch([]))])
        return pa.Table.from_batches(self._compact).unify_dictionaries().combine_chunks()

    def _settle(self) -> None:
        if self._new:
            together = pa.Table.from_batches(self._new).combine_chunks().to_batches()
            self._compact += map(compact, together)
        self._new, self._rows = [], 0


def rewritten(table: pa.Table) -> Iterator[bytes]:
    """Yield a table as blocks."""
    for start in range(0, len(table), _TOGETHER):
        part = table.slice(start, _TOGETHER).select(SCHEMA.names).cast(SCHEMA).combine_chunks()
        for batch in part.to_batches():
            yield written(batch)


def orientations(column: pa.ChunkedArray) -> np.ndarray:
    """Return the six numbers of each row, (n, 6); NaN where there are none."""
    found = column.combine_chunks()
    words = [np.array(_SIX.unpack(word)) for word in found.dictionary.to_pylist()] + [np.full(6, np.nan)]
    return np.array(words)[found.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)]


def _batch(rows: list[Row]) -> pa.RecordBatch:
    found = pa.RecordBatch.from_struct_array(pa.array(rows, _STRUCT))
    return pa.record_batch(found.columns, schema=SCHEMA)


def _flat(row: Row, one: Described) -> Row:
    """Return a row as columns have it."""
    flat = dict(row)
    flat["path"] = one.path
    flat["remarks"] = JOINT.join(row.get("remarks") or ()) or None
    if one.stamp is not None:
        flat["mtime_ns"], flat["size"] = one.stamp
    plane: Plane | None = flat.get("plane")
    if plane is not None and row.get("modality") in STACKED and row.get("series_id"):
        flat["stack"] = _stack_key((*map(row.get, _ALIKE), plane.kind))
        flat["orientation"] = _SIX.pack(*plane.orientation)
        flat["x"], flat["y"], flat["z"] = plane.position
        flat["acquisition"], flat["number"] = plane.order
    if not flat.keys() <= _NOT_EXTRA:
        flat["extra"] = json.dumps({k: v for k, v in row.items() if k not in _NOT_EXTRA}, default=str)
    if flat.get("data_file") is not None:
        flat["data_file"] = str(flat["data_file"])
    return flat


@lru_cache(maxsize=1000)
def _stack_key(alike: tuple[Any, ...]) -> str:
    """Return a word for what is equal among the slices of a stack: a frame of reference is nothing to be written."""
    return hashlib.blake2b(repr(alike).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _fitting(row: Row) -> Row:
    """Return a row that columns can hold: a cell of another kind is turned, one that cannot be makes it unreadable."""
    try:
        _batch([row])
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        kept = {name: row.get(name) for name in ("path", "mtime_ns", "size", "file_bytes", "format")}
        return kept | {"status": "unreadable", "reason": "its header holds a value that no table can hold"}
    return row
