"""Gaussian noise fields that cost a copy: windows of one fixed bank, each at a place of its own.

Drawing a field for every view costs several times the warp. A bank of 2^20 numbers is drawn once from `Chance`; a
field is the window that starts at the sample's offset. It is the same on every device and for every batch.
"""

import functools

import numpy as np
import torch

from medssl.augment.parts.samples import Parameters, tensor
from medssl.chance import Chance, key

SIZE = 2**20


@functools.cache
def _bank(device: torch.device, length: int) -> torch.Tensor:
    once = tensor(Chance([key("noise bank")]).normal(size=(SIZE,))[0]).float()
    return once.repeat(1 + -(-length // SIZE)).to(device)


def draw(chance: Chance, probability: float, strength: tuple[float, float]) -> Parameters:
    """Draw `strength` from its range, 0 for views left alone, and `offset` into the bank, (B,) each."""
    chosen = chance.spawn("chosen").happens(probability)
    drawn = chance.spawn("strength").uniform(*strength)
    return {"strength": tensor(np.where(chosen, drawn, 0.0)), "offset": offsets(chance.spawn("offset"))}


def offsets(chance: Chance) -> torch.Tensor:
    """Draw where each sample's window starts, (B,) integers in [0, SIZE) as float64."""
    return tensor(chance.uniform(0, SIZE)).floor()


def fields(starts: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return standard normal noise shaped like the images, (B, C, *spatial), row b from the window at `starts[b]`."""
    length = images[0].numel()
    bank = _bank(images.device, length)
    windows = [bank[start : start + length] for start in starts.to(torch.int64).tolist()]
    return torch.stack(windows).reshape(images.shape)
