"""Packing: images of a manifest, one after the other, into shards, with the hash and the occupied part of each."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa

from medssl.data import readers
from medssl.data.apart import MEMORY, SECONDS, Lost, each, worth
from medssl.data.image import Image
from medssl.data.manifest import Manifest
from medssl.data.shards import Images, ShardWriter
from medssl.errors import DataError

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("pixel_hash", pa.string(), nullable=False),
        pa.field("stored_hash", pa.string(), nullable=False),
        pa.field("spacing_mm", pa.list_(pa.float64()), nullable=False),
        pa.field("occupied", pa.list_(pa.float64()), nullable=False),
    ]
)
_EVERY = 0.2  # seconds between events
_DARK = 0.05  # of full intensity: -900 HU in CT
_FEW = 0.002  # share of a plane's pixels, so that a table or a grain of noise is no tissue


@dataclass
class Packed:
    """What was written: rows of the index in the order of the images, and (sample_id, reason) of what was not.

    `remarks` counts what reading and preparing said of images beyond what the manifest says already.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)


def write_images(
    folder: Path,
    manifest: Manifest,
    prepare: Callable[[Image], np.ndarray],
    spacing: Callable[[Image, np.ndarray], tuple[float, ...]],
    before: Callable[[Image], Image],
    progress: Callable[[str, dict[str, Any]], None] | None,
) -> Packed:
    """Write every image that can be prepared into shards, (n, C, *S); decoders run apart.

    A shard begins as uint8 and becomes uint16 at its first image of more than 8 bits: then 8-bit values are
    multiplied by 257, which keeps 0 and full intensity exactly.
    """
    packed, total, told = Packed(), len(manifest), float("-inf")
    rows = [row for _, row in manifest.table.iterrows()]

    def prepared(row: pd.Series) -> tuple[np.ndarray, dict[str, Any]] | str:
        try:
            image = readers.read_image(manifest, row)
            about = {"sample_id": row["sample_id"], "pixel_hash": image.pixel_hash()}
            image = before(image)
            pixels = prepare(image)
        except DataError as error:
            return error.what  # without its path, which stands in the manifest only
        except OSError as error:
            return error.strerror or type(error).__name__
        said = "" if pd.isna(row["remarks"]) else row["remarks"]
        new = [remark for remark in dict.fromkeys(image.remarks) if remark not in said]
        about |= {"spacing_mm": list(spacing(image, pixels)), "occupied": occupied(pixels), "remarks": new}
        return pixels, about

    with (
        ShardWriter(folder) as shards,
        closing(each(prepared, rows, seconds=_seconds, memory=_memory(worth(total)))) as results,
    ):
        for done, (row, result) in enumerate(zip(rows, results, strict=True), start=1):
            if isinstance(result, (str, Lost)):
                packed.left_out.append((row["sample_id"], result if isinstance(result, str) else result.reason))
            else:
                shards.append(result[0])
                packed.remarks.update(result[1].pop("remarks"))
                packed.rows.append(result[1])
            if progress and (time.monotonic() - told > _EVERY or done == total):
                told = time.monotonic()
                progress("pack", {"done": done, "total": total, "left_out": len(packed.left_out)})
    if packed.rows:
        images = Images.open(folder)
        for place, about in enumerate(packed.rows):
            about["stored_hash"] = stored_hash(images.stored(place))
    return packed


def occupied(stored: np.ndarray) -> list[float]:
    """Return the part of a stored volume that is more than padding and air, first and last end along each axis.

    A plane counts where more than 0.2 % of its pixels are above 5 % of full intensity. Ends are normalised: -1 and 1
    are the outer edges. Images of planes are whole: their modalities cut dark borders where there are any.

    Args:
        stored: (C, *S) uint8 or uint16.
    """
    whole = [-1.0, 1.0] * (stored.ndim - 1)
    if stored.ndim != 4:
        return whole
    inside = (stored > _DARK * np.iinfo(stored.dtype).max).any(axis=0)
    ends = []
    for axis, n in enumerate(inside.shape):
        places = np.flatnonzero(inside.mean(axis=tuple({0, 1, 2} - {axis})) > _FEW)
        ends += [2 * places[0] / n - 1, 2 * (places[-1] + 1) / n - 1] if len(places) else [-1.0, 1.0]
    return [float(end) for end in ends]


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
