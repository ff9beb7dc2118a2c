"""Stain jitter: how much of haematoxylin, eosin and DAB a slide holds, changed apart.

Light is absorbed exponentially (Lambert-Beer), so stains add up as optical densities d = -log10(x), and the density of
each of the three channels is s M, with a row of M for the colour of each stain. The jitter of Tellez et al.
("Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train distilled stain-invariant
convolutional networks", IEEE TMI 2018; "Quantifying the effects of data augmentation and stain color normalization",
Medical Image Analysis 2019) changes each amount of stain and goes back:

    s = d M^-1,   s_k' = a_k s_k + b_k,   y = clip(10^-(s' M), 0, 1)

M is that of Ruifrok and Johnston ("Quantification of histochemical staining by color deconvolution", 2001), each row
of length 1. Densities are in base 10 here; another library's b may count in another unit.
"""

import math

import numpy as np
import torch
from pydantic import Field

from medssl import settings as base
from medssl.augment.parts.ranges import Probability
from medssl.augment.parts.samples import Parameters, change_some, need_three_channels, tensor
from medssl.chance import Chance

# Haematoxylin, eosin, DAB; red, green, blue.
STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
_DARKEST = 1 / 255  # its density, 2.4, stands for black, which has none


class Settings(base.Settings):
    """From where stains are drawn; the default is none.

    Attributes:
        probability: Share of views that are changed.
        ratio: Half-width about 1 of the factor on each stain, uniform, in [0, 1).
        shift: Half-width about 0 of what is added to each stain, in units of optical density, uniform.
    """

    probability: Probability = 0.0
    ratio: float = Field(default=0.05, ge=0, lt=1)
    shift: float = Field(default=0.0, ge=0, le=1)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `ratio` and `shift`, (B, 3) each; views left alone have 1 and 0."""
    chosen = chance.spawn("chosen").happens(settings.probability)[:, None]
    ratio = chance.spawn("ratio").uniform(1 - settings.ratio, 1 + settings.ratio, (len(STAINS),))
    shift = chance.spawn("shift").uniform(-settings.shift, settings.shift, (len(STAINS),))
    return {"ratio": tensor(np.where(chosen, ratio, 1.0)), "shift": tensor(np.where(chosen, shift, 0.0))}


def matrix() -> torch.Tensor:
    """Return M, (3 stains, 3 channels) float64, rows of length 1."""
    rows = torch.tensor(STAINS, dtype=torch.float64)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, 3, *spatial) of RGB in [0, 1] with their stains changed, in [0, 1].

    Raises:
        SettingsError: A change is asked for images of another number of channels.
    """
    ratio, shift = parameters["ratio"], parameters["shift"]
    stains = matrix()

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        need_three_channels(some, "stain")
        # Both changes of base and the factors are one 3 x 3 matrix a sample: d' = d A + b.
        linear = torch.linalg.inv(stains) @ (ratio[where, :, None] * stains)
        offset = shift[where] @ stains * math.log(10)
        density = some.clamp(min=_DARKEST).log_().neg_()
        return torch.stack([_mixed(density, linear[:, :, c], offset[:, c]) for c in range(len(STAINS))], dim=1)

    return change_some(images, ((ratio != 1) | (shift != 0)).any(1), change)


def _mixed(density: torch.Tensor, weights: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Return one channel, (B, *spatial): sums of three, so that no sample depends on its batch."""
    shape = [-1, *[1] * (density.ndim - 2)]
    parts = [w.to(density.device, density.dtype).reshape(shape) for w in weights.unbind(1)]
    total = offset.to(density.device, density.dtype).reshape(shape) + parts[0] * density[:, 0]
    return total.add_(parts[1] * density[:, 1]).add_(parts[2] * density[:, 2]).neg_().exp_().clamp_(0, 1)
