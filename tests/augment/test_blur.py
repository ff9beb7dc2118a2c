"""Blur against scipy's, and independent of the batch."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medssl.augment.blur import REFERENCE_SIZE, Settings, apply, sample
from medssl.chance import Chance


@pytest.mark.parametrize("shape", [(40, 56), (20, 24, 28)])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.4])
def test_it_is_a_gaussian_of_the_width_asked_for(shape: tuple[int, ...], sigma: float) -> None:
    image = torch.rand(1, 2, *shape)
    drawn = {"sigma": torch.tensor([sigma * REFERENCE_SIZE / min(shape)], dtype=torch.float64)}
    blurred = apply(image, drawn)
    for channel in range(2):
        radius = int(np.ceil(3 * sigma))
        expected = gaussian_filter(image[0, channel].double().numpy(), sigma, mode="nearest", radius=radius)
        np.testing.assert_allclose(blurred[0, channel], expected, atol=1e-5)


def test_each_sample_has_its_own_width_whatever_the_others_have() -> None:
    images = torch.rand(4, 1, 32, 32)
    sigma = torch.tensor([3.0, 0.0, 14.0, 7.0], dtype=torch.float64)
    together = apply(images, {"sigma": sigma})
    for k in range(4):
        assert torch.equal(together[k], apply(images[k : k + 1], {"sigma": sigma[k : k + 1]})[0])
    assert torch.equal(together[1], images[1])


def test_a_view_of_half_the_size_is_blurred_alike() -> None:
    large = torch.nn.functional.interpolate(torch.rand(1, 1, 8, 8), (128, 128), mode="bicubic")
    small = torch.nn.functional.avg_pool2d(large, 2)
    drawn = {"sigma": torch.tensor([20.0], dtype=torch.float64)}
    half = torch.nn.functional.avg_pool2d(apply(large, drawn), 2)
    torch.testing.assert_close(apply(small, drawn)[..., 8:-8, 8:-8], half[..., 8:-8, 8:-8], atol=5e-3, rtol=0)
    assert float((half - small)[..., 8:-8, 8:-8].abs().max()) > 0.05


def test_the_share_and_the_range_asked_for_are_drawn() -> None:
    sigma = sample(Chance(list(range(3000))), Settings(probability=0.4, sigma=(0.5, 1.5)))["sigma"]
    chosen = sigma[sigma > 0]
    assert abs(len(chosen) / 3000 - 0.4) < 0.03
    assert 0.5 <= float(chosen.min()) < 0.51
    assert 1.49 < float(chosen.max()) <= 1.5
