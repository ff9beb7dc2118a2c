"""Stain jitter against a slow float64 version, pixel by pixel."""

import numpy as np
import pytest
import torch

from medssl.augment import stain
from medssl.augment.parts.samples import Parameters
from medssl.chance import Chance
from medssl.errors import SettingsError


def parameters(ratio: list[float], shift: list[float]) -> Parameters:
    return {
        "ratio": torch.tensor([ratio], dtype=torch.float64),
        "shift": torch.tensor([shift], dtype=torch.float64),
    }


def slowly(image: np.ndarray, ratio: np.ndarray, shift: np.ndarray) -> np.ndarray:
    rows = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
    rows /= np.sqrt((rows**2).sum(1, keepdims=True))
    result = np.empty(image.shape)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            density = -np.log10(np.maximum(image[:, i, j].astype(np.float64), 1 / 255))
            amounts = np.linalg.solve(rows.T, density)
            result[:, i, j] = 10 ** -(rows.T @ (amounts * ratio + shift))
    return result.clip(0, 1)


def test_it_is_the_slow_version() -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 4, 5)
    drawn = stain.sample(Chance([1, 2, 3]), stain.Settings(probability=1, ratio=0.4, shift=0.1))
    shown = stain.apply(images, drawn)
    for k in range(3):
        expected = slowly(images[k].numpy(), drawn["ratio"][k].numpy(), drawn["shift"][k].numpy())
        np.testing.assert_allclose(shown[k].numpy(), expected, atol=2e-6)


def test_a_pixel_of_one_stain_gets_more_of_that_stain_only() -> None:
    eosin = stain.matrix()[1]
    pixel = (10 ** (-0.5 * eosin)).float().reshape(1, 3, 1, 1)
    shown = stain.apply(pixel, parameters([3.0, 1.2, 0.1], [0, 0, 0]))
    torch.testing.assert_close(shown.flatten().double(), 10 ** (-0.6 * eosin), atol=1e-6, rtol=0)
    more = stain.apply(pixel, parameters([1, 1, 1], [0, 0.25, 0]))
    torch.testing.assert_close(more.flatten().double(), 10 ** (-0.75 * eosin), atol=1e-6, rtol=0)


def test_white_glass_stays_white_unless_stain_is_added() -> None:
    white = torch.ones(1, 3, 2, 2)
    assert torch.equal(stain.apply(white, parameters([0.5, 1.5, 1.2], [0, 0, 0])), white)
    assert (stain.apply(white, parameters([1, 1, 1], [0.1, 0, 0])) < 1).all()


def test_ratio_and_shift_are_uniform_about_one_and_none() -> None:
    drawn = stain.sample(Chance(range(3000)), stain.Settings(probability=0.5, ratio=0.2, shift=0.05))
    chosen = (drawn["ratio"] != 1).all(1)
    assert float(chosen.double().mean()) == pytest.approx(0.5, abs=0.04)
    assert torch.equal(chosen, (drawn["shift"] != 0).all(1))
    ratio, shift = drawn["ratio"][chosen], drawn["shift"][chosen]
    assert (0.8 <= float(ratio.min()) < 0.81, 1.19 < float(ratio.max()) <= 1.2) == (True, True)
    assert float(shift.abs().max()) == pytest.approx(0.05, abs=0.001)
    assert float(torch.corrcoef(ratio.T)[0, 1].abs()) < 0.1


def test_grey_images_have_no_stains() -> None:
    with pytest.raises(SettingsError, match=r"`stain`.*1 channels, not 3"):
        stain.apply(torch.rand(1, 1, 4, 4), parameters([1.1, 1, 1], [0, 0, 0]))
