"""Tiles of stained sections of tissue (haematoxylin and eosin), three channels.

Every choice and where it comes from:

- Rotation by any angle and flips both ways: tissue on a slide has no upside. Ours.
- Crops of at least half (weak) and 0.4 (strong) of the area: a tile is cut at one magnification, and the size of a
  nucleus is a sign; SimCLR's 0.08 would show the same cell at threefold size. Ours.
- Stain jitter in strong views: how much of each stain a slide holds differs between laboratories more than anything
  else (Tellez et al., IEEE TMI 2018, and Medical Image Analysis 2019; see `medssl/augment/stain.py`). A little gain,
  gamma and blur, as scanners differ. No shift of hue, no random grey, no dropped channel, no solarising: blue and pink
  are nucleus and cytoplasm. The amounts are ours, not tuned on any label.
- Stored whole, with its mirror image beside it to a square, so that turning a tile keeps its shapes. A grey tile
  becomes three equal channels. Window for sources of more than 8 bits: the darkest and the brightest pixel of all
  channels, so that glass stays white. Ours.
- No mask ratio is recommended: no published one is known to us.
- Size 224. Whole slides are not read: cut them into tiles first.
"""

from functools import partial

import numpy as np

from medssl.augment import blur, colour, geometry, stain, tone
from medssl.data.image import Image
from medssl.modalities.parts import region
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import Percentiles, check_plane, colour_square
from medssl.settings import Settings


class Reading(Settings):
    """How intensities are read: the window of sources of more than 8 bits, over all channels."""

    percentiles: Percentiles = (0.0, 100.0)


READING = Reading()

_ASPECT, _FLIP = (3 / 4, 4 / 3), (0.5, 0.5)
WEAK = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=_ASPECT, rotation_degrees=180.0, flip=_FLIP)
)
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.4, 1.0), crop_aspect=_ASPECT, rotation_degrees=180.0, flip=_FLIP),
    stain=stain.Settings(probability=0.8, ratio=0.2, shift=0.02),
    colour=colour.Settings(probability=0.5, gain=(0.95, 1.05)),
    tone=tone.Settings(probability=0.5, gamma=(0.8, 1.25)),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 1.0)),
)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return a tile in colour, (3, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    check_plane(image)
    return colour_square(region.squared(image, mirrored=True), size, reading.percentiles)


def modality(reading: Reading = READING) -> Modality:
    """Return tiles of stained tissue, read in that way."""
    return Modality(
        name="histology",
        title="tiles of stained tissue",
        channels=3,
        spatial_dims=2,
        size=224,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "square": "mirrored", "version": 1},
        views={"weak": WEAK, "strong": STRONG},
        stored_spacing=region.spacing_of_square,
        dicom=("SM",),
    )


MODALITY = modality()
