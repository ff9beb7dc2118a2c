"""Positron emission tomography: volumes of uptake, in SUV where that is known.

Every choice and where it comes from:

- Unit: SUV by body weight where the DICOM header gives everything it takes (`medssl/data/readers/parts/suv.py`), since
  Bq/ml follow dose, weight and the time after injection. 0 to 20 SUV become 0 to 65535: beyond lie bladder and the
  hottest tumours. A NIfTI file names no unit; where its values are SUV, say so in a file of values with
  `reading: {unknown_is: SUVbw}`.
- Without SUV: percentile 99.9 of the voxels above the mean becomes 4/5 of full intensity, as in a body scan the hottest
  organs do. Then uptake cannot be compared between volumes, and a remark counts them. Ours.
- The square root of that is stored: counts have a variance that grows with their mean (the root of Anscombe, "The
  transformation of Poisson, binomial and negative-binomial data", 1948), and liver (2 SUV) is not lost beside a
  bladder (20 SUV and more). Below 0, which reconstructions reach, is 0. Ours.
- A cube with the field of view's proportions: anatomy keeps its shape whatever the slice spacing. Ours.
- No flips: liver, heart and the sides of a finding are not symmetric. Weak views: crops of at least half of the volume.
- Strong views: crops of 0.3 to 1, rotation by 10 degrees, gamma, blur (the width of the reconstruction's filter), noise
  that grows with uptake (speckle on the root: dose and time a bed), no contrast and no brightness: 0 is no uptake and
  stays 0. No window. The amounts are ours, not tuned on any label.
- No mask ratio is recommended: no published one is known to us.
- 48 voxels a side on a CPU, 96 on a GPU, as for CT.
"""

from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from medssl.augment import blur, geometry, speckle, tone
from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.monai_transforms import SHARE
from medssl.modalities.parts.volumes import cube, require_volume, spacing_of_cube
from medssl.settings import Settings

SUV = "SUVbw"
_USUAL, _HOTTEST = 99.9, 0.8
_KNOWN = (SUV, "BQML", "CNTS", None)


class Reading(Settings):
    """How intensities are read.

    Attributes:
        most_suv: Which SUV becomes full intensity.
        unknown_is: What the values of a file are that names no unit; None where nobody knows.
    """

    most_suv: float = Field(default=20.0, gt=0, le=1000)
    unknown_is: Literal["SUVbw"] | None = None


READING = Reading()
WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.3, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4)),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
    speckle=speckle.Settings(probability=0.5, strength=(0.0, 0.15)),
)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return the root of uptake as one grey channel in a cube, (1, size, size, size) uint16.

    Raises:
        DataError: It is a plane, has several channels, its spacing is unknown, or its values are no uptake.
    """
    require_volume(image)
    if image.units not in (*_KNOWN, SHARE):
        raise DataError(f"Expected SUV or Bq/ml, but the values of this volume are in {image.units}")
    factor = suv_factor(image, reading)
    if factor is None and image.units != SHARE:
        image.remarks.append("uptake without SUV: scaled by the volume itself, not comparable between volumes")
        return cube(image, size, partial(_by_itself, floor=image.floor))
    return cube(image, size, lambda values: np.sqrt((values * ((factor or 1.0) / reading.most_suv)).clip(0)))


def suv_factor(image: Image, reading: Reading = READING) -> float | None:
    """Return what turns values into SUV, 1 where they are; None where it is unknown."""
    units = image.units or reading.unknown_is
    return 1.0 if units == SUV else image.scales.get(SUV)


def _by_itself(values: np.ndarray, floor: float) -> np.ndarray:
    positive = values.clip(0)
    measured = positive[values > floor]
    usual = measured[measured > measured.mean()]
    high = float(np.percentile(usual, _USUAL)) if usual.size else 0.0
    return np.sqrt(positive * (_HOTTEST / max(high, 1e-12)))


def modality(reading: Reading = READING) -> Modality:
    """Return PET volumes, read in that way."""
    return Modality(
        name="pet",
        title="PET volumes",
        channels=1,
        spatial_dims=3,
        size=96,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "version": 1},
        views={"weak": WEAK, "strong": STRONG},
        stored_spacing=spacing_of_cube,
        dicom=("PT",),
    )


MODALITY = modality()
