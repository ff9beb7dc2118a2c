"""Changes of colour that keep hues apart: saturation and a mild gain a channel, as light sources and sensors differ.

    y_c = clip(g_c * (m + s * (x_c - m)), 0, 1),   m the mean of the channels at a pixel

Black stays black. There is no shift of hue, no random grey and no dropped channel: a colour is a finding.
"""

import numpy as np
import torch

from medssl import settings as base
from medssl.augment.parts.ranges import PositiveRange, Probability
from medssl.augment.parts.samples import Parameters, beside, change_some, need_three_channels, tensor
from medssl.chance import Chance

CHANNELS = 3


class Settings(base.Settings):
    """From where colour is drawn; the defaults are the identity.

    Attributes:
        probability: Share of views that are changed.
        gain: Factor on each of the three channels, drawn one by one, log-uniform.
        saturation: Factor on the distance of a pixel's channels from their mean, log-uniform.
    """

    probability: Probability = 1.0
    gain: PositiveRange = (1.0, 1.0)
    saturation: PositiveRange = (1.0, 1.0)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2) -> Parameters:  # noqa: ARG001
    """Draw `gain`, (B, 3), and `saturation`, (B,); views left alone have 1."""
    chosen = chance.spawn("chosen").happens(settings.probability)
    low, high = np.log(settings.gain)
    gain = np.exp(chance.spawn("gain").uniform(low, high, (CHANNELS,)))
    saturation = np.exp(chance.spawn("saturation").uniform(*np.log(settings.saturation)))
    return {
        "gain": tensor(np.where(chosen[:, None], gain, 1.0)),
        "saturation": tensor(np.where(chosen, saturation, 1.0)),
    }


def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Return images (B, 3, *spatial) in [0, 1] with their colours changed, in [0, 1].

    Raises:
        SettingsError: A change is asked for images of another number of channels.
    """
    gain, saturation = parameters["gain"], parameters["saturation"]

    def change(some: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        need_three_channels(some, "colour")
        mean = (some[:, :1] + some[:, 1:2] + some[:, 2:]) / CHANNELS
        gains = beside(gain[where].flatten(), some).reshape(-1, CHANNELS, *[1] * (some.ndim - 2))
        return (some - mean).mul_(beside(saturation[where], some)).add_(mean).mul_(gains).clamp_(0, 1)

    return change_some(images, (gain != 1).any(1) | (saturation != 1), change)
