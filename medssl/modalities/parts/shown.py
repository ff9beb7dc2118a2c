"""What a modality prepares: an image with its padding as air, through the VOI LUT of its file if that is asked for."""

from dataclasses import replace

import numpy as np

from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.monai_transforms import SHARE


def with_air(image: Image) -> Image:
    """Return an image with padding just below its least measured value, where it passes for air.

    Raises:
        DataError: There is nothing but padding.
    """
    if image.padding is not None and not image.measured.size:
        raise DataError("Every value of this image is pixel padding: nothing was measured")
    return image.unpadded()


def shown(image: Image) -> Image:
    """Return an image as shares of full brightness, padding black; without a VOI LUT only padding becomes air.

    Raises:
        DataError: The VOI LUT cannot be applied, or there is nothing but padding.
    """
    air = with_air(image)
    if image.voi is None:
        image.remarks.append("the file has no VOI LUT: its values go through the window of the modality")
        return air
    try:
        shares = image.voi.shares(image.array)
    except (ValueError, NotImplementedError) as error:
        raise DataError(
            "The VOI LUT of this image cannot be applied: its window has no width, or a function that nobody knows"
        ) from error
    dark = np.where(image.padded(), np.float32(0), shares)
    provenance = {**image.provenance, "voi_lut": True}
    return replace(image, array=dark, units=SHARE, scales={}, padding=None, voi=None, provenance=provenance)
