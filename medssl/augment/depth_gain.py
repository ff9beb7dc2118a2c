"""Gain that changes with depth, as the sliders of an ultrasound scanner set it: y = clip(x * exp(s t), 0, 1).

t goes from -1 at the first row of the view to 1 at its last: depth is the first spatial axis, with the transducer
above. A product keeps black black, in and around the sector; the scanner adds decibels before its display cuts at
black, which shows the same.
"""

import numpy as np
import torch
from pydantic import Field

from medssl import settings as base
from medssl.augment.parts.ranges import Probability
from medssl.augment.parts.samples import Parameters, beside, change_some, tensor
from medssl.chance import Chance


class Settings(base.Settings):
    """From where the gain is drawn; the default is none.

    Attributes:
        probability: Share of views that are changed.
        slope: Largest s either way: the logarithm of the factor at the last row.
    """

    probability: Probability = 0.0
    slope: float = Field(default=0.3, ge=0, le=2)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `slope`, (B,), 0 for views left alone."""
    chosen = chance.spawn("chosen").happens(settings.probability)
    drawn = chance.spawn("slope").uniform(-settings.slope, settings.slope)
    return {"slope": tensor(np.where(chosen, drawn, 0.0))}


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) in [0, 1] with another gain at each depth, in [0, 1]."""
    depth = torch.linspace(-1, 1, images.shape[2], device=images.device, dtype=images.dtype)
    depth = depth.reshape(-1, *[1] * (images.ndim - 3))

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        gain = (beside(parameters["slope"][where], some) * depth).exp_()
        return gain.mul(some).clamp_(0, 1)

    return change_some(images, parameters["slope"] != 0, change)
