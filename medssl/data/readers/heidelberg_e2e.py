"""Heidelberg's exchange files (`.e2e`), recognised by content and read by eyepy, which the extra `oct` brings.

A file holds series of several scans, often of both eyes. A series whose B-scans are parallel is a volume, others are
images of their own. Reflectivity v is given as v^(1/4), as for `.vol`; pixels without a signal as 0. The format is not
published: eyepy found it out, knows no spacing (so that it is unknown), and no file of a device was at hand to test it.
eyepy (as OCT-Converter) takes the ten lower bits of a value from low to high, which makes its numbers jump within an
octave; whether the device means that could not be told.
"""

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medssl.data.image import Image
from medssl.data.readers.parts.said import said
from medssl.errors import DataError

_MAGIC = b"CMDb"
_FILE_HEAD_BYTES, _CHUNK_HEAD_BYTES, _FOLDER_BYTES, _CONTAINER_BYTES = 88, 52, 44, 60
_COUNT_AT = 36  # of the folders, in the head of a chunk
_BSCAN = 35652097  # kind of an image
_CIRCLE, _RADIAL = 2, 5  # scan patterns
_EMPTY = 1.99  # what stands where there is no signal is above it
_EYES = {"OD": "R", "OS": "L", "82": "R", "76": "L"}
_MISSING = (
    "Heidelberg .e2e is read by eyepy, which is not installed: pip install 'medssl[oct]', or export it as DICOM or .vol"
)
_REMARK = "the layout of .e2e is not published: spacing unknown, compare an image with the device's own view"


class _Item(NamedTuple):
    """A volume or a B-scan: its series, its slices in their order, and what eyepy's records say of the first."""

    series: Any
    slices: list[Any]
    pattern: int
    rows: int
    columns: int

    @property
    def volume(self) -> bool:
        return len(self.slices) > 1


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are of an exchange file; the name does not matter."""
    return head.startswith(_MAGIC)


def describe(path: Path) -> list[dict[str, Any]]:
    """Return one row a volume or B-scan; `frame` counts them where there are several.

    Raises:
        DataError: eyepy is not installed, or the file cannot be parsed or is cut off.
    """
    with _opened(path) as reader:
        items = _items(path, reader)
        patients = {series: _patient(patient) for patient in reader.patients for series in _series_of(patient)}
        rows = []
        for number, item in enumerate(items):
            rows.append(
                {
                    "status": "ok",
                    "frame": number if len(items) > 1 else None,
                    "patient_id": patients.get(id(item.series)),
                    "modality": "OPT",
                    "ndim": 3 if item.volume else 2,
                    "channels": 1,
                    "rows": item.rows,
                    "columns": item.columns,
                    "slices": len(item.slices) if item.volume else None,
                    "bits": 16,
                    "photometric": "MONOCHROME2",
                    "manufacturer": "Heidelberg Engineering",
                    "laterality": _eye(item.series),
                    "remarks": _remarks(item),
                }
            )
    return rows


def read(path: Path, frame: int | None = None) -> Image:
    """Return float32 of v^(1/4), (1, slices, rows, columns) or (1, rows, columns).

    Args:
        path: The file.
        frame: Number of the volume or B-scan, from 0.

    Raises:
        DataError: It cannot be read, or there is no such image.
    """
    with _opened(path) as reader:
        items = _items(path, reader)
        if not 0 <= (frame or 0) < len(items):
            raise DataError(f"There is no image {frame}", where=path)
        item = items[frame or 0]
        planes = [_values(path, item, part) for part in item.slices]
    provenance = {"path": str(path), "frame": frame, "inverted": False, "rescale": "fourth root"}
    values = np.stack(planes)[None] if item.volume else planes[0][None]
    return Image(values, None, None, None, provenance, _remarks(item))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file with eyepy; whatever it raises on foreign bytes becomes our error."""
    try:
        from eyepy.io.he.e2e_reader import HeE2eReader
    except ImportError as error:
        raise DataError(_MISSING, where=path) from error
    logging.getLogger("eyepy").setLevel(logging.CRITICAL)
    try:
        _check_chunks(path)
        with HeE2eReader(path) as reader:
            yield reader
    except DataError:
        raise
    except Exception as error:  # eyepy and construct raise anything on foreign bytes
        raise DataError(f"The .e2e cannot be parsed, export it as DICOM or .vol: {said(error)}", where=path) from error


