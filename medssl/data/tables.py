"""Reading a table that people made: every cell is text, and only an empty cell is missing.

Spreadsheets save a byte-order mark, semicolons, CRLF and decimal commas. `NA`, `None` and `null` are words: a site
may be called NA, and a diagnosis None.
"""

import csv
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medssl.data.columns import TEXT
from medssl.errors import DataError

_ENCODINGS = ("utf-8-sig", "utf-16", "cp1252")


def read_text_table(path: Path) -> pd.DataFrame:
    """Return a `.csv`, `.tsv`, `.txt` or `.parquet` table with all cells as text, stripped, and empty ones missing.

    A decimal comma becomes a decimal point in a column whose every value is a number once it does.

    Raises:
        DataError: The file does not exist, is empty, is not a table, or a row has too many or too few cells.
    """
    path = Path(path)
    table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_delimited(path)
    table = table.apply(lambda column: column.str.strip().replace("", pd.NA).astype(TEXT))
    return table.apply(_decimal_points)


def _read_delimited(path: Path) -> pd.DataFrame:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read the table: {error.strerror}", where=path) from error
    text = _decode(data, path)
    first = text.split("\n", 1)[0]
    separator = max(",;\t|", key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    if not rows:
        raise DataError("The table is empty", where=path)
    header = [name.strip() for name in rows[0]]
    if len(rows) == 1:
        raise DataError("The table has a header, but no rows", where=path)
    repeated = {name for name in header if header.count(name) > 1}
    if repeated or "" in header:
        raise DataError(f"The table needs one name a column, but has {header}", where=path)
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise DataError(f"Line {number} has {len(row)} cells, the first line has {len(header)}", where=path)
    return pd.DataFrame(rows[1:], columns=header, dtype=TEXT)


def _decode(data: bytes, path: Path) -> str:
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("This is not a text table", where=path)
    for encoding in _ENCODINGS:
        if encoding == "utf-16" and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            continue
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError("The table's encoding is not known", where=path, fix="Save it as UTF-8")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"Cannot read the table: {' '.join(str(error).split())}", where=path) from error
    return table.apply(lambda column: column.map(str, na_action="ignore").astype(TEXT))


def _decimal_points(column: pd.Series) -> pd.Series:
    values = column.dropna()
    if not values.str.fullmatch(r"[-+]?\d+(,\d+)?").all() or not values.str.contains(",").any():
        return column
    return column.str.replace(",", ".", regex=False)
