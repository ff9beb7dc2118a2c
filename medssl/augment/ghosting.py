"""Ghosts of something that moves with a period while the lines of k-space are read, as breath or a pulse does in MR.

The lines along the phase-encoding axis are weighted by 1 + s cos(2 pi k d / n + p), for lines k of n and a period that
puts the ghosts d pixels away. By the shift theorem that is, without a Fourier transform,

    y(r) = | x(r) + s/2 (e^ip x(r + d) + e^-ip x(r - d)) |,

with x continued around its edges as a field of view is, and the result clipped to [0, 1]. Periodic weights and their
ghosts: Wood and Henkelman, "MR image artifacts from periodic motion", Medical Physics 1985. Which axis encodes phase
is not known of a stored volume, so it is drawn.
"""

import math

import numpy as np
import torch

from medssl import settings as base
from medssl.augment.parts.ranges import Probability, Share
from medssl.augment.parts.samples import Parameters, change_some, tensor
from medssl.chance import Chance


class Settings(base.Settings):
    """From where ghosts are drawn; the default is none.

    Attributes:
        probability: Share of views that get them.
        strength: s above, the depth of the modulation; each ghost has half of it.
        distance: Of the ghosts, as a share of the view along the axis.
    """

    probability: Probability = 0.0
    strength: Share = (0.05, 0.3)
    distance: Share = (0.1, 0.5)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:
    """Draw `strength`, `distance`, `axis` (0 for the first) and `phase` in radians, (B,); 0 for views left alone."""
    chosen = chance.spawn("chosen").happens(settings.probability)
    drawn = {
        "strength": chance.spawn("strength").uniform(*settings.strength),
        "distance": chance.spawn("distance").uniform(*settings.distance),
        "axis": np.floor(chance.spawn("axis").uniform(0, spatial_dims)),
        "phase": chance.spawn("phase").uniform(0, 2 * math.pi),
    }
    return {name: tensor(np.where(chosen, values, 0.0)) for name, values in drawn.items()}


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) in [0, 1] with their ghosts, in [0, 1]."""
    names = ("strength", "distance", "axis", "phase")

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        drawn = zip(*(parameters[name][where].tolist() for name in names), strict=True)
        return torch.stack([_ghosted(one, *values) for one, values in zip(some, drawn, strict=True)])

    return change_some(images, parameters["strength"] != 0, change)


def _ghosted(image: torch.Tensor, strength: float, distance: float, axis: float, phase: float) -> torch.Tensor:
    """Return one image (C, *spatial) with ghosts along one axis."""
    along = 1 + int(axis)
    pixels = round(distance * image.shape[along])
    ahead, behind = image.roll(-pixels, along), image.roll(pixels, along)
    real = image + (ahead + behind).mul_(strength / 2 * math.cos(phase))
    imaginary = (ahead - behind).mul_(strength / 2 * math.sin(phase))
    return torch.hypot(real, imaginary).clamp_(0, 1)
