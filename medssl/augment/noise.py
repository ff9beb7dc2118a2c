"""Additive noise of the detector: y = clip(x + s n, 0, 1), n standard normal a pixel."""

import torch

from medssl import settings as base
from medssl.augment.parts import bank
from medssl.augment.parts.ranges import Probability, Range
from medssl.augment.parts.samples import Parameters, beside, change_some
from medssl.chance import Chance


class Settings(base.Settings):
    """From where noise is drawn; the default is none.

    Attributes:
        probability: Share of views that get it.
        strength: Standard deviation in units of the full range, at least 0.
    """

    probability: Probability = 0.0
    strength: Range = (0.0, 0.03)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `strength`, 0 for views left alone, and `offset` into the noise bank, (B,) each."""
    return bank.draw(chance, settings.probability, settings.strength)


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) in [0, 1] with noise, in [0, 1]."""

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        noise = bank.fields(parameters["offset"][where], some)
        return noise.mul_(beside(parameters["strength"][where], some)).add_(some).clamp_(0, 1)

    return change_some(images, parameters["strength"] != 0, change)