def _check_chunks(path: Path) -> None:
    """Follow the chunks as eyepy does, each to the end of its last folder: chunks that lead back are read for ever.

    A sound file ends with a chunk whose last folder is empty, which leads to the middle of the file's head: no chunk.

    Raises:
        DataError: A chunk leads to one before it.
    """
    size, at, seen = path.stat().st_size, _FILE_HEAD_BYTES, set()
    with path.open("rb") as handle:
        while at not in seen:
            seen.add(at)
            handle.seek(at + _COUNT_AT)
            count = int.from_bytes(handle.read(4), "little")
            end = at + _CHUNK_HEAD_BYTES + count * _FOLDER_BYTES
            if not count or end > size:
                return
            handle.seek(end - _FOLDER_BYTES + 4)
            start, length = struct.unpack("<2I", handle.read(8))
            at = start + length + _CONTAINER_BYTES
    raise DataError("The .e2e is damaged: a chunk leads back to one before it", where=path)


def _items(path: Path, reader: Any) -> list[_Item]:
    size = path.stat().st_size
    items: list[_Item] = []
    for series in reader.series:
        parts = [part for _, part in sorted(series.slices.items()) if _has_pixels(part)]
        folders = [folder for part in parts for kind in part.folders.values() for folder in kind]
        missing = max((folder.start + _CONTAINER_BYTES + folder.size - size for folder in folders), default=0)
        if missing > 0:
            raise DataError(f"The file is truncated: {missing} bytes of B-scans are missing", where=path)
        if parts:
            items += _arranged(path, series, parts)
    if not items:
        raise DataError("The .e2e holds no B-scans", where=path)
    return items


def _arranged(path: Path, series: Any, parts: list[Any]) -> list[_Item]:
    """Return the volume of a series, or each of its B-scans."""
    told = [part.get_meta() for part in parts]
    sizes = {(int(meta["size_y"]), int(meta["size_x"])) for meta in told}
    patterns = {int(meta["scan_pattern"]) for meta in told}
    count = int(told[0]["n_bscans"])
    if min(min(sizes)) < 1:
        raise DataError(f"The header has impossible sizes: {min(sizes)}", where=path)
    if len(parts) > 1 and len(sizes) == 1 and not patterns & {_CIRCLE, _RADIAL}:
        if count != len(parts):
            raise DataError(f"The series should have {count} B-scans, but {len(parts)} are there", where=path)
        return [_Item(series, parts, patterns.pop(), *sizes.pop())]
    return [
        _Item(series, [part], int(meta["scan_pattern"]), int(meta["size_y"]), int(meta["size_x"]))
        for part, meta in zip(parts, told, strict=True)
    ]


def _has_pixels(part: Any) -> bool:
    from eyepy.io.he.e2e_format import TypesEnum

    return TypesEnum.image in part.folders and TypesEnum.bscanmeta in part.folders


def _values(path: Path, item: _Item, part: Any) -> np.ndarray:
    """Return a B-scan as float32 of v^(1/4), (rows, columns)."""
    values = np.asarray(part.get_bscan())
    if values.shape != (item.rows, item.columns):
        raise DataError(f"A B-scan is {values.shape}, its header says {item.rows} x {item.columns}", where=path)
    values = np.where((values >= 0) & (values < _EMPTY), values, 0).astype(np.float32)
    return np.sqrt(np.sqrt(values))


def _eye(series: Any) -> str | None:
    try:
        words = str(series.laterality())
    except Exception:  # not every series says it
        return None
    return next((eye for word, eye in _EYES.items() if word in words), None)


def _series_of(patient: Any) -> list[int]:
    return [id(series) for study in patient.studies.values() for series in study.series.values()]


def _patient(patient: Any) -> str | None:
    from eyepy.io.he.e2e_format import TypesEnum

    try:
        return str(patient.folders[TypesEnum.patient][0].data.patient_id).strip() or None
    except Exception:  # not every file says it
        return None


def _remarks(item: _Item) -> list[str]:
    what = {_CIRCLE: "a circular scan", _RADIAL: "a radial scan"}.get(item.pattern)
    return [_REMARK, *([f"{what}: B-scans are images of their own, not slices"] if what else [])]
