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

    A remark says where there is none, or which of the file cannot be applied.

    Raises:
        DataError: There is nothing but padding.
    """
    air, found = with_air(image), image.voi
    told = "the file has no VOI LUT" if found is None else found.remark
    if found is None or not found.usable:
        image.remarks.append(f"{told}: its values go through the window of the modality")
        return air
    image.remarks += [told] if told else []
    dark = np.where(image.padded(), np.float32(0), found.shares(image.array))
    provenance = {**image.provenance, "voi_lut": True}
    return replace(image, array=dark, units=SHARE, scales={}, padding=None, voi=None, provenance=provenance)
