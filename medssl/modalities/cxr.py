"""Chest X-rays: frontal projections, one grey channel, air dark (MONOCHROME1 is inverted by the reader).

Every choice and where it comes from:

- Mask ratio 0.80 and plain pixels as the target: searched here at 64 x 64 pixels on training patients alone
  (docs/results/cxr-mae.md, docs/results/speed.md). Normalised patches lose their brightness, which tells air from
  consolidation, and 0.90 leaves 6 of 64 patches. At 224 pixels and with 500,000 images Xiao et al., "Delving into
  masked autoencoders for multi-label thorax disease classification" (WACV 2023, arXiv 2210.12843), found 0.90 best:
  set it there.
- Weak views with crops of 0.5 to 1 of the area (not MAE's 0.2), as Xiao et al., without their flip.
- No left-right flip: laterality carries the finding (heart, stomach bubble, dextrocardia, side markers). No vertical
  flip: it does not exist.
- Strong views: crop, a little rotation and a little tone. For chest X-rays a mild set chosen for them beat the
  natural-image set (Van der Sluijs et al., "Exploring image augmentations for Siamese representation learning with
  chest X-rays", arXiv 2301.12636). Blur as in SimCLR (Chen et al. 2020). Detector noise instead of speckle: X-rays
  are not coherent. Now and then the histogram is equalised, wholly or in part, as stations do it for the eye, and all
  is bent a little, as breath and posture bend it; REMEDIS (Azizi et al. 2023) bends grey radiographs, too. The amounts
  are ours, not tuned on any label; what either brings has not been measured here.
- Contrast rises by 1.2 at most: with 1.4 and a brightness of 0.1, as other grey modalities have them, the lungs of 4 of
  16 views that were looked at were cut off at black, and with them what is looked for.
- Window for sources of more than 8 bits: percentiles 0.5 and 99.5 of each image, so that markers, collimator edges
  and direct exposure do not set the scale. 16 bits are kept: the lung fills a small part of the range. Ours.
- CR and DX are chest films far more often than not: `medssl scan` suggests this modality, a person decides.
- Size 224, as in Xiao et al.
"""

from functools import partial

import numpy as np

from medssl.augment import blur, equalise, geometry, noise, tone
from medssl.data.image import Image
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import Percentiles, grey_square
from medssl.settings import Choice, Settings


class Reading(Settings):
    """How intensities are read: the window of sources of more than 8 bits."""

    percentiles: Percentiles = (0.5, 99.5)


READING = Reading()

WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.3, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0, elastic=0.01),
    equalise=equalise.Settings(probability=0.2, strength=(0.5, 1.0)),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4), contrast=(0.7, 1.2), brightness=0.05),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
    noise=noise.Settings(probability=0.5, strength=(0.0, 0.02)),
)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return a radiograph as one grey channel, (1, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be made grey.
    """
    return grey_square(image, size, reading.percentiles)


def modality(reading: Reading = READING) -> Modality:
    """Return chest X-rays, read in that way."""
    return Modality(
        name="cxr",
        title="chest X-rays",
        channels=1,
        spatial_dims=2,
        size=224,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "version": 1},
        views={"weak": WEAK, "strong": STRONG},
        recommends={
            "mae.mask_ratio": Choice(
                0.80, "searched at 64 x 64 pixels (docs/results/speed.md); at 224 Xiao et al. use 0.90"
            ),
            "mae.norm_pix_loss": Choice(False, "searched at 64 x 64 pixels (docs/results/cxr-mae.md)"),
        },
        dicom=("CR", "DX"),
    )


MODALITY = modality()
