"""Which images the rows of a label table are about: by path or by id."""

from collections import defaultdict
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from medssl.data.keys import Key
from medssl.data.manifest import Manifest, absolute
from medssl.data.table_ids import matching
from medssl.errors import DataError

FILE_KEYS = ("file", "path", "image", "filename", "file_name", "filepath", "file_path", "image_path", "image_id")
ID_KEYS = {
    "instance_id": ("instance_id", "sopinstanceuid"),
    "series_id": ("series_id", "seriesinstanceuid"),
    "study_id": ("study_id", "studyinstanceuid"),
    "patient_id": ("patient_id", "patientid", "patient"),
}


def key_column(labels: pd.DataFrame, where: Path) -> str:
    """Return the name of the column that says which image a row is about.

    Raises:
        DataError: There is none.
    """
    by_lower = {str(name).lower(): str(name) for name in reversed(labels.columns)}
    for name in (*FILE_KEYS, *(alias for names in ID_KEYS.values() for alias in names)):
        if name in by_lower:
            return by_lower[name]
    found = ", ".join(map(str, labels.columns))
    raise DataError(
        f"The table has no column that names images, only {found}",
        where=where,
        fix="Add a column 'file' with paths, or 'instance_id', 'study_id' or 'patient_id'",
    )


def posix(text: str) -> str:
    """Return a path with forward slashes, without `./` in front, whichever system it was written on."""
    path = text.strip().replace("\\", "/")
    return path[2:] if path.startswith("./") else path


def match_files(manifest: Manifest, labels: pd.DataFrame, key: str, where: Path) -> tuple[dict[int, list[int]], str]:
    """Return {image row: [label rows]}, and the first place where a file was looked for in vain.

    A path is looked for below the table's folder, then below the scanned folder, then as a whole tail of a scanned
    path; a path that was absolute elsewhere fits the one file whose path below the scanned folder it ends in.
    """
    files = _Files(manifest)
    frames = manifest.table["frame"].tolist()
    frame_key = next((str(c) for c in labels.columns if str(c).lower() == "frame"), None)
    wanted = labels[frame_key].tolist() if frame_key else [None] * len(labels)
    match: dict[int, list[int]] = defaultdict(list)
    hint = ""
    for number, text in enumerate(labels[key]):
        if pd.isna(text):
            continue
        rows = files.find(str(text), where.parent)
        if not pd.isna(wanted[number]):
            rows = [
                r for r in rows if not pd.isna(frames[r]) and str(frames[r]) == str(wanted[number]).removesuffix(".0")
            ]
        if not rows:
            hint = hint or str(absolute(where.parent / posix(str(text))))
        for row in rows:
            match[row].append(number)
    return match, hint


def match_ids(manifest: Manifest, labels: pd.DataFrame, key: str, secret: Key | None = None) -> dict[int, list[int]]:
    """Return {image row: [label rows]} by an id that both have, as it is or as a pseudonym."""
    column = next(name for name, aliases in ID_KEYS.items() if key.lower() in aliases)
    return matching(manifest, column, labels[key], secret)


class _Files:
    """The scanned files, by path and by name; a file with several frames has several rows."""

    def __init__(self, manifest: Manifest) -> None:
        self._folder = manifest.folder
        self._below = [PurePosixPath(text).parts for text in manifest.table["path"]]
        self._whole = [absolute(manifest.folder / text).parts for text in manifest.table["path"]]
        self._by_path, self._by_name = defaultdict(list), defaultdict(list)
        for row, parts in enumerate(self._whole):
            self._by_path[parts].append(row)
            self._by_name[parts[-1]].append(row)

    def find(self, text: str, folder: Path) -> list[int]:
        """Return the rows of the one file that a path means, none where there is none or more than one."""
        path = posix(text)
        for start in (folder, self._folder):
            rows = self._by_path.get(absolute(start / path).parts)
            if rows:
                return rows
        parts = PurePosixPath(path).parts
        elsewhere = PureWindowsPath(path).drive or path.startswith("/")
        rows = [
            row
            for row in self._by_name.get(parts[-1] if parts else "", [])
            if (_ends_with(parts, self._below[row]) if elsewhere else _ends_with(self._whole[row], parts))
        ]
        return rows if len({self._whole[row] for row in rows}) == 1 else []


def _ends_with(longer: tuple[str, ...], tail: tuple[str, ...]) -> bool:
    return longer[-len(tail) :] == tail
