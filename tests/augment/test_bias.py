import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from medssl.augment import bias
from medssl.chance import Chance

SETTINGS = bias.Settings(probability=1.0, strength=(0.2, 0.2))


def test_a_volume_is_multiplied_by_the_exponential_of_the_interpolated_points() -> None:
    drawn = bias.sample(Chance([1, 2]), SETTINGS, 3)
    images = torch.rand(2, 1, 10, 10, 10) * 0.5
    changed = bias.apply(images, drawn)
    for one, before, points in zip(changed, images, drawn["points"]):
        field = zoom(points.numpy(), 10 / 4, order=1, mode="nearest", grid_mode=False)
        expected = (before[0].numpy() * np.exp(0.2 * field)).clip(0, 1)
        np.testing.assert_allclose(one[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_gain_is_smooth_and_as_strong_as_asked(dims: int) -> None:
    drawn = bias.sample(Chance(range(200)), SETTINGS, dims)
    gain = bias.apply(torch.full((200, 1, *[24] * dims), 0.3), drawn) / 0.3
    log = gain.log()
    assert 0.08 < log.std() < 0.22
    assert log.diff(dim=-1).abs().max() < 0.2
    assert (drawn["points"].std() - 1).abs() < 0.1
