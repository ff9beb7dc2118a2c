"""Vendor OCT files written byte by byte, in the layouts that public programs read; no device made them."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np

SCANS, ROWS, COLUMNS = 3, 4, 5


def values(kind: str) -> np.ndarray:
    """(scans, rows, columns), every one different."""
    return (np.arange(SCANS * ROWS * COLUMNS) * 4 + 1).reshape(SCANS, ROWS, COLUMNS).astype(kind)


def topcon(path: Path, cube: np.ndarray | None = None, *, coded: bool = False, pattern: int = 2, eye: int = 1,
           kind: bytes = b"FDA", parameters: bytes = b"@PARAM_SCAN_04") -> Path:  # fmt: skip
    """Write an `.fda` or `.fds`."""
    cube = values("<u2") if cube is None else cube
    scans, rows, columns = cube.shape
    if coded:
        name, body = b"@IMG_JPEG", struct.pack("<B6I", pattern, 1, 1, columns, rows, scans, 1)
        for plane in cube:
            stream = imagecodecs.jpeg2k_encode(plane, codecformat="j2k", reversible=True)
            body += struct.pack("<I", len(stream)) + stream
    else:
        name, size = b"@IMG_SCAN_03", 2 * cube.size
        body = struct.pack("<B4IBI", pattern, columns, rows, 16, scans, 0, size) + cube.tobytes()
    before = bytes(12 if parameters.endswith(b"04") else 21)
    chunks = {
        b"@PATIENT_INFO_02": b"p-7".ljust(32, b"\0")
        + b"FIRST".ljust(32, b"\0")
        + b"LAST".ljust(32, b"\0")
        + bytes(200),
        b"@CAPTURE_INFO_02": bytes([eye, 0]) + bytes(116),
        b"@HW_INFO_03": b"3DOCT-2000".ljust(16, b"\0") + bytes(84),
        parameters: before + struct.pack("<3d", 6.0, 4.5, 3.5) + bytes(18),
        name: body,
    }
    data = b"FOCT" + kind + struct.pack("<2I", 1, 2)
    for title, content in chunks.items():
        data += bytes([len(title)]) + title + struct.pack("<I", len(content)) + content
    path.write_bytes(data + b"\0")
    return path


def zeiss(folder: Path, *, columns: int = 20, scans: int = 3, patient: str = "P12_") -> tuple[Path, np.ndarray]:
    """Write a raw cube; return its path and its bytes as (scans, 1024, columns)."""
    stored = np.random.default_rng(0).integers(0, 256, (scans, 1024, columns), dtype=np.uint8)
    path = folder / f"{patient}Macular Cube {columns}x{scans}_1-31-2020_10-11-12_OD_sn7_cube_z.img"
    path.write_bytes(stored.tobytes())
    return path, stored


def _as_float16u(stored: np.ndarray) -> np.ndarray:
    """What eyepy and OCT-Converter take 16 bits for: 6 bits of exponent, 10 of mantissa from low to high."""
    bits = (stored[..., None] >> np.arange(16)) & 1
    mantissa = (bits[..., :10] * 0.5 ** np.arange(1, 11)).sum(axis=-1)
    exponent = (bits[..., 10:] * 2 ** np.arange(6)).sum(axis=-1) - 63
    return (1 + mantissa) * 2.0**exponent


def e2e(path: Path, series: dict[int, dict] | None = None, *, padded: bool = False) -> tuple[Path, np.ndarray]:
    """Write an exchange file; return its path and the values of each B-scan.

    Args:
        path: The file.
        padded: End the chunk with an empty folder.
        series: By number: `pattern`, `eye`, and how many B-scans are `there` of those that are `said`.
    """
    stored = (50_000 + values("<u2") * 60).astype("<u2")
    parts: list[tuple[tuple[int, int, int, int], int, bytes]] = [
        (
            (1, -1, -1, -1),
            9,
            b"FIRST".ljust(31, b"\0") + b"LAST".ljust(66, b"\0") + bytes(4) + b"F" + b"p-7".ljust(29, b"\0"),
        )
    ]
    for number, about in (series or {1: {}}).items():
        place = (1, 1, number, -1)
        parts.append((place, 11, bytes(14) + about.get("eye", b"L") + bytes(12)))
        for scan in range(about.get("there", SCANS)):
            place = (1, 1, number, 2 * scan)
            meta = (
                struct.pack("<3I", 0, ROWS, COLUMNS) + struct.pack("<4f", -5, scan, 5, scan) + bytes(4 + 12 + 4 + 8 + 4)
            )
            said = about.get("said", SCANS)
            meta += struct.pack("<4I", COLUMNS, said, scan, about.get("pattern", 3))
            parts.append((place, 10004, meta.ljust(428, b"\0")))
            image = struct.pack("<5I", 2 * ROWS * COLUMNS, 35652097, ROWS * COLUMNS, ROWS, COLUMNS)
            parts.append((place, 1073741824, image + stored[scan].tobytes()))
    count = len(parts) + padded
    head = struct.pack("<12sI20x", b"CMDb", 100)
    head += struct.pack("<12sI20x4I", b"MDbMDir", 100, count, 88, 88, 0)
    chunk = struct.pack("<12sI20x4I", b"MDbDir", 100, count, 88, 0, 0)
    at = len(head) + len(chunk) + 44 * count
    folders, contents = b"", b""
    for place, kind, content in parts:
        where = struct.pack("<4i", *place)
        folders += struct.pack("<4I", len(head) + len(chunk) + len(folders), at, len(content), 0) + where
        folders += struct.pack("<2H2I", 0, 0, kind, 0)
        contents += struct.pack("<12s5I", b"MDbData", 0, 0, at, len(content), 0) + where
        contents += struct.pack("<2H2I", 0, 0, kind, 0) + content
        at += 60 + len(content)
    folders += bytes(44 * padded)
    path.write_bytes(head + chunk + folders + contents)
    return path, _as_float16u(stored)
