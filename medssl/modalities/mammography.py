"""Mammograms: one grey channel, air dark (MONOCHROME1 is inverted by the reader), one breast a picture.

Every choice and where it comes from:

- Stored: cut to the box around the breast, the largest connected part above Otsu's threshold ("A threshold selection
  method from gray-level histograms", 1979). It is found on the square root of the intensities, so that fat counts as
  breast, not as air; letters, being parts of their own, fall away, and air becomes black: its noise would show
  where the square begins. Half of most mammograms is air, and a view of it
  teaches nothing. Where less than 5 % of the picture would be left it is kept whole. Then air to a square, beside the
  nipple, not beside the chest wall: a breast keeps its proportions, since the shape of a mass is a sign, and a pixel
  has the same size either way. Stretching the box would fill the square instead, at up to twice the width. A white
  frame of scanned film that touches the breast stays. Ours.
- Crops of at least 0.6 (weak) and 0.5 (strong) of the area, so that a view in a corner of the box still holds breast.
- Horizontal flips: left and right breast are mirror images, and neither malignancy nor density depends on the side;
  put `augment.geometry.flip=[0,0]` where the side is the label. No vertical flip: in oblique views the muscle
  is above. Rotation by 10 degrees, as the breast is laid differently.
- Tone mild and detector noise, as for X-rays; no blur, since microcalcifications are finer than a stored pixel. No
  solarising. The amounts are ours, not tuned on any label.
- Window for sources of more than 8 bits: percentiles 0.5 and 99.5 within the box; 16 bits are kept, as density and
  calcification are parted by few levels. Ours.
- No mask ratio is recommended: no published one is known to us.
- Size 224 is enough for density and masses; raise `data.image_size` where calcifications matter. Ours.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field
from scipy import ndimage

from medssl.augment import geometry, noise, tone
from medssl.data.image import Image
from medssl.modalities.parts import region
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import Percentiles, above, check_plane, grey, grey_square
from medssl.modalities.parts.threshold import otsu
from medssl.settings import Settings

_SKIN = 0.015  # of the shorter side, around what is brighter than air
_SIDE = 512  # pixels of the shorter side among which the breast is looked for


class Reading(Settings):
    """How intensities and the breast are read.

    Attributes:
        percentiles: Window of sources of more than 8 bits, within the box around the breast.
        least: Share of the picture that the box has to cover; else the picture is kept whole.
    """

    percentiles: Percentiles = (0.5, 99.5)
    least: float = Field(default=0.05, ge=0, le=1)


READING = Reading()

_FLIP = (0.0, 0.5)
WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.6, 1.0), crop_aspect=(3 / 4, 4 / 3), flip=_FLIP))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0, flip=_FLIP),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4), contrast=(0.8, 1.25), brightness=0.05),
    noise=noise.Settings(probability=0.5, strength=(0.0, 0.02)),
)


@region.once
def breast(image: Image, reading: Reading = READING) -> Image:
    """Return the picture cut to the box around the breast, air and letters in it black.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    check_plane(image)
    plane = image.array[:3].max(axis=0)
    step = max(1, min(plane.shape) // _SIDE)
    thin = plane[::step, ::step].astype(np.float64)
    low, high = thin.min(), np.percentile(thin, 99.9)
    values = np.sqrt(((thin - low) / max(high - low, 1e-12)).clip(0, 1))
    parts, count = ndimage.label(values > otsu(values), np.ones((3, 3)))
    if count == 0:
        return image
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    ends = zip(region.box(largest), plane.shape, strict=True)
    rows, columns = (slice(part.start * step, min(part.stop * step, n)) for part, n in ends)
    left = math.prod(part.stop - part.start for part in (rows, columns)) / plane.size
    if left < reading.least:
        return image
    with_skin = ndimage.binary_fill_holes(ndimage.binary_dilation(largest, iterations=round(_SKIN * min(thin.shape))))
    within = np.kron(with_skin, np.ones((step, step), dtype=bool))[: plane.shape[0], : plane.shape[1]]
    return region.cut(replace(image, array=np.where(within, image.array, image.array.min())), (rows, columns))


def square(image: Image, reading: Reading = READING) -> Image:
    """Return the box around the breast with air to a square: at the side away from the chest wall, and below.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    cut = breast(image, reading)
    rows, columns = cut.array.shape[1:]
    side, part = max(rows, columns), max(1, columns // 20)
    left, right = cut.array[..., :part].mean(), cut.array[..., -part:].mean()
    beside = (0, side - columns) if left >= right else (side - columns, 0)
    air = np.pad(cut.array, ((0, 0), (0, side - rows), beside), constant_values=cut.array.min())
    return replace(cut, array=air, affine=None)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return the breast as one grey channel, (1, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be made grey.
    """
    within = grey(breast(image, reading).array)
    low, high = np.percentile(above(within, image.floor), reading.percentiles)
    return grey_square(square(image, reading), size, reading.percentiles, limits=(float(low), float(high)))


def modality(reading: Reading = READING) -> Modality:
    """Return mammograms, read in that way."""
    return Modality(
        name="mammography",
        title="mammograms",
        channels=1,
        spatial_dims=2,
        size=224,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "cut": "otsu", "square": "air", "version": 2},
        views={"weak": WEAK, "strong": STRONG},
        stored_spacing=partial(region.spacing_of_part, partial(square, reading=reading)),
        dicom=("MG",),
    )


MODALITY = modality()
