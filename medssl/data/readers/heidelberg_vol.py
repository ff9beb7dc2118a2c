"""Raw exports of the Heidelberg Spectralis (`.vol`): B-scans of optical coherence tomography in single precision.

The layout is that of Heidelberg's document "Spectralis Viewing Module, special function: exporting raw data": a header
of 2048 bytes, the infrared picture (skipped), then every B-scan behind a header of its own. Reflectivity v is shown as
v^(1/4), as that document says; A-scans without a signal hold the largest single-precision number. Where the eye lies
in the world is unknown, so there is no affine.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssl.data.image import Image
from medssl.errors import DataError

_MAGIC = b"HSF-OCT-"
_FIXED = struct.Struct("<12s3i3d2i2did4sq2i16s16si24s")
_HEADER_BYTES = 2048
_PLACE = struct.Struct("<16x4d")  # start and end of a B-scan in mm
_EYES = {"OD": "R", "OS": "L"}
_CIRCLE, _RADIAL = 2, 5  # scan patterns; 0 unknown, 1 one line, 3 and 4 parallel B-scans
_EVEN = 0.1  # of the distance: how far a step between B-scans may be from it
_INVALID = 3e38


@dataclass(frozen=True)
class _Scan:
    """Sizes in pixels and bytes, spacings in mm, NaN where they are unknown."""

    columns: int
    scans: int
    rows: int
    column_mm: float
    slice_mm: float
    row_mm: float
    start: int
    scan_header: int
    pattern: int
    eye: str
    patient: str

    @property
    def step(self) -> int:
        """Return the bytes from one B-scan to the next."""
        return self.scan_header + 4 * self.rows * self.columns

    @property
    def parallel(self) -> bool:
        """Return whether the B-scans are the slices of a volume."""
        return self.scans > 1 and self.pattern not in (_CIRCLE, _RADIAL) and self.slice_mm > 0


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are of a raw export; the name does not matter."""
    return head.startswith(_MAGIC)


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the row of a volume or of a single B-scan; of B-scans that are not parallel one row each.

    Raises:
        DataError: The header has impossible sizes, or B-scans are missing.
    """
    scan = _header(path)
    row = {
        "status": "ok",
        "patient_id": scan.patient or None,
        "modality": "OPT",
        "ndim": 3 if scan.parallel else 2,
        "channels": 1,
        "rows": scan.rows,
        "columns": scan.columns,
        "slices": scan.scans if scan.parallel else None,
        "row_spacing_mm": scan.row_mm,
        "column_spacing_mm": scan.column_mm,
        "slice_spacing_mm": scan.slice_mm if scan.parallel else None,
        "bits": 32,
        "photometric": "MONOCHROME2",
        "manufacturer": "Heidelberg Engineering",
        "model": "Spectralis",
        "laterality": _EYES.get(scan.eye),
        "remarks": _remarks(path, scan),
    }
    frames = range(scan.scans) if scan.scans > 1 and not scan.parallel else [None]
    return [row | {"frame": frame} for frame in frames]


def read(path: Path, frame: int | None = None) -> Image:
    """Return float32 of v^(1/4), (1, slices, rows, columns), or (1, rows, columns) of one B-scan.

    Args:
        path: The file.
        frame: Number of a B-scan, from 0, where they are not parallel.

    Raises:
        DataError: It cannot be read, or there is no such B-scan.
    """
    scan = _header(path)
    if frame is not None and not 0 <= frame < scan.scans:
        raise DataError(f"There is no B-scan {frame}", where=path)
    chosen = range(scan.scans) if frame is None and scan.parallel else [frame or 0]
    values = np.empty((1, len(chosen), scan.rows, scan.columns), dtype=np.float32)
    with path.open("rb") as handle:
        for place, number in enumerate(chosen):
            handle.seek(scan.start + number * scan.step + scan.scan_header)
            stored = np.frombuffer(handle.read(4 * scan.rows * scan.columns), "<f4")
            values[0, place] = stored.reshape(scan.rows, scan.columns)
    invalid = ~((values >= 0) & (values < _INVALID))
    values[invalid] = 0
    values = np.sqrt(np.sqrt(values))
    remarks = _remarks(path, scan)
    if invalid.any():
        remarks.append(f"{int(invalid.sum())} pixels without a signal are set to 0")
    provenance = {"path": str(path), "frame": frame, "inverted": False, "rescale": "fourth root"}
    if frame is None and scan.parallel:
        return Image(values, (scan.slice_mm, scan.row_mm, scan.column_mm), None, None, provenance, remarks)
    return Image(values[:, 0], (scan.row_mm, scan.column_mm), None, None, provenance, remarks)


def _header(path: Path) -> _Scan:
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    if len(head) < _HEADER_BYTES:
        raise DataError(f"The file is truncated: it ends within the header, after {len(head)} bytes", where=path)
    _, columns, scans, rows, column_mm, slice_mm, row_mm, *rest = _FIXED.unpack_from(head)
    slo_columns, slo_rows, _, _, _, _, eye, _, pattern, scan_header, _, _, _, patient = rest
    if min(columns, scans, rows) < 1 or min(slo_columns, slo_rows) < 0 or scan_header < _PLACE.size:
        raise DataError(
            f"The header has impossible sizes: {scans} B-scans of {rows} x {columns} pixels, headers of {scan_header} "
            f"bytes, infrared picture {slo_rows} x {slo_columns}",
            where=path,
        )
    scan = _Scan(
        columns=columns,
        scans=scans,
        rows=rows,
        column_mm=_length(column_mm),
        slice_mm=_length(slice_mm),
        row_mm=_length(row_mm),
        start=_HEADER_BYTES + slo_columns * slo_rows,
        scan_header=scan_header,
        pattern=pattern,
        eye=_text(eye),
        patient=_text(patient),
    )
    missing = scan.start + scan.scans * scan.step - size
    if missing > 0:
        raise DataError(f"The file is truncated: {missing} bytes are missing of {scan.scans} B-scans", where=path)
    return scan


def _length(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else math.nan


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode("latin-1").strip()


def _remarks(path: Path, scan: _Scan) -> list[str]:
    remarks = [] if scan.eye in _EYES else ["the header's eye is neither OD nor OS: laterality unknown"]
    if scan.pattern == _CIRCLE:
        remarks.append("a circular scan: its columns run along a circle")
    if scan.scans == 1:
        return remarks
    if not scan.parallel:
        why = "a radial scan" if scan.pattern == _RADIAL else f"scan pattern {scan.pattern} without a distance"
        return [*remarks, f"{why}: B-scans are images of their own, not slices"]
    steps = _steps(path, scan)
    if np.any(np.abs(steps - scan.slice_mm) > _EVEN * scan.slice_mm):
        remarks.append(
            f"B-scans start {steps.min():.3f} to {steps.max():.3f} mm apart, the header says {scan.slice_mm:.3f} mm"
        )
    return remarks


def _steps(path: Path, scan: _Scan) -> np.ndarray:
    """Return the distances between the starts of neighbouring B-scans in mm, (scans - 1,), from their own headers."""
    starts = []
    with path.open("rb") as handle:
        for number in range(scan.scans):
            handle.seek(scan.start + number * scan.step)
            starts.append(_PLACE.unpack(handle.read(_PLACE.size))[:2])
    return np.linalg.norm(np.diff(starts, axis=0), axis=1)
