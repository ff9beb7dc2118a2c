"""Speckle: noise in proportion to the intensity."""

import torch

from medssl.augment.speckle import Settings, apply, sample
from medssl.chance import Chance


def test_its_deviation_is_a_share_of_the_intensity() -> None:
    images = torch.zeros(2, 1, 100, 100)
    images[:, :, :50] = 0.2
    images[:, :, 50:] = 0.6
    drawn = {"strength": torch.tensor([0.1, 0.05]).double(), "offset": torch.tensor([17.0, 90000.0]).double()}
    noise = apply(images, drawn) - images
    for k, strength in enumerate((0.1, 0.05)):
        assert abs(float(noise[k, 0, :50].std()) / (0.2 * strength) - 1) < 0.05
        assert abs(float(noise[k, 0, 50:].std()) / (0.6 * strength) - 1) < 0.05
        assert abs(float(noise[k].mean())) < 0.003


def test_black_stays_black() -> None:
    drawn = {"strength": torch.tensor([0.5]).double(), "offset": torch.tensor([3.0]).double()}
    assert float(apply(torch.zeros(1, 1, 8, 8), drawn).abs().max()) == 0


def test_the_share_asked_for_is_drawn() -> None:
    drawn = sample(Chance(list(range(3000))), Settings(probability=0.25, strength=(0.05, 0.1)))
    chosen = drawn["strength"][drawn["strength"] > 0]
    assert abs(len(chosen) / 3000 - 0.25) < 0.03
    assert float(chosen.min()) >= 0.05
    assert float(chosen.max()) <= 0.1
    assert len(drawn["offset"].unique()) > 2980
