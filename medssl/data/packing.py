"""Packing: images of a manifest, one after the other, into one `.npy` file with the hash of each."""

import hashlib
import io
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa

from medssl import files
from medssl.data import readers
from medssl.data.apart import MEMORY, SECONDS, Lost, each, worth
from medssl.data.image import Image
from medssl.data.manifest import Manifest
from medssl.errors import DataError

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("pixel_hash", pa.string(), nullable=False),
        pa.field("stored_hash", pa.string(), nullable=False),
        pa.field("spacing_mm", pa.list_(pa.float64()), nullable=False),
    ]
)
_EVERY = 50


@dataclass
class Packed:
    """What was written: rows of the index in the order of the images, and (sample_id, reason) of what was not."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def write_images(
    path: Path,
    manifest: Manifest,
    prepare: Callable[[Image], np.ndarray],
    spacing: Callable[[Image, np.ndarray], tuple[float, ...]],
    progress: Callable[[str, dict[str, Any]], None] | None,
) -> Packed:
    """Write every image that can be prepared into a `.npy` file, (N, C, *S); decoders run apart.

    The file begins as uint8 and becomes uint16 at the first image of more than 8 bits: then 8-bit values are
    multiplied by 257, which keeps 0 and full intensity exactly.
    """
    packed, total = Packed(), len(manifest)
    rows = [row for _, row in manifest.table.iterrows()]

    def prepared(row: pd.Series) -> tuple[np.ndarray, dict[str, Any]] | str:
        try:
            image = readers.read_image(manifest, row)
            pixels = prepare(image)
        except DataError as error:
            return error.what  # without its path, which stands in the manifest only
        except OSError as error:
            return error.strerror or type(error).__name__
        about = {"sample_id": row["sample_id"], "pixel_hash": image.pixel_hash()}
        return pixels, about | {"spacing_mm": list(spacing(image, pixels))}

    with (
        path.open("wb+") as handle,
        closing(each(prepared, rows, seconds=_seconds, memory=_memory(worth(total)))) as results,
    ):
        array = _GrowingArray(handle)
        for done, (row, result) in enumerate(zip(rows, results, strict=True), start=1):
            if isinstance(result, (str, Lost)):
                packed.left_out.append((row["sample_id"], result if isinstance(result, str) else result.reason))
            else:
                array.append(result[0])
                packed.rows.append(result[1])
            if progress and (done % _EVERY == 0 or done == total):
                progress("pack", {"done": done, "total": total, "left_out": len(packed.left_out)})
        array.finish()
    if packed.rows:
        for image, about in zip(np.load(path, mmap_mode="r", allow_pickle=False), packed.rows):
            about["stored_hash"] = stored_hash(image)
    return packed


def _seconds(row: pd.Series) -> float:
    """Return the time that reading an image may take: that of a file, and a second more for each slice."""
    return SECONDS + (0 if pd.isna(row["slices"]) else int(row["slices"]))


def _memory(processes: int) -> int:
    """Return the bytes that a child may take: a volume is held several times over while it is prepared."""
    return max(MEMORY, psutil.virtual_memory().available // (2 * processes))


def stored_hash(image: np.ndarray) -> str:
    """Return 32 hexadecimal digits of the bytes of a stored image."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()


def stretched(image: Image, stored: np.ndarray, span: tuple[int, ...] | None = None) -> tuple[float, ...]:
    """Return the spacing of stored pixels in mm, NaN where it is unknown.

    Args:
        image: The source.
        stored: What was made of it.
        span: How many pixels of the source `stored` spans along each axis; all of them when None.
    """
    spacing = image.spacing_mm or (float("nan"),) * image.spatial_dims
    return tuple(float(mm) for mm in spacing * np.divide(span or image.array.shape[1:], stored.shape[1:]))


class _GrowingArray:
    """A `.npy` file of images that are appended, widened in place from uint8 to uint16 when one needs it."""

    def __init__(self, handle: BinaryIO) -> None:
        self.handle, self.count = handle, 0
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.shape: tuple[int, ...] = (0,)

    def append(self, pixels: np.ndarray) -> None:
        if self.count == 0:
            self.dtype, self.shape = pixels.dtype, pixels.shape
            self._write_header()
        if pixels.shape != self.shape or pixels.dtype not in (np.uint8, np.uint16):
            raise TypeError(f"prepare returned {pixels.dtype} {pixels.shape} after {self.dtype} {self.shape}")
        if pixels.dtype == np.uint16 and self.dtype == np.uint8:
            self._widen()
        files.write(self.handle, _wide(pixels).tobytes() if self.dtype == np.uint16 else pixels.tobytes())
        self.count += 1

    def finish(self) -> None:
        """Write the header again, now with the number of images; numpy leaves room for it to grow."""
        self._write_header()

    def _write_header(self) -> None:
        self.handle.seek(0)
        header = io.BytesIO()
        entry = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(header, entry)
        files.write(self.handle, header.getvalue())
        self.start = self.handle.tell()

    def _widen(self) -> None:
        """From the last image to the first, so that nothing is overwritten before it is read."""
        self.dtype = np.dtype(np.uint16)
        size = math.prod(self.shape)
        for place in reversed(range(self.count)):
            self.handle.seek(self.start + place * size)
            narrow = np.frombuffer(self.handle.read(size), np.uint8)
            self.handle.seek(self.start + 2 * place * size)
            files.write(self.handle, _wide(narrow).tobytes())
        self.handle.seek(self.start + 2 * self.count * size)


def _wide(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * np.uint16(257)
