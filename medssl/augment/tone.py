"""Changes of grey values: gamma, contrast and brightness.

    y = clip(contrast * (x^gamma - m) + m + brightness, 0, 1),   m the mean of x^gamma

A view is standardised afterwards, which undoes any change that is linear: of contrast and brightness only the
clipping at black and white remains, as in an overexposed picture; gamma remains whole.
"""

import numpy as np
import torch
from pydantic import Field

from medssl import settings as base
from medssl.augment.parts.ranges import PositiveRange, Probability
from medssl.augment.parts.samples import Parameters, beside, change_some, tensor
from medssl.chance import Chance


class Settings(base.Settings):
    """From where tone is drawn; the defaults are the identity.

    Attributes:
        probability: Share of views that are changed.
        gamma: Exponent on intensities in [0, 1], log-uniform.
        contrast: Factor about the mean, log-uniform.
        brightness: Largest shift either way, in units of the full range.
    """

    probability: Probability = 1.0
    gamma: PositiveRange = (1.0, 1.0)
    contrast: PositiveRange = (1.0, 1.0)
    brightness: float = Field(default=0.0, ge=0, le=1)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `gamma`, `contrast` and `brightness`, (B,) each; views left alone have 1, 1 and 0."""
    chosen = chance.spawn("chosen").happens(settings.probability)
    gamma = np.exp(chance.spawn("gamma").uniform(*np.log(settings.gamma)))
    contrast = np.exp(chance.spawn("contrast").uniform(*np.log(settings.contrast)))
    brightness = chance.spawn("brightness").uniform(-settings.brightness, settings.brightness)
    return {
        "gamma": tensor(np.where(chosen, gamma, 1.0)),
        "contrast": tensor(np.where(chosen, contrast, 1.0)),
        "brightness": tensor(np.where(chosen, brightness, 0.0)),
    }


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) in [0, 1] with their tone changed, in [0, 1]."""
    gamma, contrast, brightness = (parameters[name] for name in ("gamma", "contrast", "brightness"))

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        curved = some.clamp(0, 1).log_().mul_(beside(gamma[where], some)).exp_()  # twice as fast as pow
        mean = curved.mean(dim=tuple(range(1, curved.ndim)), keepdim=True)
        factor = beside(contrast[where], some)
        return curved.mul_(factor).add_(mean * (1 - factor) + beside(brightness[where], some)).clamp_(0, 1)

    return change_some(images, (gamma != 1) | (contrast != 1) | (brightness != 0), change)
