"""From described rows to the table of a manifest: slices stacked, ids given, words for people."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from medssl.data.grouping import stacked
from medssl.data.listing import Archive
from medssl.data.manifest import sample_id
from medssl.data.privacy import Hiding
from medssl.data.rows import JOINT, OWN

_PANDAS = {pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype()}


def as_table(rows: pa.Table, archive: Archive, hiding: Hiding, *, stack: bool) -> pd.DataFrame:
    """Return the columns of a manifest.

    Args:
        rows: As `medssl.data.reading` returns them, in the order of files, with the number of each in `file`.
        archive: The files.
        hiding: Makes ids by the key: a hash of a path could be guessed.
        stack: Make slices that belong together volumes.
    """
    rows = _without_data_files(rows, archive)
    rows = stacked(rows) if stack else rows.append_column("planes", pa.nulls(len(rows), pa.string()))
    extra = rows["extra"]
    ids = [hiding.key.pseudonym("sample", one) for one in _sample_ids(rows, archive)]
    marks = pa.array([hiding.mark] * len(ids), pa.string())
    rows = rows.drop_columns([*OWN, "file"]).append_column("sample_id", pa.array(ids, pa.string()))
    rows = rows.append_column("id_key", marks)
    plain = [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in rows.schema]
    rows = rows.cast(pa.schema(plain))
    said = pc.replace_substring(rows["remarks"], JOINT, "; ")
    rows = rows.set_column(rows.schema.get_field_index("remarks"), "remarks", said)
    return _with_extra(rows.to_pandas(types_mapper=_PANDAS.get, self_destruct=True), extra)


def _without_data_files(rows: pa.Table, archive: Archive) -> pa.Table:
    """Return the rows with files that hold the voxels of a header beside them skipped, whatever they look like."""
    named = rows.filter(rows["data_file"].is_valid())
    owners = {
        archive.place(data): path
        for data, path in zip(named["data_file"].to_pylist(), named["path"].to_pylist(), strict=True)
    }
    if not owners:
        return rows
    hit = pc.and_(pc.is_in(rows["path"], pa.array(list(owners))), pc.not_equal(rows["status"].cast(pa.string()), "ok"))
    mask = hit.combine_chunks()
    paths = rows["path"].filter(mask).to_pylist()
    for name, values in (
        ("status", ["skipped"] * len(paths)),
        ("reason", [f"the voxels of {owners[p]}" for p in paths]),
    ):
        column = pc.replace_with_mask(
            rows[name].cast(pa.string()).combine_chunks(), mask, pa.array(values, pa.string())
        )
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def _sample_ids(rows: pa.Table, archive: Archive) -> list[str]:
    """Return the id of each row, made of the file's own name, whatever bytes it has."""
    frames, volumes = rows["frame"].to_pylist(), rows["planes"].is_valid().to_pylist()
    return [
        sample_id(archive.names[file] + ("\x1fvolume" if volume else ""), frame)
        for file, frame, volume in zip(rows["file"].to_pylist(), frames, volumes, strict=True)
    ]


def _with_extra(table: pd.DataFrame, extra: pa.ChunkedArray) -> pd.DataFrame:
    """Return the table with a column for whatever else readers said."""
    if extra.null_count == len(extra):
        return table
    said: list[dict[str, Any]] = [json.loads(text) if text else {} for text in extra.to_pylist()]
    for name in dict.fromkeys(name for one in said for name in one):
        table[name] = np.array([one.get(name) for one in said], dtype=object)
    return table
