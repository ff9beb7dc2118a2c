"""Standardising: mean 0 and deviation 1 of every image by itself."""

import numpy as np
import torch

from medssl.augment.standardise import apply


def test_every_image_by_itself() -> None:
    images = torch.rand(3, 2, 9, 11) * torch.tensor([0.1, 0.5, 1.0]).reshape(3, 1, 1, 1)
    flat = images.double().flatten(1).numpy()
    expected = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    np.testing.assert_allclose(apply(images).flatten(1), expected, atol=1e-5)


def test_a_constant_image_becomes_zero_and_a_faint_one_stays_faint() -> None:
    assert float(apply(torch.full((1, 1, 8, 8), 0.37)).abs().max()) < 1e-4
    faint = torch.full((1, 1, 8, 8), 0.5)
    faint[..., 0, 0] += 1e-4
    assert float(apply(faint).abs().max()) < 0.1


def test_brightness_and_contrast_of_the_device_are_gone() -> None:
    images = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(apply(images * 0.5 + 0.2), apply(images), atol=1e-4, rtol=0)
