"""Labels: joining a table that people made to the images, and reading one column of it as yes or no."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from medssl.counting import counted_of
from medssl.data.columns import KNOWN, SPLITS, iso_day, typed, unknown_splits
from medssl.data.keys import Key
from medssl.data.label_matching import FILE_KEYS, key_column, match_files, match_ids
from medssl.data.manifest import Manifest
from medssl.data.table_ids import another_key, other_key, written
from medssl.data.tables import read_text_table
from medssl.errors import DataError, SettingsError, nearest, unknown_name

_MAY_REPLACE = (
    "patient_id",
    "study_id",
    "series_id",
    "study_date",
    "modality",
    "manufacturer",
    "model",
    "site",
    "laterality",
    "split",
)
_NEGATIVE = {"0", "no", "none", "normal", "negative", "neg", "healthy", "control", "false", "absent", "benign"}
_NEGATIVE |= {"no finding", "nofinding", "n"}
_MOST_WORDS = 50


class BinaryLabel(NamedTuple):
    """A column read as two classes.

    Attributes:
        values: (n,) 1 for the positive class, 0 for the negative one, NaN where it is unknown.
        positive_name: The words of class 1, for every output that shows a score.
        negative_name: The words of class 0.
    """

    values: np.ndarray
    positive_name: str
    negative_name: str


def join_labels(manifest: Manifest, csv_path: Path, secret: Key | None = None) -> Manifest:
    """Return the manifest with the columns of a label table.

    The key is a column `file`, `path` or `image` (with `frame` beside it where a file has several), else an id:
    `instance_id`, `series_id`, `study_id` or `patient_id`. Paths may be written on Windows, start at the table's
    folder, at the scanned folder, or be any whole tail of the file's path that fits one file only. A column that the
    manifest knows (patient_id, site, split, ...) replaces the header's value where it is filled; one that measures
    the file (rows, bits, ...) is kept as `<name>_given`. Ids of the table are written as the manifest writes them.

    Args:
        manifest: The images.
        csv_path: The table.
        secret: The key of the manifest's pseudonyms, if ids of the table are to be compared with them.

    Raises:
        DataError: The table cannot be read, has no key column, joins nothing, contradicts itself, or needs a key.
    """
    return join_table(manifest, read_text_table(csv_path), Path(csv_path), secret)


def join_table(manifest: Manifest, labels: pd.DataFrame, where: Path, secret: Key | None = None) -> Manifest:
    """Return the manifest with the columns of a label table that was read already; see `join_labels`.

    Args:
        manifest: The images.
        labels: The table, all cells text.
        where: The file that it came from; its folder is where relative paths may start.
        secret: The key of the manifest's pseudonyms.
    """
    key = key_column(labels, where)
    _refuse_splits(labels, where)
    labels = _with_days(labels, where)
    if key.lower() in FILE_KEYS:
        match, hint = match_files(manifest, labels, key, where)
    else:
        match, hint = match_ids(manifest, labels, key, secret), ""
        if not match and other_key(manifest, secret):
            raise another_key(manifest, secret, f"None of {len(labels)} rows fits an image by {key}", where)
    if not match:
        first = f"; the first {key} is '{labels[key].iloc[0]}'" if hint else f" by {key}"
        raise DataError(
            f"None of {len(labels)} rows fits an image{first}" + (f", looked for at {hint}, not found" if hint else ""),
            where=where,
            fix="Give paths relative to the table's folder or to the scanned folder, with / or \\ as separator",
        )
    _refuse_contradictions(labels, match, manifest, key, where)
    return _merged(manifest, labels, match, key, where, secret)


def _refuse_splits(labels: pd.DataFrame, where: Path) -> None:
    """Refuse words in a column `split` that no command would understand."""
    if "split" in labels.columns:
        wrong = unknown_splits(labels["split"])
        if wrong.any():
            row = int(np.flatnonzero(wrong.to_numpy(dtype=bool))[0])
            raise DataError(
                f"'{labels['split'].iloc[row]}' in column 'split', row {row + 1} below the header, is none of "
                f"{', '.join(SPLITS)}",
                where=where,
                fix="Use these words, or call the column otherwise",
            )


def _with_days(labels: pd.DataFrame, where: Path) -> pd.DataFrame:
    """Return the table with a column `study_date` as YYYY-MM-DD; what is no such day is refused with its row."""
    if "study_date" not in labels.columns:
        return labels
    days = labels["study_date"].map(iso_day, na_action="ignore")
    wrong = (labels["study_date"].notna() & days.isna()).to_numpy(dtype=bool)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"'{labels['study_date'].iloc[row]}' in column 'study_date', row {row + 1} below the header, is no day as "
            "YYYY-MM-DD",
            where=where,
            fix="Write it so, or call the column otherwise",
        )
    return labels.assign(study_date=days)


def spellings(words: Iterable[str]) -> dict[str, list[str]]:
    """Return the words that differ only by case or spaces, keyed by their common form; empty when there are none."""
    groups: dict[str, set[str]] = defaultdict(set)
    for word in words:
        groups[fold(word)].add(word)
    return {common: sorted(group) for common, group in groups.items() if len(group) > 1}


def fold(word: str) -> str:
    """Return the common form of spellings: case folded, single spaces, and `1.0` as `1`."""
    text = " ".join(word.casefold().split())
    whole = text.removesuffix(".0")
    return whole if whole.lstrip("-").isdigit() else text


def binary_label(
    manifest: Manifest, column: str, positive: list[str] | None = None, negative: list[str] | None = None
) -> BinaryLabel:
    """Read a column as two classes.

    Two words are enough: the one that means no finding (0, no, normal, healthy, ...) is negative, else the first in
    sorted order. With `positive` or `negative` alone the other class is every other word; with both, other words
    are unknown.

    Raises:
        SettingsError: There is no such column or word, or the column has more than two words and nobody chose.
        DataError: The column is empty, has one class, or has spellings that differ by case or spaces.
    """
    known = [str(name) for name in manifest.table.columns]
    if column not in known:
        raise unknown_name("label column", column, manifest.label_names or known, where=manifest.name)
    cells = manifest.table[column].astype(object)
    words = sorted({str(cell) for cell in cells if not pd.isna(cell)})
    where = f"column '{column}' of {manifest.name}"
    refuse_spellings(words, where)
    present = {fold(word): fold(word) if _is_number(word) else word for word in words}
    high, low = _classes(present, positive, negative, cells, where)
    folded = [None if pd.isna(cell) else fold(str(cell)) for cell in cells]
    values = np.array([1.0 if f in high else 0.0 if f in low else np.nan for f in folded])
    for number, names in ((1, high), (0, low)):
        if not (values == number).any():
            raise DataError(f"No image is {_named(names, present)}: the label has one class", where=where)
    return BinaryLabel(values, _named(high, present), _named(low, present))


def _classes(
    present: dict[str, str], positive: list[str] | None, negative: list[str] | None, cells: pd.Series, where: str
) -> tuple[list[str], list[str]]:
    if positive or negative:
        high, low = (_chosen(words, present, where) for words in (positive, negative))
        if set(high) & set(low):
            raise SettingsError(f"'{_named(set(high) & set(low), present)}' is in both classes", where=where)
        high, low = high or [w for w in present if w not in low], low or [w for w in present if w not in high]
        if len(present) > 1 and not (high and low):
            raise SettingsError(
                f"Every word of the label is in one class: {', '.join(present.values())}",
                where=where,
                fix="Name fewer words, or choose another column",
            )
        return high, low
    if not present:
        raise DataError("No image has a label", where=where)
    if len(present) == 1:
        raise DataError(f"The label has one class only: {next(iter(present.values()))}", where=where)
    if len(present) > 2:
        counts = cells.dropna().astype(str).value_counts()
        shown = ", ".join(f"{word} ({n})" for word, n in counts.iloc[:12].items()) + (
            ", ..." if len(counts) > 12 else ""
        )
        raise SettingsError(
            f"The label has {len(present)} classes: {shown}",
            where=where,
            fix="Choose with --positive WORD ... and/or --negative WORD ...",
        )
    first, second = sorted(present, key=_order)
    return ([first], [second]) if second in _NEGATIVE and first not in _NEGATIVE else ([second], [first])


def _chosen(words: list[str] | None, present: dict[str, str], where: str) -> list[str]:
    for word in words or []:
        if fold(word) not in present:
            guess = nearest(word, present)
            hint = f"Did you mean '{present[guess]}'? " if guess else ""
            raise SettingsError(
                f"'{word}' does not occur", where=where, fix=f"{hint}There: {', '.join(present.values())}"
            )
    return [fold(word) for word in words or []]


def _named(words: Iterable[str], present: dict[str, str]) -> str:
    return " or ".join(present.get(word, word) for word in words)


def _order(word: str) -> tuple[bool, float, str]:
    try:
        return False, float(word), word
    except ValueError:
        return True, 0.0, word


def refuse_spellings(words: list[str], where: str) -> None:
    """Refuse words that differ by case or spaces only.

    Raises:
        DataError: The first such words are named.
    """
    for variants in spellings(words).values():
        if len({fold(v) == v for v in variants}) and not all(_is_number(v) for v in variants):
            shown = ", ".join(f"'{v}'" for v in variants)
            raise DataError(f"These labels differ by case or spaces only: {shown}", where=where, fix="Write them alike")


def _is_number(word: str) -> bool:
    return fold(word).lstrip("-").isdigit()


def _refuse_contradictions(
    labels: pd.DataFrame, match: dict[int, list[int]], manifest: Manifest, key: str, where: Path
) -> None:
    for row, numbers in match.items():
        if len(numbers) > 1 and len(labels.iloc[numbers].drop(columns=key).drop_duplicates()) > 1:
            lines = " and ".join(str(n + 2) for n in numbers[:3])
            raise DataError(
                f"Lines {lines} say different things of {manifest.table['path'].iloc[row]}",
                where=where,
                fix="Keep one line an image (add a 'frame' column for the frames of one file)",
            )


def _merged(
    manifest: Manifest, labels: pd.DataFrame, match: dict[int, list[int]], key: str, where: Path, secret: Key | None
) -> Manifest:
    table, remarks = manifest.table.copy(), []
    rows = np.array(sorted(match))
    numbers = np.array([match[row][0] for row in rows])
    for name in labels.columns:
        if name == key or str(name).lower() == "frame":
            continue
        cells = labels[name].iloc[numbers].to_numpy(dtype=object)
        target = str(name) if name in _MAY_REPLACE or name not in KNOWN else f"{name}_given"
        cells = written(manifest, target, rows, cells, secret, where)
        remarks += _put(table, target, rows, cells, where)
    usable = (table["status"] == "ok").to_numpy()
    without = int(usable.sum() - usable[rows].sum())
    unused = len(labels) - len({n for found in match.values() for n in found})
    if unused:
        free = sorted(set(range(len(labels))) - {n for found in match.values() for n in found})
        remarks.append(f"{unused} of {len(labels)} rows of {where.name} fit no image, the first is row {free[0] + 1}")
    if without:
        remarks.append(f"{counted_of(without, int(usable.sum()), 'image', 'has', 'have')} no row in {where.name}")
    return manifest.with_table(typed(table)).with_remarks(*remarks)


def _put(table: pd.DataFrame, name: str, rows: np.ndarray, cells: np.ndarray, where: Path) -> list[str]:
    """Write filled cells into a column of the table; return remarks on values replaced and on spellings."""
    filled = ~pd.isna(cells)
    column = table[name].astype(object) if name in table.columns else pd.Series([None] * len(table), dtype=object)
    before = column.to_numpy(dtype=object)[rows]
    replaced = int((filled & ~pd.isna(before) & (before != cells)).sum()) if name in KNOWN else 0
    column.iloc[rows[filled]] = cells[filled]
    table[name] = column
    remarks = [f"{name} of {where.name} replaces that of the file in {replaced} images"] if replaced else []
    words = {str(cell) for cell in cells[filled]}
    if len(words) <= _MOST_WORDS and name not in ("patient_id", "study_id", "series_id"):
        for variants in spellings(words).values():
            if not all(map(_is_number, variants)):
                remarks.append(f"{name} has spellings that differ by case only: {', '.join(variants)}")
    return remarks
