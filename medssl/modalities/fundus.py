"""Colour photographs of the fundus: a bright disc on black, three channels.

Every choice and where it comes from:

- Mask ratio 0.75: RETFound's for colour photographs (Zhou et al., Nature 2023).
- Weak and strong views are both mild, also for contrastive methods: weak augmentation served retinal images better
  (arXiv 2501.02451). Crops of at least half of the area; horizontal flips: the other eye. No vertical flip: the disc
  lies beside the macula and the arcades above and below are told apart. Rotation by 10 degrees as heads tilt. No blur:
  a fine vessel and a microaneurysm are one or two pixels at this size. The amounts are ours, not tuned on any label.
- Colour: a gain of each channel by up to a tenth and a little saturation and gamma, as flashes, sensors and lenses of
  the eye differ. No shift of hue, no random grey, no dropped channel, no solarising: pallor, blood and exudate are
  colours. Ours.
- Field of view: rows and columns of which more than 1 % is brighter than a tenth of the full brightness, then black
  to a square, so that a circle stays a circle and the disc has the same size whatever the camera's frame. A picture
  without dark border is kept whole, and so is one where less than a third of a side would be left. Text beside the
  disc widens the box. Ours.
- A grey picture (red-free, infrared) becomes three equal channels. Ours.
- Window for sources of more than 8 bits: from the darkest to percentile 99.9 over all channels. Ours.
- Size 224, as in RETFound.
"""

from functools import partial

import numpy as np
from pydantic import Field

from medssl.augment import colour, geometry, tone
from medssl.data.image import Image
from medssl.modalities.parts import region
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import Percentiles, colour_square
from medssl.settings import Choice, Settings


class Reading(Settings):
    """How intensities and the field of view are read.

    Attributes:
        percentiles: Window of sources of more than 8 bits, over all channels.
        level: Above which a pixel is no border, as a share of the full brightness.
        share: Of the pixels of a row or column that lie above, from which on it is no border.
        least: Share of each side that has to be left; else the picture is kept whole.
    """

    percentiles: Percentiles = (0.0, 99.9)
    level: float = Field(default=0.1, ge=0, lt=1)
    share: float = Field(default=0.01, ge=0, lt=1)
    least: float = Field(default=1 / 3, ge=0, le=1)


READING = Reading()

_CROP, _FLIP = (0.5, 1.0), (0.0, 0.5)
WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=_CROP, crop_aspect=(3 / 4, 4 / 3), flip=_FLIP))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=_CROP, crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0, flip=_FLIP),
    colour=colour.Settings(probability=0.5, gain=(0.9, 1.1), saturation=(0.85, 1.15)),
    tone=tone.Settings(probability=0.5, gamma=(0.8, 1.25)),
)


@region.once
def field_of_view(image: Image, reading: Reading = READING) -> Image:
    """Return the photograph without its dark border, padded to a square.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    return region.without_border(image, reading.level, reading.share, reading.least)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return a photograph's field of view in colour, (3, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    return colour_square(field_of_view(image, reading), size, reading.percentiles)


def modality(reading: Reading = READING) -> Modality:
    """Return colour fundus photographs, read in that way."""
    return Modality(
        name="fundus",
        title="colour fundus photographs",
        channels=3,
        spatial_dims=2,
        size=224,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "version": 1},
        views={"weak": WEAK, "strong": STRONG},
        recommends={"mae.mask_ratio": Choice(0.75, "RETFound's colour photographs (Zhou et al., Nature 2023)")},
        stored_spacing=partial(region.spacing_of_part, partial(field_of_view, reading=reading)),
        dicom=("OP",),
    )


MODALITY = modality()
