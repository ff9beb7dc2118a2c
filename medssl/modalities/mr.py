"""Magnetic resonance volumes of any sequence: intensities without a unit, smooth gains, noise.

Every choice and where it comes from:

- Intensities: z-scores inside the head (or body), as MR has no unit and one scanner's volumes differ by orders of
  magnitude; nnU-Net (Isensee et al., Nature Methods 2021) standardises each volume by the voxels that are no
  background. The head is what lies above Otsu's threshold (1979), its largest connected part, holes filled. Where what
  lies below is no air (at least a fifth as bright as the rest, as in crops of the brain) all voxels count. -3 to 4
  standard deviations become 0 to 65535, or from the darkest voxel where that is nearer. Ours.
- Sequences: every volume is standardised alone, so T1, T2, FLAIR and diffusion lie in one range, each with its own
  contrast; `medssl scan` keeps sequences, echoes and time points of a series apart. No view inverts a contrast: that
  would make one sequence of another.
- A cube with the field of view's proportions: anatomy keeps its shape whatever the spacing. Ours.
- Weak views: crops of at least half of the volume, left-right flips (the other side of a body that is nearly
  symmetric). Where the side is the label, set `augment.geometry.flip` to [0, 0, 0].
- Strong views: crops of 0.3 to 1, rotation by 10 degrees, gamma, blur, noise, a bias field, and ghosts of motion
  with a period (`medssl/augment/ghosting.py`). The amounts are ours, not tuned on any label.
- 48 voxels a side on a CPU, 96 on a GPU: the sizes that self-supervised 3D transformers are trained at (96: Tang et
  al., "Self-supervised pre-training of Swin transformers for 3D medical image analysis", CVPR 2022).
"""

from functools import partial

import numpy as np
from pydantic import field_validator
from scipy import ndimage

from medssl.augment import bias, blur, geometry, ghosting, noise, tone
from medssl.augment.parts.ranges import Range
from medssl.data.image import Image
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.modalities.parts.preparation import above
from medssl.modalities.parts.threshold import otsu
from medssl.modalities.parts.volumes import cube, spacing_of_cube
from medssl.settings import Choice, Settings

_USUAL = (0.5, 99.5)  # percentiles: a few bright vessels do not set the deviation
_AIR = 0.2  # of the brightness of the rest


class Reading(Settings):
    """How intensities are read: which z-scores inside the head become 0 and 65535."""

    z_scores: Range = (-3.0, 4.0)

    @field_validator("z_scores")
    @classmethod
    def _apart(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not -20 <= value[0] < value[1] <= 20:
            raise ValueError("z-scores go from a lower to a higher one, between -20 and 20")
        return value


READING = Reading()

WEAK = ViewRecipe(geometry=geometry.Settings(crop_area=(0.5, 1.0), crop_aspect=(3 / 4, 4 / 3), flip=(0.0, 0.0, 0.5)))
STRONG = ViewRecipe(
    geometry=geometry.Settings(
        crop_area=(0.3, 1.0), crop_aspect=(3 / 4, 4 / 3), rotation_degrees=10.0, flip=(0.0, 0.0, 0.5)
    ),
    bias=bias.Settings(probability=0.5, strength=(0.0, 0.3)),
    ghosting=ghosting.Settings(probability=0.2, strength=(0.05, 0.2)),
    tone=tone.Settings(probability=0.8, gamma=(0.7, 1.4), contrast=(0.7, 1.4), brightness=0.1),
    blur=blur.Settings(probability=0.5, sigma=(0.1, 2.0)),
    noise=noise.Settings(probability=0.5, strength=(0.0, 0.05)),
)


def prepare(image: Image, size: int, reading: Reading = READING) -> np.ndarray:
    """Return a volume as one grey channel in a cube, (1, size, size, size) uint16.

    Raises:
        DataError: It is a plane, has several channels, or its spacing is unknown.
    """
    return cube(image, size, partial(_window, reading=reading, floor=image.floor))


def _window(values: np.ndarray, reading: Reading, floor: float) -> np.ndarray:
    inside = values[head(values, floor)]
    inside = inside.clip(*np.percentile(inside, _USUAL))
    mean, deviation = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    low, high = (mean + z * deviation for z in reading.z_scores)
    low = max(low, float(above(values, floor).min()))
    return (values - low) / max(high - low, 1e-12)


def head(values: np.ndarray, floor: float = -np.inf) -> np.ndarray:
    """Return which voxels (slices, rows, columns) are not air around the patient; all where there is none.

    Padding, what is not above the floor, is no part of it and sets no threshold.
    """
    measured = values > floor
    known = values[measured]
    low, high = float(known.min()), float(np.percentile(known, 99.5))
    scaled = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    bright = measured & (scaled > otsu(scaled[measured]))
    dark = measured & ~bright
    nothing = min(low, 0.0)  # no signal is 0, and the darkest tissue of a crop is more
    if not bright.any() or not dark.any():
        return measured
    if values[dark].mean() - nothing >= _AIR * (values[bright].mean() - nothing):
        return measured
    parts, _ = ndimage.label(bright | ndimage.binary_closing(bright))  # closing alone eats the edges of the volume
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(largest))


def modality(reading: Reading = READING) -> Modality:
    """Return MR volumes, read in that way."""
    return Modality(
        name="mr",
        title="MR volumes",
        channels=1,
        spatial_dims=3,
        size=96,
        prepare=partial(prepare, reading=reading),
        preparation={**reading.model_dump(mode="json"), "version": 2},
        views={"weak": WEAK, "strong": STRONG},
        stored_spacing=spacing_of_cube,
        recommends={
            "mae.mask_ratio": Choice(0.75, "the ratio of He et al. 2022; not tuned on volumes here"),
            "spark.mask_ratio": Choice(0.75, "SparK of volumes in the code of nnssl; not tuned here"),
        },
        dicom=("MR",),
    )


MODALITY = modality()
