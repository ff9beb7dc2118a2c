"""The manifest: a table with one row an image, what is known of it, its labels, and remarks.

A row is a 2D image, a volume, or one frame of an object whose frames are images of their own. Files that could not
be used have rows too, with the reason. Extra columns are labels and are text until somebody says otherwise.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medssl import files
from medssl.data.columns import COLUMNS, KNOWN, SPLITS, STATUSES, VERSION, no_days, typed, unknown_splits
from medssl.data.query import choose
from medssl.data.tables import read_text_table
from medssl.errors import DataError

ARROW = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64()}
_KEY = b"medssl"


@dataclass(frozen=True)
class Manifest:
    """A table of images.

    Attributes:
        table: The rows, typed as `medssl.data.columns` says.
        folder: Where relative paths start.
        name: The stem of the file's name, used in messages.
        remarks: Sentences on the set as a whole.
    """

    table: pd.DataFrame
    folder: Path
    name: str
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest from `.parquet` or `.csv`.

        Raises:
            DataError: It does not exist, is not a manifest, is of a newer version, or a row breaks a rule.
        """
        path = Path(path)
        if path.is_dir():
            raise DataError("This is a folder", where=path, fix=f"Make a manifest of it: medssl scan {path} -o FILE")
        if not path.is_file():
            raise DataError("There is no such manifest", where=path, fix="Make one with: medssl scan FOLDER -o FILE")
        table, remarks = _read_parquet(path) if path.suffix.lower() == ".parquet" else (read_text_table(path), ())
        missing = [name for name in ("sample_id", "path", "status") if name not in table.columns]
        if missing:
            raise DataError(
                f"This table is not a manifest: it has no column '{missing[0]}'",
                where=path,
                fix="Make one with: medssl scan FOLDER -o FILE; a table of labels joins it with --labels",
            )
        if table.empty:
            raise DataError(
                "The manifest has no rows", where=path, fix="Make it again with: medssl scan FOLDER -o FILE"
            )
        try:
            manifest = cls(typed(table), absolute(path).parent, path.stem, remarks)
        except ValueError as error:
            raise DataError(
                f"A cell cannot be read: {error}",
                where=path,
                fix="Correct it, or make the manifest again with: medssl scan FOLDER -o FILE",
            ) from error
        _check_rows(manifest.table, path)
        return manifest

    def save(self, path: Path) -> None:
        """Write the manifest whole or not at all, as Parquet, or as CSV when the name ends so.

        Paths below the file's folder become relative to it. CSV has no place for remarks on the set as a whole.
        """
        path = Path(path)
        places = [relative(self.folder / p, path.parent) for p in self.table["path"]]
        unwritable = next((place for place in places if not files.is_utf8(place)), None)
        if unwritable is not None:
            raise DataError("A folder's name is not UTF-8", where=files.as_utf8(unwritable), fix="Rename the folder")
        table = self.table.assign(path=places)
        if path.suffix.lower() == ".csv":
            files.write_bytes(path, table.to_csv(index=False).encode())
            return
        kinds = {str(name): KNOWN[name].kind if name in KNOWN else "text" for name in table.columns}
        schema = pa.schema([pa.field(name, ARROW[kind]) for name, kind in kinds.items()])
        meta = {_KEY: json.dumps({"version": VERSION, "remarks": list(self.remarks)}).encode()}
        arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False).replace_schema_metadata(meta)
        with files.atomic_path(path) as temporary:
            pq.write_table(arrow, temporary)

    def path_of(self, row: Mapping[str, Any] | pd.Series) -> Path:
        """Return the file of a row."""
        return self.folder / row["path"]

    def slices_of(self, row: Mapping[str, Any] | pd.Series) -> list[Path] | None:
        """Return the files of a volume's slices in their order, or None for a row of one file."""
        names = row.get("planes")
        return None if pd.isna(names) else [self.path_of(row).parent / name for name in json.loads(str(names))]

    def with_table(self, table: pd.DataFrame) -> "Manifest":
        """Return the same manifest with other rows or columns."""
        return replace(self, table=table.reset_index(drop=True))

    def with_remarks(self, *remarks: str) -> "Manifest":
        """Return the same manifest with more remarks on the set as a whole."""
        return replace(self, remarks=(*self.remarks, *remarks))

    def usable(self) -> "Manifest":
        """Return the rows that are images and can be read."""
        return self.with_table(self.table[self.table["status"] == "ok"])

    def where(self, query: str | None) -> "Manifest":
        """Return the rows that meet a condition such as `modality == 'OPT' and rows >= 256`.

        Raises:
            SettingsError: The condition cannot be used.
        """
        return self.with_table(choose(self.table, query)) if query else self

    def content_hash(self) -> str:
        """Return 32 hexadecimal digits of all rows, independent of their order, the columns' order and the folder."""
        columns = sorted(name for name in self.table.columns if name != "path")
        rows = sorted(
            "\x1e".join(f"{name}\x1f{value}" for name, value in zip(columns, row) if not pd.isna(value))
            for row in self.table[columns].itertuples(index=False, name=None)
        )
        return hashlib.blake2b("\x1d".join(rows).encode(), digest_size=16).hexdigest()

    @property
    def label_names(self) -> list[str]:
        """Return the names of the extra columns."""
        return [str(name) for name in self.table.columns if name not in KNOWN]


