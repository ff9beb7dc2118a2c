"""Retinal OCT B-scans: planes with the retina lying across, vitreous above.

Every choice and where it comes from:

- Mask ratio 0.85: the arguments kept in RETFound's published OCT checkpoint (Zhou et al., Nature 2023, read by its
  users), higher than 0.75 for photographs because neighbouring A-scans repeat each other.
- Weak views: crop of at least half of the area, since lesions are small and lie in a thin band that MAE's 0.2 would
  often miss, and because weak augmentation served retinal images better (arXiv 2501.02451). Horizontal flips: the
  other eye. Never vertical ones: vitreous is above, choroid below, and shadows fall downwards.
- Strong views: crops of 0.3 to 1 of the area (SimCLR's 0.08 mostly shows background), rotation by 10 degrees as heads
  and eyes tilt, gamma and contrast as devices differ in their log compression and roll-off, blur as they differ in
  resolution (SimCLR, Chen et al. 2020), and multiplicative speckle, the noise of coherent imaging. No colour, no
  solarising: they do not exist in this modality. The amounts are ours, not tuned on any label.
- Window for sources of more than 8 bits: percentiles 0.1 and 99.9 of each image, so that a few specular reflections
  do not set the scale; narrow because dark fluid and bright drusen are the signal. Ours.
- Small shifts are those of the crops: their place is drawn. Moving a B-scan beyond its edge would mirror the retina.
- Flattening is off: it makes depth a row, but the shape of the eye is lost, and where lesions hide the brightest layer
  it may bend what is straight. Of every 36th B-scan of Kermany et al. 16 of 20 came out level, by eye. In a file of
  values `reading: {flatten: true}` turns it on (`parts/flattening.py`).
- Size 224, as in RETFound.
"""

from functools import partial

import numpy as np

from medssl.augment import blur, geometry, speckle, tone
from medssl.data.image import Image
from medssl.modalities.parts.flattening import flattened
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import Percentiles, check_plane, grey_square
from medssl.settings import Choice, Settings


class Reading(Settings):
    """How intensities are read.

    Attributes:
        percentiles: Window of sources of more than 8 bits.
        flatten: Whether the brightest layer is made level.
    """

    percentiles: Percentiles = (0.1, 99.9)
    flatten: bool = False


READING = Reading()

WEAK = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3), flip=(0.0, 0.5)),
)
STRONG = ViewRecipe(
    geometry=geometry.Settings(
        crop_area=(0.3, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0, flip=(0.0, 0.5)
    ),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4), contrast=(0.7, 1.4), brightness=0.1),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
    speckle=speckle.Settings(probability=0.5, strength=(0.0, 0.2)),
)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return a B-scan as one grey channel, (1, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be made grey.
    """
    check_plane(image)
    return grey_square(flattened(image) if reading.flatten else image, size, reading.percentiles)


def modality(reading: Reading = READING) -> Modality:
    """Return retinal OCT B-scans, read in that way."""
    values = reading.model_dump(mode="json")
    return Modality(
        name="oct",
        title="retinal OCT B-scans",
        channels=1,
        spatial_dims=2,
        size=224,
        prepare=partial(prepare, reading=reading),
        preparation={name: value for name, value in values.items() if value is not False} | {"version": 1},
        views={"weak": WEAK, "strong": STRONG},
        recommends={"mae.mask_ratio": Choice(0.85, "RETFound's OCT checkpoint (Zhou et al., Nature 2023)")},
        dicom=("OPT",),
    )


MODALITY = modality()
