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
- Stored: cut to the rows and columns with more than black border (a pixel in 200 above 1/50 of full brightness), then
  black to a square, so that angles and circles keep their shape. Text and scales that are burnt in stay, and widen
  the box where they lie beside the sector. A picture where less than a fifth of a side would be left is kept whole.
  Colour (Doppler) becomes grey. Ours.
- Window for sources of more than 8 bits: from the darkest, which stays black, to percentile 99.9. Ours.
- No mask ratio is recommended: no published one is known to us.
- Size 224.
"""

import numpy as np

from medssl.augment import depth_gain, geometry, speckle, tone
from medssl.data.image import Image
from medssl.data.packing import stretched
from medssl.modalities.parts import region
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import grey_square

PERCENTILES = (0.0, 99.9)
LEVEL, SHARE, LEAST = 0.02, 0.005, 0.2

WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(crop_area=(0.4, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4)),
    depth_gain=depth_gain.Settings(probability=0.5, slope=0.3),
    speckle=speckle.Settings(probability=0.5, strength=(0.0, 0.2)),
)


def sector(image: Image) -> Image:
    """Return the picture without its black border, padded to a square.

    Raises:
        DataError: It is a volume or cannot be stored.
    """
    return region.without_border(image, LEVEL, SHARE, LEAST)


def prepare(image: Image, size: int) -> np.ndarray:
    """Return the sector as one grey channel, (1, size, size) uint8 or uint16.

    Raises:
        DataError: It is a volume or cannot be made grey.
    """
    return grey_square(sector(image), size, PERCENTILES)


MODALITY = Modality(
    name="ultrasound",
    title="ultrasound in B mode",
    channels=1,
    spatial_dims=2,
    size=224,
    prepare=prepare,
    preparation={"percentiles": list(PERCENTILES), "level": LEVEL, "share": SHARE, "least": LEAST, "version": 1},
    views={"weak": WEAK, "strong": STRONG},
    stored_spacing=lambda image, stored: stretched(image, stored, sector(image).array.shape[1:]),
)