def sample_id(relative_path: str, frame: int | None = None) -> str:
    """Return the id of an image: 16 hexadecimal digits of its path below the scanned folder and its frame."""
    text = relative_path if frame is None else f"{relative_path}\x1f{frame}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def schema_markdown() -> str:
    """Return the table of columns as it stands in `docs/manifest.md`."""
    lines = ["| column | kind | meaning | from | identifies |", "|---|---|---|---|---|"]
    rows = (f"| `{c.name}` | {c.kind} | {c.doc} | {c.source} | {c.identifies or 'no'} |" for c in COLUMNS)
    return "\n".join([*lines, *rows]) + "\n"


def _read_parquet(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    try:
        arrow = pq.read_table(path)
        meta = json.loads((arrow.schema.metadata or {}).get(_KEY, b"{}"))
    except (OSError, ValueError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise DataError(f"Cannot read the table: {said}", where=path, fix="Make it again with medssl scan") from error
    version = meta.get("version", VERSION)
    if version > VERSION:
        raise DataError(
            f"The manifest has version {version}, this program reads {VERSION}", where=path, fix="Update medssl"
        )
    return arrow.to_pandas(), tuple(meta.get("remarks", ()))


def _check_rows(table: pd.DataFrame, path: Path) -> None:
    rules = [
        (table["sample_id"].isna(), "sample_id", "is empty"),
        (table["sample_id"].duplicated(), "sample_id", "stands twice"),
        (table["path"].isna(), "path", "is empty"),
        ((table["frame"] < 0).fillna(False), "frame", "is below 0"),
        (~table["status"].isin(STATUSES), "status", f"is none of {', '.join(STATUSES)}"),
        (unknown_splits(table["split"]), "split", f"is none of {', '.join(SPLITS)}"),
        (no_days(table["study_date"]), "study_date", "is no day as YYYY-MM-DD"),
        (table["planes"].map(_no_list, na_action="ignore").eq(True), "planes", "is no JSON list of two files or more"),
        (table["ndim"].notna() & ~table["ndim"].isin([2, 3]).fillna(False), "ndim", "is neither 2 nor 3"),
    ]
    for wrong, name, rule in rules:
        if wrong.any():
            rows = [int(k) + 1 for k in wrong.to_numpy(dtype=bool).nonzero()[0]]
            value = table[name].iloc[rows[0] - 1]
            shown = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
            raise DataError(
                f"'{value}' in column '{name}' {rule}, row {shown} below the header",
                where=path,
                fix="Correct the cell, or make the manifest again with: medssl scan FOLDER -o FILE",
            )


def _no_list(cell: str) -> bool:
    try:
        names = json.loads(cell)
    except ValueError:
        return True
    return not (isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) and name for name in names))


def absolute(path: Path) -> Path:
    """Return the absolute path without `..`, links left as they are (an archive may be made of links)."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def relative(path: Path, folder: Path) -> str:
    """Return the path as it stands in a manifest of that folder: relative if it is below, else absolute."""
    path, folder = absolute(path), absolute(folder)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
