"""Photographs and dermoscopy of the skin, three channels.

Every choice and where it comes from:

- Rotation by any angle and flips both ways: a picture of skin has no upside, and its mirror image is the other side
  of the body. Ours.
- Crops of at least 0.4 (weak) and 0.3 (strong) of the area: the lesion lies in the middle and its border is a sign,
  so SimCLR's 0.08 would often show one of the two only. Ours.
- Colour: a gain of each channel by up to a tenth, a little saturation and tone, as lamps and cameras differ. No shift
  of hue, no random grey, no dropped channel, no solarising: the colours of a lesion are criteria of its diagnosis.
  Blur as in SimCLR (Chen et al. 2020). The amounts are ours, not tuned on any label.
- Two pictures of one patient as a positive pair where patients are known, which helped in dermatology (MICLe; Azizi et
  al., "Big self-supervised models advance medical image classification", ICCV 2021, arXiv 2101.05224), for SimCLR,
  which was tried there. Other methods have it as a setting.
- Stored whole, with its mirror image beside it to a square, so that turning a picture keeps its shapes. A grey one
  becomes three equal channels. Window above 8 bits: percentiles 0.1 and 99.9 over all channels. Ours.
- No mask ratio is recommended: no published one is known to us.
- Size 224.
"""

from functools import partial

import numpy as np

from medssl.augment import blur, colour, geometry, tone
from medssl.data.image import Image
from medssl.modalities.parts import region
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import Percentiles, check_plane, colour_square
from medssl.settings import Choice, Settings


class Reading(Settings):
    """How intensities are read: the window of sources of more than 8 bits, over all channels."""

    percentiles: Percentiles = (0.1, 99.9)


READING = Reading()

_ASPECT, _FLIP = (3 / 4, 4 / 3), (0.5, 0.5)
WEAK = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.4, 1.0), crop_aspect=_ASPECT, rotation_degrees=180.0, flip=_FLIP)
)
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.3, 1.0), crop_aspect=_ASPECT, rotation_degrees=180.0, flip=_FLIP),
    colour=colour.Settings(probability=0.8, gain=(0.9, 1.1), saturation=(0.8, 1.25)),
    tone=tone.Settings(probability=0.8, gamma=(0.8, 1.25), contrast=(0.8, 1.25), brightness=0.1),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return a picture of skin in colour, (3, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    check_plane(image)
    return colour_square(region.squared(image, mirrored=True), size, reading.percentiles)


def modality(reading: Reading = READING) -> Modality:
    """Return pictures of the skin, read in that way."""
    return Modality(
        name="dermatology",
        title="pictures of the skin",
        channels=3,
        spatial_dims=2,
        size=224,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "square": "mirrored", "version": 1},
        views={"weak": WEAK, "strong": STRONG},
        stored_spacing=region.spacing_of_square,
        recommends={"simclr.positives": Choice("patient", "patients are known: MICLe (Azizi et al. 2021)")},
    )


MODALITY = modality()
