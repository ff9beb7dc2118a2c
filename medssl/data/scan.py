"""From folders to a manifest: every file is in a row, read or not, with the reason where not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from medssl.data.columns import typed
from medssl.data.describing import describe
from medssl.data.earlier import Earlier
from medssl.data.keys import Key, from_file, once
from medssl.data.labels import join_labels
from medssl.data.listing import TABLES, Archive
from medssl.data.manifest import Manifest, absolute
from medssl.data.privacy import Hiding
from medssl.data.reading import read, read_part
from medssl.data.remarks import leaking_split, several_sites, unstacked, with_patients
from medssl.data.tabled import as_table
from medssl.data.tables import read_text_table
from medssl.errors import DataError

__all__ = ["describe", "keep", "scan"]
Progress = Callable[[str, dict[str, Any]], None]


def scan(
    paths: list[Path],
    *,
    labels: Path | None = None,
    site: str | None = None,
    image_is_patient: bool = False,
    stack: bool = True,
    key: Path | Key | None = None,
    shift_dates: bool = False,
    keep_institution: bool = False,
    burned_in: Literal["skip", "keep"] = "skip",
    hide: Hiding | None = None,
    earlier: Earlier | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Return a manifest of everything below some folders.

    Args:
        paths: Folders, image files, or a label table that names files (it is then joined, too). Of a
            manifest nothing is read again: `labels` are joined to it.
        labels: A label table to join.
        site: Where the images were made, over what headers say.
        image_is_patient: Take every image without a patient as a patient of its own.
        stack: Make the slices of a DICOM series one volume, see `medssl.data.grouping`.
        key: What identifiers are replaced with pseudonyms by: a file, which must be there, or a `Key`. None takes a
            random one that is thrown away; `keys.AS_THEY_ARE` is for images with nobody to protect.
        shift_dates: Move the dates of a patient by a number of days that follows from the key.
        keep_institution: Keep the name of the institution as site.
        burned_in: "skip" images that may show text in their pixels, or "keep" them.
        hide: All of how rows are made safe, in place of these four.
        earlier: What earlier scans for the same manifest found, where this one writes what it finds.
        progress: Called with ("scan", {"done", "total", "path"}).

    Raises:
        DataError: A path does not exist, nothing readable is there, or the label table does not fit.
    """
    paths = _there(paths)
    tables = [p for p in paths if p.is_file() and p.suffix.lower() in TABLES]
    given = from_file(key) if isinstance(key, Path) else key
    hide = hide or Hiding(given or once(), shift_dates, keep_institution, burned_in)
    if len(paths) == 1 and tables and _is_manifest(tables[0]):
        found = Manifest.load(tables[0])
        return join_labels(found, Path(labels), hide.key) if labels else found
    joined = [*tables, *([absolute(labels)] if labels else [])]
    archive = Archive.of(paths, joined, earlier.own if earlier else ())
    rows = read(archive, hide, earlier or Earlier(None), progress)
    remarks = hide.remarks(rows, tables=bool(joined))
    manifest = Manifest(typed(as_table(rows, archive, hide, stack=stack)), archive.root, paths[0].stem)
    _refuse_nothing(manifest, paths)
    for table in joined:
        manifest = join_labels(manifest, table, hide.key)
    manifest = manifest.with_table(typed(manifest.table.assign(site=site))) if site is not None else manifest
    manifest = manifest.with_remarks(*remarks, *unstacked(manifest), *several_sites(manifest))
    manifest = with_patients(manifest, image_is_patient)
    return manifest.with_remarks(*leaking_split(manifest))


def scan_part(
    paths: list[Path],
    earlier: Earlier,
    *,
    labels: Path | None = None,
    hide: Hiding,
    progress: Progress | None = None,
) -> int:
    """Read the files of one part of a scan, and return how many it has; `scan` finds what all parts wrote.

    Args:
        paths: As for `scan`.
        earlier: Names the part.
        labels: As for `scan`.
        hide: As for `scan`; all parts need the same key.
        progress: As for `scan`.

    Raises:
        DataError: A path does not exist.
    """
    paths = _there(paths)
    tables = [p for p in paths if p.is_file() and p.suffix.lower() in TABLES]
    archive = Archive.of(paths, [*tables, *([absolute(labels)] if labels else [])], earlier.own)
    return read_part(archive, hide, earlier, progress)


def _there(paths: list[Path]) -> list[Path]:
    paths = [absolute(Path(path)) for path in paths]
    for path in paths:
        if not path.exists():
            raise DataError("There is no such file or folder", where=path)
    return paths


def _is_manifest(path: Path) -> bool:
    return {"sample_id", "path", "status"} <= set(read_text_table(path).columns)


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


def _refuse_nothing(manifest: Manifest, paths: list[Path]) -> None:
    if not len(manifest):
        raise DataError("There are no files", where=", ".join(map(str, paths)), fix="Give the folder that holds images")
    if not (manifest.table["status"] == "ok").any():
        reason, count = next(iter(manifest.table["reason"].value_counts().items()))
        raise DataError(
            f"None of {len(manifest)} files is an image that can be read; most often ({count}): {reason}",
            where=", ".join(map(str, paths)),
        )
