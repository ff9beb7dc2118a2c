"""Histogram equalisation, whole or in part: every grey value becomes the share of pixels that are at most as bright.

    y = (1 - a) x + a (cdf(x) - cdf_0) / (1 - cdf_0)

cdf is the cumulative histogram over 256 levels of all channels of an image together, interpolated between levels, and
cdf_0 its value at the darkest level that occurs, so that black stays black (the formula of OpenCV's `equalizeHist`).
Film, detectors and the processing behind them differ in their curves more than in anything else, and stations equalise
for the eye themselves (Pizer et al., "Adaptive histogram equalization and its variations", 1987; the whole image here,
not tiles of it).
"""

import numpy as np
import torch

from medssl import settings as base
from medssl.augment.parts.ranges import Probability, Share
from medssl.augment.parts.samples import Parameters, beside, change_some, tensor
from medssl.chance import Chance

_LEVELS = 256


class Settings(base.Settings):
    """From where equalisation is drawn; the default is none.

    Attributes:
        probability: Share of views that are equalised.
        strength: a above: 0 leaves the view as it is, 1 equalises it wholly.
    """

    probability: Probability = 0.0
    strength: Share = (0.5, 1.0)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `strength`, (B,), 0 for views left alone."""
    chosen = chance.spawn("chosen").happens(settings.probability)
    return {"strength": tensor(np.where(chosen, chance.spawn("strength").uniform(*settings.strength), 0.0))}


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) in [0, 1] equalised one by one, in [0, 1]; an even image stays as it is."""

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        place = some.flatten(1).clamp(0, 1) * (_LEVELS - 1)
        below = place.floor()
        curves = _curves(place.round().to(torch.int64)).to(some.dtype)
        low = below.to(torch.int64)
        first, second = curves.gather(1, low), curves.gather(1, (low + 1).clamp_(max=_LEVELS - 1))
        even = torch.lerp(first, second, place.sub_(below)).reshape(some.shape)
        return torch.lerp(some, even, beside(parameters["strength"][where], some)).clamp_(0, 1)

    return change_some(images, parameters["strength"] != 0, change)


def _curves(levels: torch.Tensor) -> torch.Tensor:
    """Return the new value of each level, (B, 256) float64, from the levels of all pixels, (B, N)."""
    count = len(levels)
    rows = torch.arange(count, device=levels.device)[:, None] * _LEVELS
    counted = torch.bincount((levels + rows).flatten(), minlength=count * _LEVELS).reshape(count, _LEVELS)
    cumulative = counted.cumsum(1).double()
    darkest = counted.gather(1, levels.min(1, keepdim=True).values).double()
    total = levels.shape[1] - darkest
    curves = (cumulative - darkest).clamp_(min=0) / total.clamp(min=1)
    same = torch.arange(_LEVELS, device=levels.device, dtype=torch.float64) / (_LEVELS - 1)
    return torch.where(total > 0, curves, same)
