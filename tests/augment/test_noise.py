"""Noise and its bank: the same everywhere, another field for every sample, nearly white and nearly normal."""

import numpy as np
import torch
from scipy import stats

from medssl.augment.noise import apply
from medssl.augment.parts import bank


def test_its_deviation_is_the_strength_whatever_the_intensity() -> None:
    images = torch.full((1, 1, 100, 100), 0.5)
    images[:, :, 50:] = 0.3
    drawn = {"strength": torch.tensor([0.03]).double(), "offset": torch.tensor([17.0]).double()}
    noise = apply(images, drawn) - images
    assert abs(float(noise[:, :, :50].std()) / 0.03 - 1) < 0.05
    assert abs(float(noise[:, :, 50:].std()) / 0.03 - 1) < 0.05


def test_fields_are_normal_and_white() -> None:
    field = bank.fields(torch.tensor([12345.0]), torch.empty(1, 1, 128, 128))[0, 0].double().numpy()
    assert stats.kstest(field.ravel(), "norm").pvalue > 0.01
    for moved in (field[1:], field[:, 1:]):
        still = field[: moved.shape[0], : moved.shape[1]]
        assert abs(np.corrcoef(still.ravel(), moved.ravel())[0, 1]) < 0.03


def test_a_window_over_the_end_goes_on_at_the_beginning() -> None:
    images = torch.empty(1, 1, 4, 4)
    end = bank.fields(torch.tensor([bank.SIZE - 8.0]), images).flatten()
    torch.testing.assert_close(end[8:], bank.fields(torch.tensor([0.0]), images).flatten()[:8], atol=0, rtol=0)


def test_a_volume_larger_than_the_bank_is_filled() -> None:
    images = torch.empty(1, 1, 110, 110, 110)
    assert images.numel() > bank.SIZE
    assert abs(float(bank.fields(torch.tensor([5.0]), images).std()) - 1) < 0.01
