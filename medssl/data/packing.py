"""Packing: images of a manifest, one after the other, into one `.npy` file with the hash of each."""

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from medssl import files
from medssl.data import readers
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
    progress: Callable[[str, dict[str, Any]], None] | None,
    span: Callable[[Image], tuple[int, ...]] | None = None,
) -> Packed:
    """Write every image that can be prepared into a `.npy` file, (N, C, *S).

    The file begins as uint8 and becomes uint16 at the first image of more than 8 bits: then 8-bit values are
    multiplied by 257, which keeps 0 and full intensity exactly.
    """
    packed, total = Packed(), len(manifest)
    with path.open("wb+") as handle:
        array = _GrowingArray(handle)
        for done, (_, row) in enumerate(manifest.table.iterrows(), start=1):
            try:
                image = readers.read_image(manifest, row)
                pixels = prepare(image)
            except (DataError, OSError) as error:
                packed.left_out.append((row["sample_id"], str(error)))
            else:
                array.append(pixels)
                packed.rows.append(_about(row["sample_id"], image, pixels, span))
            if progress and (done % _EVERY == 0 or done == total):
                progress("pack", {"done": done, "total": total, "left_out": len(packed.left_out)})
        array.finish()
    if packed.rows:
        for image, about in zip(np.load(path, mmap_mode="r", allow_pickle=False), packed.rows):
            about["stored_hash"] = stored_hash(image)
    return packed


def stored_hash(image: np.ndarray) -> str:
    """Return 32 hexadecimal digits of the bytes of a stored image."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()


def _about(
    sample_id: str, image: Image, pixels: np.ndarray, span: Callable[[Image], tuple[int, ...]] | None
) -> dict[str, Any]:
    """Return the index row; the source pixels that it spans, shared among the stored ones, give their spacing."""
    spacing = image.spacing_mm or (float("nan"),) * image.spatial_dims
    spanned = image.array.shape[1:] if span is None or image.spacing_mm is None else span(image)
    factors = np.divide(spanned, pixels.shape[1:])
    return {
        "sample_id": sample_id,
        "pixel_hash": image.pixel_hash(),
        "spacing_mm": [float(mm * factor) for mm, factor in zip(spacing, factors)],
    }


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
