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
            header = _Header(path, wanted)
        except DataError as error:
            refusal = str(error)
    if header is None:
        readable = [*said, *(["dcmtk"] if dcmtk.frames(path, wanted, 0, out) else [])]
        return Verdict(path, refusal, [], dict.fromkeys(readable, "reads it"))
    ours = np.stack([np.moveaxis(image.array, 0, -1) for image in images])
    said |= _by_dcmtk(path, wanted, header, header.straight(ours), out)
    agreeing, differing = [], {}
    for name, theirs in said.items():
        if header.palette and name not in ("sitk", "dcmtk"):
            continue  # plug-ins give numbers of entries
        problem = _difference(name, header, ours, theirs)
        agreeing += [] if problem else [name]
        differing |= {name: problem} if problem else {}
    return Verdict(path, None, agreeing, differing)


def _by_dcmtk(path: Path, wanted: list[int], header: "_Header", straight: np.ndarray, out: Path) -> dict:
    """Return {"dcmtk": frames}, or {} where it refuses; MONOCHROME1, which it shows inverted, is turned back."""
    low = float(np.floor(header.to_stored(straight).min() if header.per_frame else straight.min()))
    bits = 16 if straight.max() - straight.min() < 2**16 - 1 else 32
    inverted = header.photometric == "MONOCHROME1"
    shown = dcmtk.frames(path, wanted, low, out, bits=bits, stored=header.per_frame, inverted=inverted)
    if shown is None:
        return {}
    values = np.stack(shown)
    if inverted and values.ndim == 3:
        values = 2 * low + 2**bits - 1 - values
    return {"dcmtk": header.to_real(values) if header.per_frame else values}


class _Header:
    """What the rules need, taken from the header without our reader."""

    def __init__(self, path: Path, wanted: list[int]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            lines = [_line(dataset, frame) for frame in wanted]
            self.per_frame = "RescaleSlope" not in dataset and any(line != (1, 0) for line in lines)
            self.slopes, self.intercepts = np.array(lines).T.reshape(2, -1, 1, 1)
            self.syntax = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", ""))
            self.photometric = dataset.get("PhotometricInterpretation")
            self.palette = self.photometric == "PALETTE COLOR"
            bits, signed = dataset.BitsStored, dataset.PixelRepresentation
        self.ends = (2 * -(2 ** (bits - 1)) if signed else 0) + 2**bits - 1  # lowest and highest stored value

    def straight(self, ours: np.ndarray) -> np.ndarray:
        """Return our values without the inversion of MONOCHROME1, (frames, rows, columns, C) float64."""
        if self.photometric != "MONOCHROME1":
            return ours.astype(float)
        return (self.slopes * self.ends + 2 * self.intercepts)[..., None] - ours.astype(float)

    def to_real(self, stored: np.ndarray) -> np.ndarray:
        return stored * self.slopes + self.intercepts

    def to_stored(self, straight: np.ndarray) -> np.ndarray:
        return np.rint((straight[..., 0] - self.intercepts) / self.slopes)


def _line(dataset: pydicom.Dataset, frame: int) -> tuple[float, float]:
    """Return slope and intercept of a frame."""
    groups = [dataset]
    for name, place in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        items = dataset.get(name) or []
        inner = items[place].get("PixelValueTransformationSequence") if place < len(items) else None
        groups += [inner[0]] if inner else []
    return float(groups[-1].get("RescaleSlope") or 1), float(groups[-1].get("RescaleIntercept") or 0)


def _difference(name: str, header: _Header, ours: np.ndarray, theirs: np.ndarray) -> str | None:
    """Return by how much a witness differs beyond the rules, or None."""
    if ours.shape[:3] != theirs.shape[:3]:
        return f"shape {theirs.shape} instead of {ours.shape}"
    if theirs.ndim == 4 and theirs.shape[-1] == 3:
        full = 255 if ours.dtype == np.uint8 else 2.0**32 - 1 if ours.dtype == np.int64 else 65535
        mine = np.broadcast_to(ours / full, theirs.shape)
        shares = theirs if name == "dcmtk" else theirs / np.iinfo(theirs.dtype).max
        off, allowed = np.abs(mine - shares).max() * 255, _colour_steps(name, header)
        return None if off <= allowed else f"by {off:.3g} of 255"
    theirs = theirs.reshape(ours.shape[:3]).astype(float)
    theirs = theirs if name in ("sitk", "dcmtk") else header.to_real(theirs)
    mine = ours[..., 0].astype(float) if name == "sitk" else header.straight(ours)[..., 0]
    off = np.abs(mine - theirs).max()
    allowed = _steps(name, header) + 1e-6 * np.abs(mine).max() * (ours.dtype == np.float32)
    return None if off <= allowed else f"by {off:.3g}"


def _steps(name: str, header: _Header) -> float:
    """Return what a witness of grey values may differ by, in units of the rescale."""
    if name == "dcmtk" and not header.per_frame and (header.slopes % 1).any():
        return 1.0  # it keeps whole numbers
    if header.syntax in LOSSY_JPEG:
        return float(
            np.abs(header.slopes).max()
        )  # decoders round the cosine transform differently (ISO 10918-2 allows one)
    return 0.0


def _colour_steps(name: str, header: _Header) -> float:
    """Return what a witness of colours may differ by, of 255."""
    if name == "dcmtk" and header.photometric in ("YBR_FULL", "YBR_FULL_422"):
        return 2.001  # it converts by tables of whole numbers
    if name == "dcmtk" and header.palette:
        return 1.0  # white that is written as 0xFF00 is 254.008 there, and 255 for SimpleITK and us
    return 1e-6
