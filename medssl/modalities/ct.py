"""Computed tomography volumes in Hounsfield units.

Every choice and where it comes from:

- Window: -1000 to 1000 HU become 0 to 65535, so that air, soft tissue and most bone stay apart; what scanners write
  outside of their round field of view (often -2000 or -1024) becomes air. Swin UNETR's pretraining (Tang et al., CVPR
  2022) clips to -1000 to 1000 as well.
- A volume whose file does not name HU is taken when it reaches below -200, which no rescaled MR or PET and no stored
  CT without its rescale does; else it is refused with that reason.
- A cube with the field of view's proportions: anatomy keeps its shape whatever the slice spacing. Ours.
- No flips: the body is not symmetric (liver, heart, situs). Weak views: crops of at least half of the volume.
- Strong views: crops of 0.3 to 1, rotation by 10 degrees, now and then one of the windows that CT is read in (lung -600
  and 1500 HU wide, soft tissue 40 and 400, bone 400 and 1800; usual settings of workstations), gamma and contrast,
  which act as others, blur (kernel of reconstruction) and noise (dose). The amounts are ours, not tuned on any label.
- One window for all, instead of the full range, by `reading: {hounsfield: soft_tissue}` in a file of values.
- Slices: `medssl scan` skips copies of a slice, makes several volumes where each position occurs equally often, and
  leaves other repeats as single slices, with a remark.
- 48 voxels a side on a CPU, 96 on a GPU, as Tang et al.
"""

from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator

from medssl.augment import blur, geometry, noise, tone, window
from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.monai_transforms import SHARE
from medssl.modalities.parts.volumes import cube, require_volume, spacing_of_cube
from medssl.settings import Choice, Settings

WINDOWS = {
    "wide": (-1000.0, 1000.0),
    "lung": (-1350.0, 150.0),
    "soft_tissue": (-160.0, 240.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
}
_IN_VIEWS = ("lung", "soft_tissue", "bone")
_ONLY_HU, _AIR = -200.0, -1000.0
_MOSTLY = 0.7  # of a window has to lie within the stored range


def _named(value: Any) -> Any:
    if isinstance(value, str) and value not in WINDOWS:
        raise ValueError(f"a window is two numbers or one of {', '.join(WINDOWS)}")
    return WINDOWS[value] if isinstance(value, str) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not -3000 <= value[0] < value[1] <= 10_000:
        raise ValueError("a window goes from its lower to its upper end, between -3000 and 10000 HU")
    return value


class Reading(Settings):
    """How intensities are read: which Hounsfield units become 0 and 65535, or the name of such a window."""

    hounsfield: Annotated[tuple[float, float], BeforeValidator(_named), AfterValidator(_ordered)] = WINDOWS["wide"]


READING = Reading()

WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.3, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4), contrast=(0.7, 1.4), brightness=0.1),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
    noise=noise.Settings(probability=0.5, strength=(0.0, 0.02)),
)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return a volume as one channel in a cube, (1, size, size, size) uint16.

    Raises:
        DataError: It is a plane, has several channels, its spacing is unknown, or its values are not HU.
    """
    require_volume(image)
    if image.units not in (None, "HU", SHARE):
        raise DataError(f"Expected Hounsfield units, but the values of this volume are in {image.units}")
    if image.units is None and image.measured.min() > _ONLY_HU:
        raise DataError(
            f"The file names no unit and its values begin at {image.measured.min():g}, so they may not be HU",
            fix="Use files with a rescale to HU, or --modality mr for volumes without a unit",
        )
    if image.units is None:
        image.remarks.append("the file names no unit: its values are taken as HU, since they reach below -200")
    low, high = reading.hounsfield
    return cube(image, size, lambda values: (np.maximum(values, _AIR) - low) / (high - low))


def windows(reading: Reading) -> tuple[tuple[float, float], ...]:
    """Return the windows that CT is read in, in units of the stored range; none that lies mostly beyond it."""
    low, high = reading.hounsfield
    ends = [WINDOWS[name] for name in _IN_VIEWS]
    seen = [(a, b) for a, b in ends if min(b, high) - max(a, low) >= _MOSTLY * (b - a) and b - a < high - low]
    return tuple((round((a - low) / (high - low), 6), round((b - low) / (high - low), 6)) for a, b in seen)


def modality(reading: Reading = READING) -> Modality:
    """Return CT volumes, read in that way."""
    shown = window.Settings(probability=0.3, windows=windows(reading))
    return Modality(
        name="ct",
        title="CT volumes",
        channels=1,
        spatial_dims=3,
        size=96,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "version": 1},
        views={"weak": WEAK, "strong": STRONG.model_copy(update={"window": shown})},
        stored_spacing=spacing_of_cube,
        recommends={
            "mae.mask_ratio": Choice(0.75, "the ratio of He et al. 2022; not tuned on volumes here"),
            "spark.mask_ratio": Choice(0.75, "SparK of volumes in the code of nnssl; not tuned here"),
        },
        dicom=("CT",),
    )


MODALITY = modality()
