"""From a decoded volume to a stored one: one orientation, one spacing along all axes, a cube."""

from collections.abc import Callable

import nibabel as nib
import numpy as np
import torch
from torch.nn import functional

from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.monai_transforms import SHARE

_DISPLAY = nib.orientations.axcodes2ornt(("S", "P", "L"))  # as an axial slice is looked at: anterior up, right at left


def cube(image: Image, size: int, window: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return a volume as one grey channel in a cube of size x size x size voxels, uint16.

    Axes run to superior, posterior and left where the file says how the patient lay, as axial slices are looked at;
    else they stay as stored. The whole field of view is kept with its proportions: its longest side fills the cube,
    the rest is 0, and so is padding. Shrinking averages over the voxels that are skipped; growing is trilinear.

    Args:
        image: (1, slices, rows, columns).
        size: Side of the result in voxels.
        window: Maps the values (float32) to 0 (nothing, as air) to 1; not called where they are such shares already.

    Raises:
        DataError: It is a plane, has several channels, is empty, or its spacing is unknown or its values are not
            finite.
    """
    require_volume(image)
    values, spacing = _oriented(image)
    inside = _extent(values.shape, spacing, size)
    values = values.astype(np.float32)
    shares = values if image.units == SHARE else np.asarray(window(values), dtype=np.float32)
    shares = np.where(values > image.floor, shares, np.float32(0)) if image.padding else shares
    windowed = torch.from_numpy(np.ascontiguousarray(shares))[None, None]
    a, b, c = (min(now, then) for now, then in zip(values.shape, inside))
    resized = functional.interpolate(functional.adaptive_avg_pool3d(windowed, (a, b, c)), inside, mode="trilinear")
    before = [(size - length) // 2 for length in inside]
    padding = [(start, size - start - length) for start, length in zip(before, inside)]
    levels = np.rint(resized[0, 0].numpy().clip(0, 1) * 65535).astype(np.uint16)
    return np.pad(levels, padding)[None]


def spacing_of_cube(image: Image, stored: np.ndarray) -> tuple[float, ...]:
    """Return the spacing of what `cube` made of an image, in mm, alike along all axes."""
    sides = np.multiply(image.array.shape[1:], image.spacing_mm or np.nan)
    return (float(sides.max() / stored.shape[-1]),) * 3


def require_volume(image: Image) -> None:
    """Refuse what is no volume of one channel with known proportions.

    Raises:
        DataError: It says what is missing.
    """
    if image.spatial_dims != 3:
        raise DataError("Expected a volume (3D), but this image is a plane", fix="Use a modality of planes for it")
    if len(image.array) != 1:
        raise DataError(
            f"Expected a volume of one channel, but this image has {len(image.array)} (time points or components)"
        )
    if image.array.size == 0:
        raise DataError(f"The volume is empty: its shape is {image.array.shape}")
    if image.spacing_mm is None or not np.isfinite(image.spacing_mm).all():
        raise DataError("The spacing of this volume is unknown along an axis, so its proportions are, too")
    if not np.isfinite(image.array).all():
        raise DataError("The volume holds values that are not finite (NaN or infinity)")


def _oriented(image: Image) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels (slices, rows, columns) and their spacing, in the order of display where it is known."""
    values, spacing = image.array[0], np.asarray(image.spacing_mm)
    if image.affine is None:
        return values, spacing
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine), _DISPLAY)
    order = np.argsort(turn[:, 0])
    return nib.orientations.apply_orientation(values, turn), spacing[order]


def _extent(shape: tuple[int, ...], spacing: np.ndarray, size: int) -> list[int]:
    sides = np.multiply(shape, spacing)
    return [max(1, round(float(side))) for side in sides / sides.max() * size]
