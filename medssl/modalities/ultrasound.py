"""Ultrasound in B mode: one grey channel, the transducer above, black around the sector.

Every choice and where it comes from:

- No flip: which side of the picture is the marked side of the transducer is a convention that labels rest on, such as
  left and right ventricle in four-chamber views. `augment.geometry.flip=[0,0.5]` mirrors where sides are alike. Never
  a vertical flip: depth, and with it shadow and enhancement, goes downwards.
- Crops of at least 0.5 (weak) and 0.4 (strong) of the area, since small ones may hold nothing but black. Rotation by
  10 degrees, as probes tilt.
- Black stays black around the sector: of tone only gamma (the dynamic range of the display), for brightness and less
  contrast would lift it; gain over depth, as the sliders of the scanner; and speckle as a factor, the noise of coherent
  imaging. (On the logarithmic scale of a display speckle is rather a sum, which would grain the border, too.)
  No blur: resolution is lost with depth, not evenly. No solarising. All amounts are ours, not tuned on any label.
- Sector mask: the sector is the largest connected part that is brighter than 1/50 of full brightness, gaps and lines of
  2 % of a side aside, holes filled; everything outside (letters, scales, rulers, logos, names) becomes black. Where the
  largest part covers less than a fifth of a side the picture is kept whole. Letters within the sector stay.
- Stored: the box of the sector, then black to a square, so that angles and circles keep their shape. Colour (Doppler)
  becomes grey. Ours.
- Window for sources of more than 8 bits: from the darkest, which stays black, to percentile 99.9. Ours.
- No mask ratio is recommended: no published one is known to us.
- Size 224.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field

from medssl.augment import depth_gain, geometry, speckle, tone
from medssl.data.image import Image
from medssl.modalities.parts import region
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import Percentiles, check_plane, grey_square
from medssl.settings import Settings

_SIDE = 256  # pixels of the shorter side among which the sector is looked for


class Reading(Settings):
    """How intensities and the sector are read.

    Attributes:
        percentiles: Window of sources of more than 8 bits.
        level: Above which a pixel may belong to the sector, as a share of the full brightness.
        mask: Whether everything outside of the sector becomes black.
        least: Share of each side that the sector has to cover; else the picture is kept whole.
    """

    percentiles: Percentiles = (0.0, 99.9)
    level: float = Field(default=0.02, ge=0, lt=1)
    mask: bool = True
    least: float = Field(default=0.2, ge=0, le=1)


READING = Reading()

WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.4, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4)),
    depth_gain=depth_gain.Settings(probability=0.5, slope=0.3),
    speckle=speckle.Settings(probability=0.5, strength=(0.0, 0.2)),
)


@region.once
def sector(image: Image, reading: Reading = READING) -> Image:
    """Return the sector on black, cut to its box and padded to a square; whole where there is none.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    check_plane(image)
    plane = image.array[:3].max(axis=0)
    found = region.largest_part(plane, reading.level, _SIDE, floor=image.floor)
    place = region.box(found)
    if not found.any() or not region.large(place, plane.shape, reading.least):
        return region.squared(image)
    masked = np.where(found, image.array, image.array.min()) if reading.mask else image.array
    return region.squared(region.cut(replace(image, array=masked), place))


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return the sector as one grey channel, (1, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be made grey.
    """
    return grey_square(sector(image, reading), size, reading.percentiles)


def modality(reading: Reading = READING) -> Modality:
    """Return ultrasound in B mode, read in that way."""
    return Modality(
        name="ultrasound",
        title="ultrasound in B mode",
        channels=1,
        spatial_dims=2,
        size=224,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "version": 2},
        views={"weak": WEAK, "strong": STRONG},
        stored_spacing=partial(region.spacing_of_part, partial(sector, reading=reading)),
        dicom=("US",),
    )


MODALITY = modality()
