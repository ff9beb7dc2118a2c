"""Computed tomography volumes in Hounsfield units.

Every choice and where it comes from:

- Window: -1000 to 1000 HU become 0 to 65535, so that air, soft tissue and most bone stay apart; what scanners write
  outside of their round field of view (often -2000 or -1024) becomes air. Swin UNETR's pretraining (Tang et al., CVPR
  2022) clips to -1000 to 1000 as well.
- A volume whose file does not name HU is taken when it reaches below -200, which no rescaled MR or PET and no stored
  CT without its rescale does; else it is refused with that reason.
- A cube with the field of view's proportions: anatomy keeps its shape whatever the slice spacing. Ours.
- No flips: the body is not symmetric (liver, heart, situs). Weak views: crops of at least half of the volume.
- Strong views: crops of 0.3 to 1, rotation by 10 degrees, gamma and contrast, which act as other windows, blur (kernel
  of reconstruction) and noise (dose). The amounts are ours, not tuned on any label.
- 48 voxels a side on a CPU, 96 on a GPU, as Tang et al.
"""

import numpy as np

from medssl.augment import blur, geometry, noise, tone
from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.monai_transforms import SHARE
from medssl.modalities.parts.volumes import cube, require_volume, spacing_of_cube
from medssl.settings import Choice

HOUNSFIELD = (-1000.0, 1000.0)
_ONLY_HU = -200.0

WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.3, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4), contrast=(0.7, 1.4), brightness=0.1),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
    noise=noise.Settings(probability=0.5, strength=(0.0, 0.02)),
)


def prepare(image: Image, size: int) -> np.ndarray:
    """Return a volume as one channel in a cube, (1, size, size, size) uint16.

    Raises:
        DataError: It is a plane, has several channels, its spacing is unknown, or its values are not HU.
    """
    require_volume(image)
    if image.units not in (None, "HU", SHARE):
        raise DataError(f"Expected Hounsfield units, but the values of this volume are in {image.units}")
    if image.units is None and image.array.min() > _ONLY_HU:
        raise DataError(
            f"The file names no unit and its values begin at {image.array.min():g}, so they may not be HU",
            fix="Use files with a rescale to HU, or --modality mr for volumes without a unit",
        )
    low, high = HOUNSFIELD
    return cube(image, size, lambda values: (values - low) / (high - low))


MODALITY = Modality(
    name="ct",
    title="CT volumes",
    channels=1,
    spatial_dims=3,
    size=96,
    prepare=prepare,
    preparation={"hounsfield": list(HOUNSFIELD), "version": 1},
    views={"weak": WEAK, "strong": STRONG},
    stored_spacing=spacing_of_cube,
    recommends={"mae.mask_ratio": Choice(0.75, "the ratio of He et al. 2022; not tuned on volumes here")},
)
