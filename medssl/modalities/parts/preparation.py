"""From a decoded plane to a stored one: one grey or three colour channels, the full range of its type, a square."""

from typing import Annotated

import numpy as np
from PIL import Image as Picture
from pydantic import AfterValidator

from medssl.augment.parts.ranges import Range
from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.monai_transforms import SHARE


def _percentiles(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] < value[1] <= 100:
        raise ValueError("percentiles go from a lower to an upper one, between 0 and 100")
    return value


Percentiles = Annotated[Range, AfterValidator(_percentiles)]

# ITU-R BT.601 luma, as in Pillow's "L" mode.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def grey_square(
    image: Image, size: int, percentiles: tuple[float, float], *, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Return a plane as one grey channel of size x size, uint8 or uint16.

    8-bit sources keep their values. All others (more bits, signed, rescaled to float) are windowed: the two
    percentiles of the image become 0 and 65535. 16 bits are kept there, at twice the space, since gamma and contrast
    stretch what 8 bits would have made into steps. The plane is resized to a square whatever its shape (the field of
    view is kept, not the aspect), with Pillow's bilinear filter, which averages over the pixels it skips.

    Args:
        image: (1 | 3 | 4, rows, columns); a fourth channel is opacity and is dropped.
        size: Side of the result in pixels.
        percentiles: Lower and upper percentile of the window, 0 to 100.
        limits: The window itself, where the percentiles are those of a part of the image.

    Raises:
        DataError: It is a volume, or empty, has another number of channels, or values that are not finite.
    """
    check_plane(image)
    if len(image.array) > 1 and not _equal_channels(image.array):
        image.remarks.append("colour picture in a modality of one channel: made grey")
    return _stored(grey(image.array)[None], size, image, percentiles, limits)


def colour_square(image: Image, size: int, percentiles: tuple[float, float]) -> np.ndarray:
    """Return a plane as three colour channels of size x size, uint8 or uint16.

    As `grey_square` does it, with one window for all channels, so that hues are kept. A grey plane becomes three
    equal channels: a set may hold both, and nothing is lost.

    Args:
        image: (1 | 3 | 4, rows, columns); a fourth channel is opacity and is dropped.
        size: Side of the result in pixels.
        percentiles: Lower and upper percentile of the window over all channels, 0 to 100.

    Raises:
        DataError: It is a volume, or empty, has another number of channels, or values that are not finite.
    """
    check_plane(image)
    if len(image.array) == 1:
        image.remarks.append("grey picture in a modality of colour: three equal channels")
    planes = image.array[:3] if len(image.array) > 1 else np.repeat(image.array, 3, axis=0)
    return _stored(planes, size, image, percentiles)


def _stored(
    planes: np.ndarray,
    size: int,
    image: Image,
    percentiles: tuple[float, float],
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """Return the planes of an image windowed and resized; values that are shares already keep their scale."""
    if planes.dtype == np.uint8:
        return np.stack([_resized(plane, size) for plane in planes])
    limits = (0.0, 1.0) if image.units == SHARE else limits
    low, high = limits or np.percentile(above(planes, image.floor), percentiles)
    windowed = (planes.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-12))
    resized = np.stack([_resized(plane, size) for plane in windowed.clip(0, 1)])
    return np.rint(resized.clip(0, 1) * 65535).astype(np.uint16)


def above(values: np.ndarray, floor: float) -> np.ndarray:
    """Return the values that are no padding, `Image.floor`, (n,); all of them as they are where there is none."""
    return values if floor == -np.inf else values[values > floor]


def _resized(plane: np.ndarray, size: int) -> np.ndarray:
    picture = Picture.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize((size, size), Picture.Resampling.BILINEAR))


def check_plane(image: Image) -> None:
    """Refuse what no modality of planes can store.

    Raises:
        DataError: It is a volume, or empty, has another number of channels than 1, 3 or 4, or values not finite.
    """
    if image.spatial_dims != 2:
        shape = " x ".join(map(str, image.array.shape[1:]))
        raise DataError(
            f"Expected a plane (2D), but this image is a volume of {shape}", fix="Use a modality of volumes for it"
        )
    if image.array.shape[0] not in (1, 3, 4):
        raise DataError(f"Expected 1 (grey) or 3 (colour) channels, but this image has {image.array.shape[0]}")
    if image.array.size == 0:
        raise DataError(f"The image is empty: its shape is {image.array.shape}")
    if not np.isfinite(image.array).all():
        raise DataError("The image holds values that are not finite (NaN or infinity)")


def _equal_channels(array: np.ndarray) -> bool:
    return np.array_equal(array[0], array[1]) and np.array_equal(array[0], array[2])


def grey(array: np.ndarray) -> np.ndarray:
    """Return one channel of (1 | 3 | 4, ...): the first where all are equal (grey stored as colour), else the luma."""
    if len(array) == 1 or _equal_channels(array):
        return np.ascontiguousarray(array[0])
    luma = np.tensordot(_LUMA, array[:3].astype(np.float32), axes=1)
    return np.rint(luma).astype(np.uint8) if array.dtype == np.uint8 else luma
