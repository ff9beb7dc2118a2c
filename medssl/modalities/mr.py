"""Magnetic resonance volumes of any sequence: intensities without a unit, smooth gains, noise.

Every choice and where it comes from:

- Window: percentiles 0.5 and 99.5 of the voxels above the mean (of the darkest 99 %), which leaves air out. MR has no
  unit, and one scanner's volumes differ by orders of magnitude; nnU-Net (Isensee et al. 2021) standardises each volume,
  inside the head where it is cut out. The rest of that happens at the end of every view. Percentiles: ours.
- A cube with the field of view's proportions: anatomy keeps its shape whatever the spacing. Ours.
- Weak views: crops of at least half of the volume, left-right flips (the other side of a body that is nearly
  symmetric). Where the side is the label, set `augment.geometry.flip` to [0, 0, 0].
- Strong views: crops of 0.3 to 1, rotation by 10 degrees, gamma, blur, noise, and a bias field. Ghosting is not among
  them yet. The amounts are ours, not tuned on any label.
- 48 voxels a side on a CPU, 96 on a GPU: the sizes that self-supervised 3D transformers are trained at (96: Tang et
  al., "Self-supervised pre-training of Swin transformers for 3D medical image analysis", CVPR 2022).
"""

import numpy as np

from medssl.augment import bias, blur, geometry, noise, tone
from medssl.data.image import Image
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.volumes import cube, spacing_of_cube
from medssl.settings import Choice

PERCENTILES = (0.5, 99.5)

WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3), flip=(0.0, 0.0, 0.5)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(
        crop_area=(0.3, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0, flip=(0.0, 0.0, 0.5)
    ),
    bias=bias.Settings(probability=0.5, strength=(0.0, 0.3)),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4), contrast=(0.7, 1.4), brightness=0.1),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
    noise=noise.Settings(probability=0.5, strength=(0.0, 0.05)),
)


def prepare(image: Image, size: int) -> np.ndarray:
    """Return a volume as one grey channel in a cube, (1, size, size, size) uint16.

    Raises:
        DataError: It is a plane, has several channels, or its spacing is unknown.
    """
    return cube(image, size, _window)


def _window(values: np.ndarray) -> np.ndarray:
    usual = values[values <= np.percentile(values, 99)]
    bright = values[values > usual.mean()]
    low, high = np.percentile(bright if bright.size else values, PERCENTILES)
    floor = min(float(values.min()), float(low))
    return (values - floor) / max(float(high) - floor, 1e-12)


MODALITY = Modality(
    name="mr",
    title="MR volumes",
    channels=1,
    spatial_dims=3,
    size=96,
    prepare=prepare,
    preparation={"percentiles": list(PERCENTILES), "version": 1},
    views={"weak": WEAK, "strong": STRONG},
    stored_spacing=spacing_of_cube,
    recommends={"mae.mask_ratio": Choice(0.75, "the ratio of He et al. 2022; not tuned on volumes here")},
)
