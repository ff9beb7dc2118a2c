"""A smooth gain over the image, as the coils of an MR scanner leave it: y = clip(x exp(s f), 0, 1).

f is trilinear (bicubic in 2D) between 4 standard normal control points an axis. Such fields are how N4 models what it
removes (Tustison et al. 2010, there with B-splines); MONAI and TorchIO draw polynomials (Sudre et al. 2017).
"""

import numpy as np
import torch
import torch.nn.functional as F

from medssl import settings as base
from medssl.augment.parts.ranges import Probability, Range
from medssl.augment.parts.samples import Parameters, beside, change_some, tensor
from medssl.chance import Chance

_POINTS = 4


class Settings(base.Settings):
    """From where a bias field is drawn; the default is none.

    Attributes:
        probability: Share of views that get one.
        strength: Standard deviation of the logarithm of the gain at a control point, at least 0.
    """

    probability: Probability = 0.0
    strength: Range = (0.0, 0.2)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:
    """Draw `strength`, (B,), 0 for views left alone, and where there are fields at all their `points`, (B, 4, ...)."""
    chosen = chance.spawn("chosen").happens(settings.probability)
    drawn = {"strength": tensor(np.where(chosen, chance.spawn("strength").uniform(*settings.strength), 0.0))}
    if settings.probability > 0:
        drawn["points"] = tensor(chance.spawn("points").normal(0.0, 1.0, (_POINTS,) * spatial_dims))
    return drawn


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) in [0, 1] under their gains, in [0, 1]."""
    smooth = {2: "bicubic", 3: "trilinear"}[images.ndim - 2]

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        points = parameters["points"][where].to(some.device, some.dtype)[:, None]
        field = F.interpolate(points, some.shape[2:], mode=smooth, align_corners=True)
        return field.mul_(beside(parameters["strength"][where], some)).exp_().mul(some).clamp_(0, 1)

    return change_some(images, parameters["strength"] != 0, change)
