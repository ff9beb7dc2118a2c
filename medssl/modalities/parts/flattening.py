"""Flattening of a retinal B-scan: its brightest layer becomes level, so that depth below it is a row.

The layer at the retinal pigment epithelium is the brightest of most A-scans. A parabola is fitted to its place,
A-scans that lie far off it left aside, and every A-scan is moved up or down by the parabola's distance from its mean.
Srinivasan et al., "Fully automated detection of diabetic macular edema and dry age-related macular degeneration from
optical coherence tomography images", Biomedical Optics Express 2014, flatten by a quadratic as well.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medssl.data.image import Image

_TRIPLES = 600
_NEAR = 0.025  # of the rows: so near lies an A-scan that agrees
_LEAST = 0.4  # of the A-scans have to agree
_WHITE, _WIDE = 0.94, 0.0005  # of the brightest value; of the pixels
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

    Of parabolas through three A-scans each, the one that most A-scans lie near is taken, and fitted to those (RANSAC,
    Fischler and Bolles 1981; the triples are always the same).

    Args:
        plane: (rows, columns) float.
    """
    rows, columns = plane.shape
    smooth = ndimage.gaussian_filter(_without_frame(plane), (max(1.0, rows / 100), max(1.0, columns / 100)))
    found, across = smooth.argmax(axis=0).astype(float), np.linspace(-1, 1, columns)
    powers = np.stack([np.ones(columns), across, across**2], axis=1)
    triples = np.sort(np.random.default_rng(0).integers(0, columns, (_TRIPLES, 3)), axis=1)
    triples = triples[(np.diff(triples, axis=1) > columns // 20).all(axis=1)]
    if not len(triples):
        return None
    curves = np.linalg.solve(powers[triples], found[triples][..., None])[..., 0] @ powers.T
    inside = (curves.min(axis=1) >= 0) & (curves.max(axis=1) < rows)
    votes = (np.abs(curves - found) <= _NEAR * rows).sum(axis=1) * inside
    near = np.abs(curves[votes.argmax()] - found) <= _NEAR * rows
    if votes.max() < _LEAST * columns:
        return None
    return np.asarray(powers @ np.linalg.lstsq(powers[near], found[near], rcond=None)[0])


def _without_frame(plane: np.ndarray) -> np.ndarray:
    """Return the plane with white fill at its border dark: turned scans have white corners that outshine any layer."""
    white, _ = ndimage.label(plane >= _WHITE * plane.max())
    border = np.unique(np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]]))
    wide = np.flatnonzero(np.bincount(white.ravel()) >= _WIDE * plane.size)
    fill = np.isin(white, np.intersect1d(border[border > 0], wide))
    fill = ndimage.binary_dilation(fill, iterations=3 + len(plane) // 60)  # its blurred edge, too
    return np.where(fill, plane.min(), plane)
