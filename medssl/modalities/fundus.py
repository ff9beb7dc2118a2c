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

import numpy as np

from medssl.augment import colour, geometry, tone
from medssl.data.image import Image
from medssl.data.packing import stretched
from medssl.modalities.parts import region
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import colour_square
from medssl.settings import Choice

PERCENTILES = (0.0, 99.9)
LEVEL, SHARE, LEAST = 0.1, 0.01, 1 / 3

_CROP, _FLIP = (0.5, 1.0), (0.0, 0.5)
WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=_CROP, crop_aspect=(3 / 4, 4 / 3), flip=_FLIP))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=_CROP, crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0, flip=_FLIP),
    colour=colour.Settings(probability=0.5, gain=(0.9, 1.1), saturation=(0.85, 1.15)),
    tone=tone.Settings(probability=0.5, gamma=(0.8, 1.25)),
)


def field_of_view(image: Image) -> Image:
    """Return the photograph without its dark border, padded to a square.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    return region.without_border(image, LEVEL, SHARE, LEAST)


def prepare(image: Image, size: int) -> np.ndarray:
    """Return a photograph's field of view in colour, (3, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    return colour_square(field_of_view(image), size, PERCENTILES)


MODALITY = Modality(
    name="fundus",
    title="colour fundus photographs",
    channels=3,
    spatial_dims=2,
    size=224,
    prepare=prepare,
    preparation={"percentiles": list(PERCENTILES), "level": LEVEL, "share": SHARE, "least": LEAST, "version": 1},
    views={"weak": WEAK, "strong": STRONG},
    recommends={"mae.mask_ratio": Choice(0.75, "RETFound's colour photographs (Zhou et al., Nature 2023)")},
    stored_spacing=lambda image, stored: stretched(image, stored, field_of_view(image).array.shape[1:]),
)
