"""Frames as DCMTK shows them, turned back into values.

A linear window as wide as the output has steps of one: what DCMTK writes is then the value itself, less `low`.
"""

import subprocess
from pathlib import Path

import numpy as np

TOOLS = ("dcmj2pnm", "dcml2pnm")  # JPEG, RLE and uncompressed; JPEG-LS


def frames(
    path: Path,
    wanted: list[int],
    low: float,
    out: Path,
    *,
    bits: int = 16,
    stored: bool = False,
    inverted: bool = False,
) -> list[np.ndarray] | None:
    """Return frames, or None where DCMTK refuses one.

    They are (rows, columns) in units of the modality rescale, or (rows, columns, 3) as shares of full intensity.

    Args:
        path: A DICOM file.
        wanted: Numbers of frames, from 0.
        low: Value that is written as 0.
        out: A folder for DCMTK's files.
        bits: Of the window.
        inverted: It shows the frames inverted (MONOCHROME1).
        stored: Ask for stored values: it knows no rescale of a frame's own.
    """
    guard = -0.25 if inverted else 0.25  # it cuts off: a quarter makes sure that 4.999 is 5
    window = ["+Ww", str(low + 2 ** (bits - 1) - guard), str(2**bits)]
    options = ["-O", "-S", "+opn", str(bits), *window, *(["-M"] if stored else [])]
    return next((found for tool in TOOLS if (found := _by(tool, options, path, wanted, low, out)) is not None), None)


def _by(tool: str, options: list[str], path: Path, wanted: list[int], low: float, out: Path) -> list[np.ndarray] | None:
    result = []
    for frame in wanted:
        target = out / "frame.pnm"
        target.unlink(missing_ok=True)
        command = [tool, *options, "+F", str(frame + 1), str(path), str(target)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode or not target.is_file():
            return None
        result.append(_pnm(target, low))
    return result


def _pnm(path: Path, low: float) -> np.ndarray:
    """Return the values of an ASCII PGM, plus `low`, or the colours of a PPM as shares of full intensity."""
    kind, columns, rows, most, text = path.read_bytes().split(maxsplit=4)
    values = np.fromstring(text.decode("ascii"), sep=" ")
    if kind == b"P3":
        return values.reshape(int(rows), int(columns), 3) / int(most)
    return values.reshape(int(rows), int(columns)) + low
