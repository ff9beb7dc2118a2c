"""Tone: the formula, and what standardising leaves of it."""

import numpy as np
import torch

from medssl.augment import standardise
from medssl.augment.tone import Settings, apply, sample
from medssl.chance import Chance


def parameters(gamma: float = 1.0, contrast: float = 1.0, brightness: float = 0.0) -> dict[str, torch.Tensor]:
    drawn = {"gamma": gamma, "contrast": contrast, "brightness": brightness}
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in drawn.items()}


def test_it_is_the_formula() -> None:
    image = torch.rand(1, 2, 9, 7)
    image[0, 0, 0, 0] = 0.0
    x = image.double().numpy()
    curved = x**1.7
    expected = np.clip(0.8 * (curved - curved.mean()) + curved.mean() + 0.05, 0, 1)
    np.testing.assert_allclose(apply(image, parameters(1.7, 0.8, 0.05)), expected, atol=1e-5)


def test_gamma_keeps_black_and_white() -> None:
    image = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(apply(image, parameters(gamma=2.0)).flatten(), [0, 0.25, 1], atol=1e-6)


def test_contrast_without_clipping_is_undone_by_standardising_and_gamma_is_not() -> None:
    image = torch.rand(1, 1, 32, 32) * 0.4 + 0.3
    plain = standardise.apply(image)
    linear = standardise.apply(apply(image, parameters(contrast=1.2, brightness=0.05)))
    torch.testing.assert_close(linear, plain, atol=1e-4, rtol=0)
    assert float((standardise.apply(apply(image, parameters(gamma=2.0))) - plain).abs().max()) > 0.1


def test_the_share_and_the_ranges_asked_for_are_drawn() -> None:
    settings = Settings(probability=0.3, gamma=(0.5, 2.0), contrast=(0.8, 1.25), brightness=0.1)
    drawn = sample(Chance(list(range(3000))), settings)
    chosen = drawn["gamma"] != 1
    assert abs(float(chosen.double().mean()) - 0.3) < 0.03
    assert bool(((drawn["contrast"] != 1) == chosen).all())
    logs = drawn["gamma"][chosen].log() / np.log(2)
    assert -1 <= float(logs.min()) < -0.98
    assert 0.98 < float(logs.max()) <= 1
    assert abs(float(logs.mean())) < 0.1
    assert float(drawn["brightness"].abs().max()) <= 0.1
