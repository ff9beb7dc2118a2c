"""Gain that changes with depth."""

import math

import pytest
import torch

from medssl.augment import depth_gain
from medssl.chance import Chance


def test_the_last_row_is_brighter_and_the_first_darker_by_the_slope() -> None:
    images = torch.full((1, 1, 5, 3), 0.2)
    shown = depth_gain.apply(images, {"slope": torch.tensor([0.4], dtype=torch.float64)})
    expected = [0.2 * math.exp(0.4 * t) for t in (-1, -0.5, 0, 0.5, 1)]
    for row, value in enumerate(expected):
        torch.testing.assert_close(shown[0, 0, row], torch.full((3,), value))


def test_black_stays_black() -> None:
    images = torch.zeros(1, 1, 6, 6)
    assert torch.equal(depth_gain.apply(images, {"slope": torch.tensor([2.0], dtype=torch.float64)}), images)


def test_slopes_are_drawn_either_way() -> None:
    slope = depth_gain.sample(Chance(range(2000)), depth_gain.Settings(probability=0.5, slope=0.3))["slope"]
    assert float((slope != 0).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert (float(slope.min()) < -0.29, float(slope.max()) > 0.29) == (True, True)
    assert float(slope.abs().max()) <= 0.3
