"""Ghosts against their closed form in k-space."""

import math

import numpy as np
import pytest
import torch

from medssl.augment import ghosting
from medssl.chance import Chance


def parameters(strength: float, distance: float, axis: int, phase: float) -> dict[str, torch.Tensor]:
    values = {"strength": strength, "distance": distance, "axis": float(axis), "phase": phase}
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


@pytest.mark.parametrize(("shape", "axis"), [((24, 30), 0), ((24, 30), 1), ((8, 12, 10), 2), ((8, 12, 10), 0)])
@pytest.mark.parametrize("phase", [0.0, 1.1, math.pi])
def test_it_is_a_modulation_of_the_lines_of_k_space(shape: tuple[int, ...], axis: int, phase: float) -> None:
    image = np.random.default_rng(1).random(shape) * 0.4
    n = shape[axis]
    pixels = round(0.3 * n)
    lines = 1 + 0.5 * np.cos(2 * np.pi * np.arange(n) * pixels / n + phase)
    weights = lines.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    expected = np.abs(np.fft.ifftn(np.fft.fftn(image) * weights)).clip(0, 1)
    made = ghosting.apply(torch.from_numpy(image).float()[None, None], parameters(0.5, 0.3, axis, phase))
    np.testing.assert_allclose(made[0, 0].numpy(), expected, atol=1e-5)


def test_a_bright_spot_has_two_ghosts_of_half_the_strength() -> None:
    image = torch.zeros(1, 1, 20, 20)
    image[..., 10, 7] = 0.8
    made = ghosting.apply(image, parameters(0.2, 0.25, 0, 0.0))[0, 0]
    assert made[10, 7] == pytest.approx(0.8)
    assert made[5, 7] == made[15, 7] == pytest.approx(0.08)
    assert int((made > 1e-6).sum()) == 3


def test_axes_and_distances_are_drawn_over_their_ranges() -> None:
    settings = ghosting.Settings(probability=0.5, strength=(0.1, 0.2), distance=(0.2, 0.4))
    drawn = ghosting.sample(Chance(range(3000)), settings, 3)
    assert set(drawn["axis"].tolist()) == {0.0, 1.0, 2.0}
    assert abs(float((drawn["strength"] > 0).double().mean()) - 0.5) < 0.04
    assert drawn["distance"][drawn["strength"] > 0].min() == pytest.approx(0.2, abs=0.01)
    assert drawn["distance"].max() <= 0.4
