"""Another window on the same intensities, drawn from a set: y = clip((x - low) / (high - low), 0, 1).

A radiologist reads one CT in a window for lung, one for soft tissue and one for bone: the same voxels, most of them
black or white in each. Ends of windows are in units of the stored range, [0, 1].
"""

import numpy as np
import torch
from pydantic import field_validator

from medssl import settings as base
from medssl.augment.parts.ranges import Probability
from medssl.augment.parts.samples import Parameters, beside, change_some, tensor
from medssl.chance import Chance


class Settings(base.Settings):
    """From which set windows are drawn; the default is none.

    Attributes:
        probability: Share of views that are seen in one of the windows, each as often as the others.
        windows: (low, high) each, in units of the stored range, low below high; may reach beyond [0, 1].
    """

    probability: Probability = 0.0
    windows: tuple[tuple[float, float], ...] = ()

    @field_validator("windows")
    @classmethod
    def _ordered(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(low >= high for low, high in value):
            raise ValueError("a window goes from its lower to its upper end")
        return value


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `ends`, (B, 2); views left alone have 0 and 1."""
    whole = np.array([[0.0, 1.0]])
    windows = np.array(settings.windows, dtype=np.float64).reshape(-1, 2)
    if not len(windows):
        return {"ends": tensor(np.repeat(whole, len(chance), axis=0))}
    chosen = chance.spawn("chosen").happens(settings.probability)
    which = np.floor(chance.spawn("which").uniform(0, len(windows))).astype(int)
    return {"ends": tensor(np.where(chosen[:, None], windows[which], whole))}


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) in [0, 1] in their windows, in [0, 1]."""
    low, high = parameters["ends"].unbind(1)

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        width = beside(high[where] - low[where], some)
        return (some - beside(low[where], some)).div_(width).clamp_(0, 1)

    return change_some(images, (low != 0) | (high != 1), change)
