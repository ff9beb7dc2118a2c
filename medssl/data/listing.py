"""What files there are: below folders, named one by one, or named in a label table."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from medssl import files
from medssl.data.label_matching import FILE_KEYS, key_column, posix
from medssl.data.manifest import absolute, relative
from medssl.data.tables import read_text_table
from medssl.errors import DataError

TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Archive:
    """The files of a scan.

    Attributes:
        root: The folder that ids and relative paths start at.
        paths: Every file, in the order of names.
        names: The same files as they are below the root.
        known: Rows of files that need no reading, by their number.
    """

    root: Path
    paths: list[str]
    names: list[str]
    known: dict[int, dict[str, Any]]

    @classmethod
    def of(cls, paths: list[Path], tables: Collection[Path], without: Collection[Path]) -> "Archive":
        """Return what is below some folders.

        Args:
            paths: Folders, files and tables that name files, all absolute.
            tables: Label tables, which are joined.
            without: Files that the scan itself writes.
        """
        root = root_of(paths)
        found = listed(paths, [str(path) for path in without])
        start = f"{root}/"
        names = [path[len(start) :] if path.startswith(start) else _below(path, root) for path in found]
        joined = {str(table) for table in tables}
        known: dict[int, dict[str, Any]] = {}
        for number, (path, problem) in enumerate(found.items()):
            if path in joined:
                known[number] = {"status": "skipped", "reason": "a label table, joined"}
            elif problem:
                known[number] = {"status": "unreadable", "reason": problem}
            if not path.isascii() and not files.is_utf8(names[number]):
                known[number] = {"status": "unreadable", "reason": "its name is not UTF-8; rename it"}
        return cls(root, list(found), names, known)

    def place(self, path: Path | str) -> str:
        """Return a file as the manifest names it."""
        return files.as_utf8(_below(str(path), self.root))

    def shown(self, number: int) -> str:
        """Return a file as people are told it."""
        return files.as_utf8(self.paths[number])


def _below(path: str, root: Path) -> str:
    return relative(Path(path), root)


def listed(paths: list[Path], without: Collection[str] = ()) -> dict[str, str | None]:
    """Return every file once, in the order of names, with what is wrong where the file itself cannot be reached.

    Args:
        paths: Folders, files, and label tables, which name files.
        without: Files below the folders that are the scan's own.
    """
    found: dict[str, str | None] = {}
    for path in paths:
        if path.is_dir():
            _walk(str(path), set(), found)
        elif path.suffix.lower() in TABLES:
            found |= _named_in(path)
        else:
            found[str(path)] = None
    for name in without:
        found.pop(name, None)
    return found


def root_of(paths: list[Path]) -> Path:
    """Return the folder that ids and relative paths start at: the one that was named, or what several share."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath(folders))


def _walk(folder: str, seen: set[tuple[int, int]], found: dict[str, str | None]) -> None:
    """Add the files below a folder in the order of names; links to folders are followed once.

    A list of what is still to do stands for recursion: folders may be deeper in each other than calls may be.
    """
    to_do = [(folder, True)]
    while to_do:
        place, is_folder = to_do.pop()
        if not is_folder:
            found[place] = None
            continue
        try:
            inside = _inside(place, seen)
        except OSError as error:
            found[place] = f"the folder cannot be read: {error.strerror}"
            continue
        to_do += [(entry.path, _is_folder(entry)) for entry in reversed(inside) if entry.name not in files.OURS]


def _inside(folder: str, seen: set[tuple[int, int]]) -> "list[os.DirEntry[str]]":
    """Return what is in a folder in the order of names, nothing where it was seen before."""
    status = os.stat(folder)  # noqa: PTH116 (a Path for each of a million files is slow)
    if (status.st_dev, status.st_ino) in seen:
        return []
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        return sorted(entries, key=attrgetter("name"))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _named_in(table_path: Path) -> dict[str, str | None]:
    """Return the files that a label table names, relative to its folder."""
    table = read_text_table(table_path)
    key = key_column(table, table_path)
    if key.lower() not in FILE_KEYS:
        raise DataError(
            f"The table names no files, only {key}", where=table_path, fix="Give the folder and --labels TABLE instead"
        )
    result: dict[str, str | None] = {}
    for text in table[key].dropna():
        path = absolute(table_path.parent / posix(text))
        result[str(path)] = None if path.exists() else f"named in {table_path.name}, but not found at {path}"
    return result
