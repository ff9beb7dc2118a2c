"""Equalisation against a loop over levels, and what must not change."""

import numpy as np
import pytest
import torch

from medssl.augment import equalise
from medssl.chance import Chance


def wholly(images: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    return equalise.apply(images, {"strength": torch.full((len(images),), strength, dtype=torch.float64)})


def loop(levels: np.ndarray) -> np.ndarray:
    """Return OpenCV's formula, value by value: the share of the pixels above the darkest level."""
    flat = levels.ravel()
    darkest = (flat == flat.min()).sum()
    return np.array([((flat <= value).sum() - darkest) / (flat.size - darkest) for value in flat]).reshape(levels.shape)


@pytest.mark.parametrize("shape", [(1, 20, 31), (3, 9, 10), (1, 7, 8, 9)])
def test_eight_bit_images_become_what_a_loop_over_pixels_makes_of_them(shape: tuple[int, ...]) -> None:
    levels = np.random.default_rng(0).beta(2, 8, (2, *shape))
    levels = np.rint(levels * 255).astype(int)
    made = wholly(torch.from_numpy(levels / 255).float())
    for one, before in zip(made.numpy(), levels, strict=True):
        np.testing.assert_allclose(one, loop(before), atol=1e-5)


def test_between_levels_it_is_interpolated_and_stays_monotone() -> None:
    values = (0.5 + 0.1 * torch.randn(1, 1, 50, 50, generator=torch.manual_seed(0))).clamp(0, 1)
    made = wholly(values).flatten()[values.flatten().argsort()]
    assert (made.diff() >= -1e-6).all()
    assert abs(float(made.mean()) - 0.5) < 0.02
    assert len(made.unique()) > 1000


def test_half_of_it_lies_halfway() -> None:
    values = torch.rand(2, 1, 16, 16) ** 2
    torch.testing.assert_close(wholly(values, 0.5), (values + wholly(values)) / 2)


def test_black_stays_black_and_an_even_image_as_it_is() -> None:
    image = torch.rand(1, 1, 20, 20)
    image[..., :12, :] = 0
    assert (wholly(image)[..., :12, :] == 0).all()
    assert torch.allclose(wholly(torch.full((1, 1, 8, 8), 0.3)), torch.tensor(0.3))


def test_the_share_of_views_and_their_strength_are_as_asked() -> None:
    settings = equalise.Settings(probability=0.3, strength=(0.5, 1.0))
    drawn = equalise.sample(Chance(range(2000)), settings)["strength"]
    assert abs(float((drawn > 0).double().mean()) - 0.3) < 0.04
    assert drawn[drawn > 0].min() >= 0.5
    assert drawn.max() <= 1
