"""A built-in cohort of synthetic retinal B-scans on two devices, for demonstrations and tests. No patient is real.

Each image is a function of (seed, device, patient, frame). The parameters were set with models trained from scratch,
pixels and trivial statistics alone, and then frozen (`docs/phantom.md`); a change of any picture changes `VERSION`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from medssl import files
from medssl.chance import Chance, key
from medssl.data.phantom.parts import anatomy, lesions
from medssl.data.phantom.parts.device import DEVICES, Device, acquire, reflectivity
from medssl.data.phantom.parts.plan import FRAMES, Bscan, plan
from medssl.data.writers import ophthalmic
from medssl.errors import DataError, SettingsError

VERSION = "5"
"""Changes with every picture: results on different versions cannot be compared."""

TITLE = "Synthetic retinal OCT B-scans with drusen and fluid on two devices"
PATIENTS = 210

Progress = Callable[[str, dict[str, Any]], None]
_SPACING_MM = 0.45
_MARKER = "cohort.json"
_AT_ONCE = 8


@dataclass(frozen=True)
class Cohort:
    """Where a cohort lies.

    Attributes:
        folder: The folder that holds one folder a device.
        sites: Folder of each device: "device-a" (in distribution) and "device-b" (out of it).
        labels: Label table of each device, a CSV file with one row a B-scan.
        version: `VERSION` of the pictures.
    """

    folder: Path
    sites: dict[str, Path]
    labels: dict[str, Path]
    version: str


def generate(
    out: Path,
    *,
    patients: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Cohort:
    """Write the cohort as multi-frame DICOM, one folder a device, or find it there already.

    Args:
        out: The folder to hold it.
        patients: Patients of device-a, 1 to 9999 (210 unless given); device-b has three for every seven of them.
        seed: Another seed is another cohort.
        progress: Called with "phantom" and {"done", "total", "site"} after every few patients.

    Raises:
        SettingsError: `patients` is out of range.
        DataError: `out` holds something else under the name of a device.
        StorageError: It cannot be written.
    """
    out = Path(out)
    counts = _counts(PATIENTS if patients is None else patients)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire()
    try:
        _write_sites(out, counts, seed, progress)
    finally:
        lock.release()
    sites = {name: out / name for name in counts}
    return Cohort(out, sites, {name: site / "labels.csv" for name, site in sites.items()}, VERSION)


def draw_bscans(device: str, bscans: list[Bscan], seed: int = 0) -> np.ndarray:
    """Draw B-scans of one device, (B, rows, columns) uint8; each depends on its own row of the plan only.

    Example:
        >>> draw_bscans("device-a", plan(0, "device-a", patients=1)).shape
        (4, 192, 256)
    """
    optics = DEVICES[device]
    patient = Chance([key(seed, device, "patient", b.patient) for b in bscans])
    frame = Chance([key(seed, device, "patient", b.patient, "frame", b.frame) for b in bscans])
    y = np.array([_offset_mm(b.frame) for b in bscans]) + patient.spawn("fixation").normal(0.0, 0.2)
    nasal = np.array([1.0 if b.laterality == "R" else -1.0 for b in bscans])
    labels = np.array([b.label for b in bscans])
    retina = anatomy.draw(patient, frame, optics.x, y, nasal, depth_um=optics.rows * optics.axial_um)
    lesions.add_drusen(retina, frame.spawn("drusen"), labels == "drusen")
    cysts = lesions.add_fluid(retina, frame.spawn("fluid"), labels == "fluid")
    return acquire(optics, reflectivity(optics, retina, cysts), patient, frame)


def _counts(patients: int) -> dict[str, int]:
    if not 1 <= patients <= 9999:
        raise SettingsError(f"Patients must be 1 to 9999, but got {patients}", where="patients")
    return {"device-a": patients, "device-b": max(1, round(patients * 3 / 7))}


def _write_sites(out: Path, counts: dict[str, int], seed: int, progress: Progress | None) -> None:
    total, done = sum(counts.values()), 0
    for name, count in counts.items():
        marker = {"phantom": "oct", "version": VERSION, "seed": seed, "patients": count, "synthetic": True}
        if not _is_there(out / name, marker):
            with files.atomic_folder(out / name) as folder:
                for written in _write_site(folder, DEVICES[name], count, seed):
                    _tell(progress, done=done + written, total=total, site=name)
                files.write_json(folder / _MARKER, marker)
        done += count


def _is_there(folder: Path, marker: dict[str, Any]) -> bool:
    """Say whether this very cohort is there; another cohort may be replaced, anything else may not."""
    if not folder.exists():
        return False
    if not (folder / _MARKER).is_file():
        raise DataError("The folder exists and is no phantom", where=folder, fix="Choose another folder")
    return files.read_json(folder / _MARKER) == marker and (folder / files.MANIFEST).is_file()


def _write_site(folder: Path, device: Device, patients: int, seed: int) -> Iterator[int]:
    """Write the files of one device and its labels; yield how many patients are written."""
    scheme = plan(seed, device.name, patients)
    for start in range(0, len(scheme), _AT_ONCE * FRAMES):
        chunk = scheme[start : start + _AT_ONCE * FRAMES]
        pictures = iter(draw_bscans(device.name, chunk, seed))
        for _, frames in groupby(chunk, key=lambda b: b.patient):
            _write_patient(folder, device, list(frames), pictures, seed)
        yield chunk[-1].patient + 1
    _labels(device, scheme).to_csv(folder / "labels.csv", index=False)


def _write_patient(
    folder: Path, device: Device, frames: list[Bscan], pictures: Iterator[np.ndarray], seed: int
) -> None:
    first = frames[0]
    volume = ophthalmic.Volume(
        frames=np.stack([next(pictures) for _ in frames]),
        spacing_mm=(_SPACING_MM, device.axial_um / 1000, device.width_mm / device.columns),
        patient_id=_patient_id(device, first.patient),
        laterality=first.laterality,
        manufacturer="medssl phantom",
        model=device.name,
        institution=f"Synthetic {device.name}",
        description=f"Synthetic B-scans, version {VERSION}, seed {seed}",
        entropy=("medssl phantom oct", VERSION, str(seed), device.name, str(first.patient)),
    )
    ophthalmic.write(folder / f"{volume.patient_id}.dcm", volume)


def _labels(device: Device, scheme: list[Bscan]) -> pd.DataFrame:
    rows = [
        {
            "file": f"{_patient_id(device, b.patient)}.dcm",
            "frame": b.frame,
            "label": b.label,
            "disease": "no" if b.label == "normal" else "yes",
            "patient_id": _patient_id(device, b.patient),
            "site": device.name,
            "split": "test" if device.name == "device-b" else b.split,
        }
        for b in scheme
    ]
    return pd.DataFrame(rows)


def _patient_id(device: Device, patient: int) -> str:
    return f"{device.prefix}{patient + 1:04d}"


def _offset_mm(frame: int) -> float:
    return (frame - (FRAMES - 1) / 2) * _SPACING_MM


def _tell(progress: Progress | None, **event: Any) -> None:
    if progress is not None:
        progress("phantom", event)
