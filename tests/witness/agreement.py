"""What our reader and the witnesses say of one file, and by how much they differ.

Rules say what difference a kind of file may have with a kind of witness, and why; everything beyond is a disagreement
that a test must explain by name.
"""

import json
import subprocess
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom

from medssl.data.readers.parts import dicom_pixels
from medssl.data.scan import describe
from medssl.errors import DataError
from tests.witness import dcmtk

SCRIPT = Path(__file__).with_name("second_readers.py")
LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")


class Verdict(NamedTuple):
    """Of one file.

    Attributes:
        path: The file.
        refusal: Why we do not read it; None where we do.
        agreeing: Witnesses that say the same, within the rules.
        differing: Witnesses that do not, and by how much.
    """

    path: Path
    refusal: str | None
    agreeing: list[str]
    differing: dict[str, str]


def judge(paths: list[Path], python: str, out: Path) -> list[Verdict]:
    """Return the verdicts on DICOM files; those that we skip (no images) are left out.

    Args:
        paths: The files.
        python: The interpreter that has the witnesses.
        out: An empty folder.
    """
    rows = {path: describe(path) for path in paths}
    looked = [(path, _frames(found)) for path, found in rows.items() if found[0]["status"] != "skipped"]
    jobs = [[number, str(path), wanted] for number, (path, wanted) in enumerate(looked)]
    (out / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    subprocess.run([python, str(SCRIPT), str(out / "jobs.json"), str(out)], check=True, capture_output=True)
    found = []
    for number, (path, wanted) in enumerate(looked):
        said = {file.name.split(".")[1]: np.load(file) for file in sorted(out.glob(f"{number}.*.npy"))}
        found.append(_verdict(path, rows[path], wanted, said, out))
    return found


def _frames(rows: list[dict]) -> list[int]:
    """Return the frames that are looked at: the first, the middle and the last."""
    count = rows[0].get("slices") or len(rows)
    return sorted({0, count // 2, count - 1})


def _verdict(path: Path, rows: list[dict], wanted: list[int], said: dict[str, np.ndarray], out: Path) -> Verdict:
    header, refusal = None, rows[0].get("reason")
    if not refusal:
        several = len(rows) > 1 or bool(rows[0].get("slices"))
        try:
            images = [dicom_pixels.read_plane(path, frame if several else None) for frame in wanted]
            header = _Header(path)
        except DataError as error:
            refusal = str(error)
    if header is None:
        readable = [*said, *(["dcmtk"] if dcmtk.frames(path, wanted, 0, out) else [])]
        return Verdict(path, refusal, [], dict.fromkeys(readable, "reads it"))
    ours = np.stack([np.moveaxis(image.array, 0, -1) for image in images])
    inverted = images[0].provenance["inverted"]
    straight = header.total - ours.astype(float) if inverted else ours.astype(float)
    low = float(np.floor(straight.min()))
    bits = 16 if straight.max() - low < 2**16 else 32
    shown = dcmtk.frames(path, wanted, low, out, bits=bits)
    if shown is not None:
        values = np.stack(shown)
        said["dcmtk"] = 2 * low + 2**bits - 1 - values if inverted and values.ndim == 3 else values
    agreeing, differing = [], {}
    for name, theirs in said.items():
        if header.palette and name not in ("sitk", "dcmtk"):
            continue  # plug-ins give numbers of entries
        problem = _difference(name, header, straight, ours, theirs)
        agreeing += [] if problem else [name]
        differing |= {name: problem} if problem else {}
    return Verdict(path, None, agreeing, differing)


class _Header:
    """What the rules need, taken from the header without our reader."""

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            self.slope, self.intercept = (
                float(dataset.get("RescaleSlope") or 1),
                float(dataset.get("RescaleIntercept") or 0),
            )
            groups = dataset.get("PerFrameFunctionalGroupsSequence") or dataset.get("SharedFunctionalGroupsSequence")
            self.per_frame = bool(groups) and any("PixelValueTransformationSequence" in group for group in groups)
            self.table = "ModalityLUTSequence" in dataset
            meta = getattr(dataset, "file_meta", {})
            self.syntax = str(meta.get("TransferSyntaxUID", ""))
            self.photometric = dataset.get("PhotometricInterpretation")
            self.palette = self.photometric == "PALETTE COLOR"
            bits, signed = dataset.BitsStored, dataset.PixelRepresentation
            low = -(2 ** (bits - 1)) if signed else 0
            self.total = self.slope * (2 * low + 2**bits - 1) + 2 * self.intercept


def _difference(name: str, header: _Header, straight: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> str | None:
    """Return by how much a witness differs beyond the rules, or None."""
    theirs = theirs[..., None] if theirs.ndim == 3 else theirs
    if ours.shape[:3] != theirs.shape[:3]:
        return f"shape {theirs.shape} instead of {ours.shape}"
    if theirs.shape[-1] == 3:
        full = 255 if ours.dtype == np.uint8 else 2.0**32 - 1 if ours.dtype == np.int64 else 65535
        mine = np.broadcast_to(ours / full, theirs.shape)
        shares = theirs if name == "dcmtk" else theirs / np.iinfo(theirs.dtype).max
        off, allowed = np.abs(mine - shares).max() * 255, _colour_steps(name, header)
        return None if off <= allowed else f"by {off:.3g} of 255"
    if name not in ("sitk", "dcmtk"):
        theirs = theirs * header.slope + header.intercept
    off = np.abs(straight - theirs).max() if name != "sitk" else np.abs(ours - theirs.astype(float)).max()
    allowed = _steps(name, header) + 1e-6 * np.abs(straight).max() * (ours.dtype == np.float32)
    return None if off <= allowed else f"by {off:.3g}"


def _steps(name: str, header: _Header) -> float:
    """Return what a witness of grey values may differ by, in units of the rescale."""
    if name == "dcmtk" and not float(header.slope).is_integer():
        return 1.0  # it keeps whole numbers
    if header.syntax in LOSSY_JPEG:
        return abs(header.slope)  # decoders round the cosine transform differently (ISO 10918-2 allows one)
    return 0.0


def _colour_steps(name: str, header: _Header) -> float:
    """Return what a witness of colours may differ by, of 255."""
    if name == "dcmtk" and header.photometric in ("YBR_FULL", "YBR_FULL_422"):
        return 2.001  # it converts by tables of whole numbers
    if name == "dcmtk" and header.palette:
        return 1.0  # white that is written as 0xFF00 is 254.008 there, and 255 for SimpleITK and us
    return 1e-6
