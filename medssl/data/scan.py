"""From folders to a manifest: every file is in a row, read or not, with the reason where not."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from medssl import files
from medssl.data.apart import Lost, each
from medssl.data.columns import typed
from medssl.data.grouping import stacked
from medssl.data.label_matching import FILE_KEYS, key_column, posix
from medssl.data.labels import join_labels
from medssl.data.manifest import Manifest, absolute, relative, sample_id
from medssl.data.readers import HEAD_BYTES, all_readers, reader_of
from medssl.data.readers.parts.foreign import judge
from medssl.data.remarks import leaking_split, several_sites, unstacked, with_patients
from medssl.data.tables import read_text_table
from medssl.errors import DataError, MedsslError

Progress = Callable[[str, dict[str, Any]], None]
_TABLES = (".csv", ".tsv", ".parquet")
_OWN_FOLDERS = (files.STORES,)
_NO_COLUMNS = ("plane", "data_file")  # what a reader tells the scan alone
_EVERY = 50  # files between two reports of progress


def scan(
    paths: list[Path],
    *,
    labels: Path | None = None,
    site: str | None = None,
    image_is_patient: bool = False,
    stack: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """Return a manifest of everything below some folders.

    Args:
        paths: Folders, image files, or a label table that names files (it is then joined, too). A manifest is
            returned as it is.
        labels: A label table to join.
        site: Where the images were made, over what headers say.
        image_is_patient: Take every image without a patient as a patient of its own.
        stack: Make the slices of a DICOM series one volume, see `medssl.data.grouping`.
        progress: Called with ("scan", {"done", "total", "path"}).

    Raises:
        DataError: A path does not exist, nothing readable is there, or the label table does not fit.
    """
    paths = [absolute(Path(path)) for path in paths]
    for path in paths:
        if not path.exists():
            raise DataError("There is no such file or folder", where=path)
    tables = [p for p in paths if p.is_file() and p.suffix.lower() in _TABLES]
    if len(paths) == 1 and tables and _is_manifest(tables[0]):
        return Manifest.load(tables[0])
    root = _root(paths)
    rows = list(_rows(paths, root, [*tables, *([absolute(labels)] if labels else [])], progress))
    rows = _without_data_files(rows, root)
    rows = [_as_columns(row) for row in (stacked(rows) if stack else rows)]
    manifest = Manifest(typed(pd.DataFrame(rows, columns=_names(rows))), root, paths[0].stem)
    _refuse_nothing(manifest, paths)
    for table in [*tables, *([Path(labels)] if labels else [])]:
        manifest = join_labels(manifest, table)
    manifest = manifest.with_table(typed(manifest.table.assign(site=site))) if site is not None else manifest
    manifest = manifest.with_remarks(*unstacked(manifest), *several_sites(manifest))
    manifest = with_patients(manifest, image_is_patient)
    return manifest.with_remarks(*leaking_split(manifest))


def _is_manifest(path: Path) -> bool:
    return {"sample_id", "path", "status"} <= set(read_text_table(path).columns)


def _root(paths: list[Path]) -> Path:
    """Return the folder that ids and relative paths start at: the one that was named, or what several share."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath(folders))


def _rows(paths: list[Path], root: Path, tables: list[Path], progress: Progress | None) -> Iterator[dict[str, Any]]:
    found = _files(paths)
    images = [path for path, problem in found.items() if not problem and path not in tables]
    with closing(each(describe, images)) as results:
        yield from _rows_of(found, results, root, tables, progress)
    if progress:
        progress("scan", {"done": len(found), "total": len(found), "path": ""})


def _rows_of(
    found: dict[Path, str | None],
    results: Iterator[list[dict[str, Any]] | Lost],
    root: Path,
    tables: list[Path],
    progress: Progress | None,
) -> Iterator[dict[str, Any]]:
    for done, (path, problem) in enumerate(found.items()):
        if progress and done % _EVERY == 0:
            progress("scan", {"done": done, "total": len(found), "path": files.as_utf8(str(path))})
        if path in tables:
            described: list[dict[str, Any]] = [{"status": "skipped", "reason": "a label table, joined"}]
        elif problem:
            described = [{"status": "unreadable", "reason": problem}]
        else:
            result = next(results)
            described = [{"status": "unreadable", "reason": result.reason}] if isinstance(result, Lost) else result
        place = relative(path, root)
        if not files.is_utf8(place):
            described = [{"status": "unreadable", "reason": "its name is not UTF-8; rename it"}]
        for row in described:
            frame = row.get("frame")
            number = None if frame is None else int(frame)
            yield row | {"sample_id": sample_id(place, number), "path": files.as_utf8(place)}


