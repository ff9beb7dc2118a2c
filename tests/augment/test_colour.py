"""Saturation and a gain a channel."""

import pytest
import torch

from medssl.augment import colour
from medssl.augment.parts.samples import Parameters
from medssl.chance import Chance
from medssl.errors import SettingsError


def parameters(gain: list[float], saturation: float) -> Parameters:
    return {
        "gain": torch.tensor([gain], dtype=torch.float64),
        "saturation": torch.tensor([saturation], dtype=torch.float64),
    }


def test_a_pixel_by_hand() -> None:
    pixel = torch.tensor([0.6, 0.3, 0.0]).reshape(1, 3, 1, 1)  # mean 0.3
    shown = colour.apply(pixel, parameters([1.0, 1.1, 2.0], 0.5)).flatten()
    torch.testing.assert_close(shown, torch.tensor([0.45, 0.33, 0.3]))


def test_no_saturation_is_grey_and_black_stays_black() -> None:
    images = torch.rand(1, 3, 5, 6)
    images[..., 0] = 0
    shown = colour.apply(images, parameters([1, 1, 1], 1e-9))
    torch.testing.assert_close(shown, images.mean(1, keepdim=True).expand_as(images), atol=1e-6, rtol=0)
    assert (colour.apply(images, parameters([1.2, 0.8, 1.1], 1.5))[..., 0] == 0).all()


def test_channels_draw_gains_of_their_own_within_the_range() -> None:
    drawn = colour.sample(Chance(range(1000)), colour.Settings(gain=(0.9, 1.1), saturation=(0.5, 2.0)))
    gain, saturation = drawn["gain"], drawn["saturation"]
    assert gain.shape == (1000, 3)
    assert 0.9 <= float(gain.min()) < 0.91
    assert 1.09 < float(gain.max()) <= 1.1
    assert float(torch.corrcoef(gain.T)[0, 1].abs()) < 0.1
    assert float(saturation.log().mean().abs()) < 0.05


def test_a_share_is_left_alone() -> None:
    drawn = colour.sample(Chance(range(2000)), colour.Settings(probability=0.3, gain=(0.9, 1.1)))
    assert float((drawn["gain"] != 1).any(1).double().mean()) == pytest.approx(0.3, abs=0.04)


def test_grey_images_have_no_colour_to_change() -> None:
    with pytest.raises(SettingsError, match=r"`colour`.*1 channels, not 3"):
        colour.apply(torch.rand(1, 1, 4, 4), parameters([1.1, 1, 1], 1))
