"""The columns of a manifest: the one place where their names, kinds and meanings stand."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

VERSION = 1
TEXT = pd.StringDtype(na_value=np.nan)
DTYPES: dict[str, Any] = {"text": TEXT, "integer": pd.Int64Dtype(), "number": pd.Float64Dtype()}
STATUSES = ("ok", "unreadable", "skipped")
SPLITS = ("train", "val", "test", "ood")


class Column(NamedTuple):
    """A known column: its name, its kind (text, integer or number) and what it means."""

    name: str
    kind: str
    doc: str


COLUMNS = [
    Column("sample_id", "text", "16 hexadecimal digits made from the path below the scanned folder and the frame"),
    Column("path", "text", "the file, with forward slashes; relative to the manifest's folder, or absolute"),
    Column("frame", "integer", "frame or page of the file, from 0; empty where the row is the whole file"),
    Column(
        "planes", "text", "files of a volume's slices in their order, beside `path`, as a JSON list; empty for one file"
    ),
    Column("format", "text", "the reader: dicom, nifti, itk, raster, numpy_array, heidelberg_vol, heidelberg_e2e, topcon, zeiss_img"),
    Column("status", "text", "ok, unreadable (an image that cannot be used) or skipped (not an image)"),
    Column("reason", "text", "why a row is not ok"),
    Column("patient_id", "text", "the patient, as the header or the label table names them"),
    Column("study_id", "text", "DICOM StudyInstanceUID"),
    Column("series_id", "text", "DICOM SeriesInstanceUID"),
    Column("instance_id", "text", "DICOM SOPInstanceUID"),
    Column("modality", "text", "DICOM Modality, such as OPT, DX, CT"),
    Column("ndim", "integer", "2 for a plane, 3 for a volume"),
    Column("channels", "integer", "channels as stored in the file"),
    Column("rows", "integer", "height in pixels, as displayed"),
    Column("columns", "integer", "width in pixels, as displayed"),
    Column("slices", "integer", "planes of a volume"),
    Column("row_spacing_mm", "number", "distance from one row to the next; empty where it is unknown"),
    Column("column_spacing_mm", "number", "distance from one column to the next; empty where it is unknown"),
    Column("slice_spacing_mm", "number", "distance from one slice to the next; empty where it is unknown"),
    Column("bits", "integer", "bits used by a stored value"),
    Column("photometric", "text", "what stored values mean: MONOCHROME1, MONOCHROME2, RGB, PALETTE COLOR, ..."),
    Column("manufacturer", "text", "maker of the device"),
    Column("model", "text", "model of the device"),
    Column("site", "text", "where the image was made: --site, the label table, or DICOM InstitutionName"),
    Column("laterality", "text", "R or L, where the header or the label table says so"),
    Column("file_bytes", "integer", "size of the file"),
    Column("split", "text", "part of the data set given by its makers: train, val, test, ood"),
    Column("remarks", "text", "what a person should know of the image, joined by '; '"),
]
KNOWN = {column.name: column for column in COLUMNS}


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with every known column present, in order and typed; extra columns are text and come last.

    Raises:
        ValueError: A cell cannot be of its column's kind; column, row (from 1) and value are named.
    """
    result = {c.name: _convert(table.get(c.name), c.name, DTYPES[c.kind], table.index) for c in COLUMNS}
    for name in table.columns:
        if name not in KNOWN:
            result[str(name)] = _convert(table[name], str(name), TEXT, table.index)
    return pd.DataFrame(result, index=table.index).reset_index(drop=True)


def unknown_splits(values: pd.Series) -> pd.Series:
    """Return which cells of a column `split` hold a word that no command understands, (n,) bool."""
    return values.notna() & ~values.isin(SPLITS)


def _convert(values: pd.Series | None, name: str, dtype: Any, index: pd.Index) -> pd.Series:
    if values is None:
        return pd.Series([None] * len(index), index=index, dtype=dtype)
    if dtype == TEXT:
        return values.map(_text, na_action="ignore").astype(TEXT)
    numbers = pd.to_numeric(values.where(values.notna() & (values.astype(str) != ""), None), errors="coerce")
    wrong = numbers.isna() & values.notna() & (values.astype(str) != "")
    if dtype == DTYPES["integer"]:
        wrong |= numbers.notna() & (numbers.astype("Float64") % 1 != 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong.to_numpy(dtype=bool))[0])
        raise ValueError(
            f"column '{name}', row {row + 1} below the header: '{values.iloc[row]}' is not a number of the right kind"
        )
    return numbers.astype(dtype)


def _text(value: object) -> str:
    """Return a cell as text; a whole number that a table kept as floating point loses its '.0'."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
