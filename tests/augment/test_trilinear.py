"""Trilinear reading: what grid_sample and scipy read, for any size, inside, at the border and far beyond it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from medssl.augment import geometry
from medssl.augment.parts import trilinear
from medssl.chance import Chance


def drawn(shape: tuple[int, ...], **settings: object) -> tuple[torch.Tensor, torch.Tensor | None]:
    values = {"rotation_degrees": 180, "crop_area": (0.3, 1.0), "flip": (0.5, 0.5, 0.5), **settings}
    parameters = geometry.sample(Chance([1, 2, 3]), geometry.Settings(**values), 3)
    return geometry.matrix(parameters, shape), parameters.get("displacement")


@pytest.mark.parametrize(
    ("shape", "size", "settings"),
    [
        ((12, 14, 16), (12, 14, 16), {}),
        ((1, 9, 7), (5, 6, 7), {}),
        ((9, 1, 1), (3, 4, 5), {}),
        ((20, 20, 20), (9, 40, 11), {"elastic": 0.1}),
        ((8, 9, 10), (16, 5, 6), {"zoom": (0.1, 0.1), "shift": 1.0}),
    ],
)
def test_it_reads_what_grid_sample_reads(shape, size, settings):
    images = torch.rand(3, 2, *shape)
    to_image, displacement = drawn(shape, **settings)
    points = geometry.grid(to_image, size)
    if displacement is not None:
        points = points + geometry._bend(displacement.double(), size)
    expected = F.grid_sample(images.double(), points, padding_mode="reflection", align_corners=False)
    read = geometry.warp(images, to_image, size, displacement)
    assert read.dtype == torch.float32
    torch.testing.assert_close(read.double(), expected, atol=3e-5, rtol=0)


def test_it_reads_what_scipy_reads():
    images = torch.rand(3, 1, 10, 11, 12)
    to_image, _ = drawn((10, 11, 12), zoom=(0.5, 2.0))
    read = geometry.warp(images, to_image, (7, 8, 9))
    centres = [(np.arange(n) * 2 + 1) / n - 1 for n in (7, 8, 9)]
    points = np.stack([*np.meshgrid(*centres, indexing="ij"), np.ones((7, 8, 9))])
    for image, matrix, result in zip(images.numpy(), to_image.numpy(), read.numpy()):
        places = np.einsum("ij,j...->i...", matrix, points)
        pixels = (places + 1) * np.reshape([10, 11, 12], (3, 1, 1, 1)) / 2 - 0.5
        expected = map_coordinates(image[0].astype(np.float64), pixels, order=1, mode="reflect")
        np.testing.assert_allclose(result[0], expected, atol=3e-5)


def test_pieces_and_batch_change_nothing(monkeypatch):
    images = torch.rand(3, 1, 12, 13, 14)
    to_image, _ = drawn((12, 13, 14))
    whole = geometry.warp(images, to_image, (11, 12, 13))
    torch.testing.assert_close(geometry.warp(images[1:2], to_image[1:2], (11, 12, 13))[0], whole[1], atol=0, rtol=0)
    monkeypatch.setattr(trilinear, "_POINTS", 1)
    torch.testing.assert_close(geometry.warp(images, to_image, (11, 12, 13)), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("images", [torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8, 8).double()])
def test_what_it_does_not_read_is_left_to_grid_sample(images):
    assert not trilinear.can_read(images)