def _without_data_files(rows: list[dict[str, Any]], root: Path) -> list[dict[str, Any]]:
    """Return the rows with files that hold the voxels of a header beside them skipped, whatever they look like."""
    owners = {files.as_utf8(relative(r["data_file"], root)): r["path"] for r in rows if r.get("data_file")}
    return [
        row | {"status": "skipped", "reason": f"the voxels of {owners[row['path']]}"}
        if row["status"] != "ok" and row["path"] in owners
        else row
        for row in rows
    ]


def _as_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what is no column, its remarks as one text."""
    columns = {name: value for name, value in row.items() if name not in _NO_COLUMNS}
    return columns | {"remarks": "; ".join(row.get("remarks") or []) or None}


def keep(manifest: Manifest, query: str | None) -> Manifest:
    """Return the images that meet a condition, and every file that was not read with its reason.

    Raises:
        SettingsError: The condition cannot be used.
        DataError: No image meets it.
    """
    if not query:
        return manifest
    images, others = manifest.usable(), manifest.table[manifest.table["status"] != "ok"]
    kept = images.where(query)
    if not len(kept):
        raise DataError(f"None of {len(images)} images meets '{query}'", where=manifest.name)
    both = manifest.with_table(typed(pd.concat([kept.table, others])))
    return both.with_remarks(f"{len(kept)} of {len(images)} images meet '{query}', the others were left out")


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the rows of one file; whatever is wrong with it becomes a reason, never an exception."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return [{"status": "skipped", "reason": "not a regular file"}]
        size = {"file_bytes": status.st_size}
        with path.open("rb") as handle:
            head = handle.read(HEAD_BYTES)
        name = None if path.name.startswith("._") else reader_of(path, head)
        if name is None:
            state, reason = judge(path.name, head)
            return [size | {"status": state, "reason": reason}]
        return [row | size | {"format": name} for row in all_readers()[name].describe(path)]
    except MedsslError as error:
        return [{"status": "unreadable", "reason": error.what}]
    except OSError as error:
        return [{"status": "unreadable", "reason": error.strerror or type(error).__name__}]
    except Exception as error:  # one bad file of thousands must not end the scan
        return [{"status": "unreadable", "reason": f"its header cannot be read ({type(error).__name__})"}]


def _files(paths: list[Path]) -> dict[Path, str | None]:
    """Return every file once, in the order of names, with what is wrong where the file itself cannot be reached."""
    found: dict[Path, str | None] = {}
    for path in paths:
        if path.is_dir():
            found |= dict(_walk(path, set()))
        elif path.suffix.lower() in _TABLES:
            found |= _named_in(path)
        else:
            found[path] = None
    return found


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str | None]]:
    """Yield the files below a folder in the order of names; links to folders are followed once.

    A list of what is still to do stands for recursion: folders may be deeper in each other than Python's calls may be.
    """
    to_do = [(str(folder), True)]
    while to_do:
        place, is_folder = to_do.pop()
        if not is_folder:
            yield Path(place), None
            continue
        try:
            inside = _inside(place, seen)
        except OSError as error:
            yield Path(place), f"the folder cannot be read: {error.strerror}"
            continue
        to_do += [(entry.path, _is_folder(entry)) for entry in reversed(inside) if entry.name not in _OWN_FOLDERS]


def _inside(folder: str, seen: set[tuple[int, int]]) -> "list[os.DirEntry[str]]":
    """Return what is in a folder in the order of names, nothing where it was seen before."""
    status = Path(folder).stat()
    if (status.st_dev, status.st_ino) in seen:
        return []
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _named_in(table_path: Path) -> dict[Path, str | None]:
    """Return the files that a label table names, relative to its folder."""
    table = read_text_table(table_path)
    key = key_column(table, table_path)
    if key.lower() not in FILE_KEYS:
        raise DataError(
            f"The table names no files, only {key}", where=table_path, fix="Give the folder and --labels TABLE instead"
        )
    result: dict[Path, str | None] = {}
    for text in table[key].dropna():
        path = absolute(table_path.parent / posix(text))
        result[path] = None if path.exists() else f"named in {table_path.name}, but not found at {path}"
    return result


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _refuse_nothing(manifest: Manifest, paths: list[Path]) -> None:
    if not len(manifest):
        raise DataError("There are no files", where=", ".join(map(str, paths)), fix="Give the folder that holds images")
    if not (manifest.table["status"] == "ok").any():
        reason, count = next(iter(manifest.table["reason"].value_counts().items()))
        raise DataError(
            f"None of {len(manifest)} files is an image that can be read; most often ({count}): {reason}",
            where=", ".join(map(str, paths)),
        )
