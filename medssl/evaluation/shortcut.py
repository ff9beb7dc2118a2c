"""What can be told of an image without looking at its content: the `shortcut` and `pixels` arms.

A label that follows from brightness, picture size or device is answered by these numbers as well as by any network.
On one public set of chest X-rays the file's bytes per pixel alone ranks pneumonia with an AUROC of 0.83, so a learnt
result is compared with this, not with 0.5.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from medssl.data.shards import Images

HISTOGRAM_BINS = 32
PIXELS = {2: 16, 3: 8}  # edge of the reduced image or volume
_BORDER = 0.05  # of each edge, at least one pixel
_DEVICE = ("manufacturer", "model")


def pixels(images: np.ndarray | Images, rows: np.ndarray, levels: int) -> np.ndarray:
    """Return each image reduced to 16 x 16 (a volume to 8 x 8 x 8) by averaging, as one row, (N, C 16 16) in [0, 1].

    Args:
        images: Stored images, (M, C, *spatial) uint8 or uint16.
        rows: (N,) places in `images`.
        levels: The number that stands for 1.
    """
    pool = functional.adaptive_avg_pool2d if images.ndim == 4 else functional.adaptive_avg_pool3d
    edge = PIXELS[images.ndim - 2]
    return np.stack([pool(torch.from_numpy(_unit(images[r], levels)), edge).flatten().numpy() for r in rows])


def statistics(
    images: np.ndarray | Images, rows: np.ndarray, levels: int, table: pd.DataFrame, devices: Sequence[str]
) -> pd.DataFrame:
    """Return the shortcut features of each image, one named column each; an unknown is a column of its own.

    Brightness (mean, 5th and 95th percentile), contrast (standard deviation), a histogram of 32 bins, the mean of
    each border (5 % of the edge), rows, columns and aspect of the source, bytes per pixel, and the device.

    Bytes per pixel are those of the file, compressed as it came. A file of several frames says nothing of one of
    them: there the stored frame is compressed (deflate) and counted, which shows the same texture.

    Args:
        images: Stored images, (M, C, *spatial).
        rows: (N,) places in `images`.
        levels: The number that stands for 1.
        table: (N) rows of the manifest.
        devices: Names of known devices, see `device_names`; another is none of them.
    """
    tone = pd.DataFrame([_tone(_unit(images[r], levels)) for r in rows])
    frames = table["frame"].notna().to_numpy(bool)
    stored = [_deflated(images[r]) if framed else np.nan for r, framed in zip(rows, frames, strict=True)]
    height, width = (table[name].astype("Float64").to_numpy(float, na_value=np.nan) for name in ("rows", "columns"))
    volume = height * width * table["slices"].astype("Float64").fillna(1).to_numpy(float)
    file_bytes = table["file_bytes"].astype("Float64").to_numpy(float, na_value=np.nan)
    source = {
        "rows": height,
        "columns": width,
        "aspect": width / height,
        "bytes_per_pixel": np.where(frames, stored, file_bytes / volume),
    }
    device = device_names(table)
    known = {f"device={name}": (device == name).astype(float) for name in devices}
    return pd.concat([tone, _with_unknowns(source), pd.DataFrame(known)], axis=1)


def device_names(table: pd.DataFrame) -> np.ndarray:
    """Return "manufacturer model" of each row, with what is known of it; "" where nothing is."""
    parts = [table[name].fillna("").astype(str).to_numpy(dtype=object) for name in _DEVICE]
    return np.array([" ".join(part for part in row if part) for row in zip(*parts, strict=True)], dtype=object)


def _unit(image: np.ndarray, levels: int) -> np.ndarray:
    return np.asarray(image, np.float32) / levels


def _tone(image: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(image, (5, 95))
    counts = np.histogram(image, HISTOGRAM_BINS, (0, 1))[0] / image.size
    result = {"mean": float(image.mean()), "std": float(image.std()), "p5": float(low), "p95": float(high)}
    result |= {f"histogram_{b}": float(share) for b, share in enumerate(counts)}
    for axis in range(1, image.ndim):
        width = max(1, round(_BORDER * image.shape[axis]))
        result[f"border_{axis}_first"] = float(np.take(image, range(width), axis).mean())
        result[f"border_{axis}_last"] = float(np.take(image, range(-width, 0), axis).mean())
    return result


def _deflated(image: np.ndarray) -> float:
    """Return compressed bytes per pixel, rows differenced as PNG's filters do so that texture counts, not level."""
    rows = np.diff(np.asarray(image), axis=-1, prepend=np.zeros_like(image[..., :1]))
    return len(zlib.compress(np.ascontiguousarray(rows).tobytes(), 6)) / image[0].size


def _with_unknowns(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the columns with 0 for an unknown, and beside each that has any a column that says so."""
    result = {}
    for name, values in columns.items():
        unknown = ~np.isfinite(values)
        result[name] = np.where(unknown, 0.0, values)
        result[f"{name}_unknown"] = unknown.astype(float)
    return pd.DataFrame(result)
