"""Gaussian blur, one axis after the other, with a width of its own for every sample.

Sums of shifted copies rather than a convolution: what a sample gets does not depend on the batch it is in.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from medssl import settings as base
from medssl.augment.parts.ranges import PositiveRange, Probability
from medssl.augment.parts.samples import Parameters, change_some, tensor
from medssl.chance import Chance

REFERENCE_SIZE = 224
_MOST_SIGMAS = 3


class Settings(base.Settings):
    """From where blur is drawn; the default is none.

    Attributes:
        probability: Share of views that are blurred.
        sigma: Standard deviation in pixels of a view of 224 pixels, scaled with the view's size so that anatomy is
            blurred alike at every size. SimCLR: 0.1 to 2.0 (Chen et al. 2020, appendix A).
    """

    probability: Probability = 0.0
    sigma: PositiveRange = (0.1, 2.0)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `sigma`, (B,), 0 for views left alone."""
    chosen = chance.spawn("chosen").happens(settings.probability)
    return {"sigma": tensor(np.where(chosen, chance.spawn("sigma").uniform(*settings.sigma), 0.0))}


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, C, *spatial) blurred, edges repeated outwards."""
    sigma = parameters["sigma"] * (min(images.shape[2:]) / REFERENCE_SIZE)

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        taps = _taps(sigma[where])
        for axis in range(2, some.ndim):
            some = _along(some, taps, axis)
        return some

    return change_some(images, sigma > 0, change)


def _taps(sigma: torch.Tensor) -> torch.Tensor:
    """Return one half of each kernel, (R + 1, B); beyond 3 sigma of its own sample a weight is 0, whatever R is."""
    reach = (_MOST_SIGMAS * sigma).ceil().clamp(min=1)
    distance = torch.arange(int(reach.max()) + 1, dtype=torch.float64)[:, None]
    weights = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= reach)
    return weights / (2 * weights.sum(0) - weights[0])


def _along(images: torch.Tensor, taps: torch.Tensor, axis: int) -> torch.Tensor:
    """Blur one axis. A shift along it is a shift of the flat memory, so every sum runs over one contiguous piece."""
    reach, n, step = len(taps) - 1, images.shape[axis], math.prod(images.shape[axis + 1 :])
    padding = [0, 0] * (images.ndim - 2)
    place = 2 * (images.ndim - 1 - axis)
    padding[place] = padding[place + 1] = reach
    wide = F.pad(images, padding, mode="replicate")
    flat, result = wide.flatten(1), torch.zeros_like(wide)
    whole = flat.shape[1] - 2 * reach * step  # beyond, a shift would leave the memory; cut off below
    total = result.flatten(1)[:, :whole]
    weights = taps.to(images.device, images.dtype)[:, :, None]
    for shift in range(2 * reach + 1):
        total.addcmul_(flat[:, shift * step : shift * step + whole], weights[abs(shift - reach)])
    return result.narrow(axis, 0, n)
