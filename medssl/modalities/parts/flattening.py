"""Flattening of a retinal B-scan: its brightest layer becomes level, so that depth below it is a row.

The layer at the retinal pigment epithelium is the brightest of most A-scans. A parabola is fitted to its place, again
and again without the A-scans that lie far off it, and every A-scan is moved up or down by the parabola's distance from
its mean (Srinivasan et al., "Fully automated detection of diabetic macular edema and dry age-related macular
degeneration from optical coherence tomography images", Biomedical Optics Express 2014, flatten by a quadratic as well).
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medssl.data.image import Image

_ROUNDS = 5
_LEAST = 0.3  # of the A-scans have to lie near the parabola
_REMARK = "no bright layer lies along a parabola: this B-scan was not flattened"


def flattened(image: Image) -> Image:
    """Return a B-scan with its brightest layer level; as it is, with a remark, where no parabola fits.

    Args:
        image: (C, rows, columns), vitreous above.
    """
    plane = image.array[:3].max(axis=0).astype(np.float32)
    curve = layer(plane)
    if curve is None:
        image.remarks.append(_REMARK)
        return image
    moved = np.rint(curve - curve.mean()).astype(int)
    rows = np.clip(np.arange(len(plane))[:, None] + moved, 0, len(plane) - 1)
    return replace(image, array=np.take_along_axis(image.array, rows[None], axis=1), affine=None)


def layer(plane: np.ndarray) -> np.ndarray | None:
    """Return the row of the brightest layer in each column as a parabola, (columns,); None where none fits.

    Args:
        plane: (rows, columns) float.
    """
    rows, columns = plane.shape
    smooth = ndimage.gaussian_filter(plane, (max(1.0, rows / 100), max(1.0, columns / 100)))
    found, across = smooth.argmax(axis=0).astype(float), np.linspace(-1, 1, columns)
    near = np.ones(columns, dtype=bool)
    for _ in range(_ROUNDS):
        fit = np.polynomial.Polynomial.fit(across[near], found[near], min(2, near.sum() - 1), domain=(-1, 1))
        off = np.abs(found - fit(across))
        near = off <= max(0.03 * rows, 2 * float(np.median(off)))
        close = off <= 0.03 * rows
    return np.asarray(fit(across)) if close.mean() >= _LEAST else None
