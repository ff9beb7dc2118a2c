"""The columns of a manifest: the one place where their names, kinds and meanings stand."""

import datetime
import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

VERSION = 1
TEXT = pd.StringDtype(na_value=np.nan)
DTYPES: dict[str, Any] = {"text": TEXT, "integer": pd.Int64Dtype(), "number": pd.Float64Dtype()}
STATUSES = ("ok", "unreadable", "skipped")
SPLITS = ("train", "val", "test", "ood")


class Column(NamedTuple):
    """A known column: its name, its kind (text, integer or number) and what it means.

    Attributes:
        name: Its name.
        kind: "text", "integer" or "number".
        doc: What it means.
        source: Where it comes from, in DICOM's words; "file" for what is known of a file without its header.
        identifies: What DICOM PS3.15 table E.1-1 and common sense say of it; empty where it identifies nobody.
    """

    name: str
    kind: str
    doc: str
    source: str = "pixels and geometry"
    identifies: str = ""


COLUMNS = [
    Column(
        "sample_id",
        "text",
        "16 hexadecimal digits made from the path below the scanned folder and the frame, by the key",
        "path",
        "pseudonym",
    ),
    Column(
        "path",
        "text",
        "the file, with forward slashes; relative to the manifest's folder, or absolute",
        "path",
        "as the archive names its files",
    ),
    Column("frame", "integer", "frame or page of the file, from 0; empty where the row is the whole file", "file"),
    Column(
        "planes",
        "text",
        "files of a volume's slices in their order, beside `path`, as a JSON list; empty for one file",
        "path",
        "as the archive names its files",
    ),
    Column(
        "format",
        "text",
        "the reader: dicom, nifti, itk (NRRD, MetaImage), heidelberg_vol, heidelberg_e2e, topcon, zeiss_img, medmnist, "
        "numpy_array or raster",
        "file",
    ),
    Column("status", "text", "ok, unreadable (an image that cannot be used) or skipped (not an image)", "medssl"),
    Column("reason", "text", "why a row is not ok", "medssl", "may name a file"),
    Column("patient_id", "text", "the patient, as a pseudonym", "PatientID, `.vol`, label table", "pseudonym"),
    Column("study_id", "text", "the study, as a pseudonym", "StudyInstanceUID", "pseudonym"),
    Column("series_id", "text", "the series, as a pseudonym", "SeriesInstanceUID", "pseudonym"),
    Column("instance_id", "text", "the instance, as a pseudonym", "SOPInstanceUID", "pseudonym"),
    Column(
        "study_date",
        "text",
        "day of the study, YYYY-MM-DD",
        "label table, StudyDate, else AcquisitionDate",
        "yes, unless `--shift-dates`: in the manifest only",
    ),
    Column("modality", "text", "DICOM Modality, such as OPT, DX, CT", "Modality"),
    Column("ndim", "integer", "2 for a plane, 3 for a volume"),
    Column("channels", "integer", "channels as stored in the file"),
    Column("rows", "integer", "height in pixels, as displayed"),
    Column("columns", "integer", "width in pixels, as displayed"),
    Column("slices", "integer", "planes of a volume"),
    Column("row_spacing_mm", "number", "distance from one row to the next; empty where it is unknown"),
    Column("column_spacing_mm", "number", "distance from one column to the next; empty where it is unknown"),
    Column("slice_spacing_mm", "number", "distance from one slice to the next; empty where it is unknown"),
    Column("bits", "integer", "bits used by a stored value"),
    Column(
        "photometric",
        "text",
        "what stored values mean: MONOCHROME1, MONOCHROME2, RGB, PALETTE COLOR, ...",
        "PhotometricInterpretation",
    ),
    Column("manufacturer", "text", "maker of the device", "Manufacturer", "no (not in table E.1-1)"),
    Column("model", "text", "model of the device", "ManufacturerModelName", "no (not in table E.1-1)"),
    Column(
        "site",
        "text",
        "where the image was made: --site, the label table, or DICOM InstitutionName as a pseudonym",
        "InstitutionName",
        "pseudonym, unless `--keep-institution`",
    ),
    Column(
        "laterality",
        "text",
        "R or L, where the header or the label table says so",
        "FrameLaterality, ImageLaterality, Laterality",
    ),
    Column(
        "burned_in",
        "text",
        "whether pixels show text: yes or no as the header says, screen for a secondary capture; empty is unknown",
        "BurnedInAnnotation, SOPClassUID, ConversionType, ImageType",
    ),
    Column("file_bytes", "integer", "size of the file", "file"),
    Column("split", "text", "part of the set: train, val, test, ood", "label table, or `medssl data split`"),
    Column("remarks", "text", "what a person should know of the image, joined by '; '", "medssl"),
    Column(
        "id_key",
        "text",
        "fingerprint of the key that pseudonyms of this row were made with; `once-` before one that was thrown away, "
        "`+dates` behind one that also moved dates; empty where ids are those of the file",
        "medssl",
    ),
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


def iso_day(text: str) -> str | None:
    """Return a day written as YYYY-MM-DD, YYYYMMDD (DICOM) or YYYY.MM.DD (ACR-NEMA) in the first way, None for others.

    Days such as 03/04/2020 are not guessed at.
    """
    found = re.fullmatch(r"(\d{4})([-.]?)(\d{2})\2(\d{2})", text.strip())
    try:
        return datetime.date(*(int(found[k]) for k in (1, 3, 4))).isoformat() if found else None
    except ValueError:
        return None


def no_days(values: pd.Series) -> pd.Series:
    """Return which cells hold something else than a day of the calendar as YYYY-MM-DD, (n,) bool."""
    return values.notna() & ~values.map(lambda text: iso_day(text) == text, na_action="ignore").eq(True)


def unknown_splits(values: pd.Series) -> pd.Series:
    """Return which cells of a column `split` hold a word that no command understands, (n,) bool."""
    return values.notna() & ~values.isin(SPLITS)


def _convert(values: pd.Series | None, name: str, dtype: Any, index: pd.Index) -> pd.Series:
    if values is None:
        return pd.Series([None] * len(index), index=index, dtype=dtype)
    if values.dtype == dtype:
        return values
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
