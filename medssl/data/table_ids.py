"""The identifiers of a label table, written as the manifest that it joins writes them."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.keys import Key, is_lost
from medssl.data.manifest import Manifest
from medssl.data.privacy import IDS, mark_of, shifted
from medssl.errors import DataError


def matching(manifest: Manifest, column: str, values: pd.Series, key: Key | None) -> dict[int, list[int]]:
    """Return {image row: [table rows]} by an id that both have, the table's as it is or as a pseudonym.

    Args:
        manifest: The images.
        column: Its column, such as "patient_id".
        values: The table's ids.
        key: What the manifest's pseudonyms were made with, if it is known.
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, value in enumerate(values):
        if not pd.isna(value):
            for text in {value, key.pseudonym(IDS[column], value)} if key else {value}:
                numbers[text].append(number)
    cells = enumerate(manifest.table[column])
    return {row: numbers[value] for row, value in cells if not pd.isna(value) and value in numbers}


def written(
    manifest: Manifest, name: str, rows: np.ndarray, cells: np.ndarray, key: Key | None, where: Path
) -> np.ndarray:
    """Return the cells of a table's column as they stand in some rows of the manifest: no real id beside pseudonyms.

    A cell that is a pseudonym of the manifest already stays as it is.

    Args:
        manifest: The images.
        name: The column.
        rows: (n,) places in the manifest.
        cells: (n,) the table's cells for them.
        key: What the manifest's pseudonyms were made with, if it is known.
        where: The table.

    Raises:
        DataError: Rows have pseudonyms of another key than the one that is given.
    """
    if name not in (*IDS, "study_date"):
        return cells
    marks = manifest.table["id_key"].to_numpy(dtype=object)[rows]
    known = set(manifest.table[name].dropna())
    patients = manifest.table["patient_id"].to_numpy(dtype=object)[rows]
    result = cells.copy()
    for place, (cell, mark) in enumerate(zip(cells, marks, strict=True)):
        if pd.isna(cell) or pd.isna(mark):
            continue
        fingerprint, moved = mark_of(str(mark))
        if name == "study_date" and not moved:
            continue
        if name != "study_date" and cell in known:
            continue
        if key is None or key.fingerprint != fingerprint:
            raise another_key(manifest, key, f"The table's {name} cannot be written as a pseudonym", where)
        who = None if pd.isna(patients[place]) else str(patients[place])
        result[place] = shifted(str(cell), who, key) if name == "study_date" else key.pseudonym(IDS[name], str(cell))
    return result


def another_key(manifest: Manifest, key: Key | None, what: str, where: Path) -> DataError:
    """Return the error for ids that need another key than the one that is given, or one at all."""
    marks = sorted({mark_of(mark)[0] for mark in manifest.table["id_key"].dropna()})
    needed = " or ".join(marks)
    given = f", the key given has {key.fingerprint}" if key is not None and key.secret is not None else ""
    said = f"{what}: the manifest has pseudonyms by the key with the fingerprint {needed}{given}"
    if all(map(is_lost, marks)):
        fix = "That key was thrown away: scan again with --key FILE, or with this table as --labels"
    else:
        fix = "Give the file of that key with --key FILE"
    return DataError(said, where=where, fix=fix)


def other_key(manifest: Manifest, key: Key | None) -> bool:
    """Return whether rows have pseudonyms, and none by this key."""
    marks = {mark_of(mark)[0] for mark in manifest.table["id_key"].dropna()}
    return bool(marks) and (key is None or key.fingerprint not in marks)
