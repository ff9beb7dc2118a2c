"""Sizes of local views: three sevenths of each axis, in patches of that axis."""

import pytest
import torch

from medssl import backbones
from medssl.methods.parts.crops import local_crops

NANO = {"width": 32, "depth": 1, "heads": 2}
SIZES = [
    ("resnet_nano", (224, 224), None, (96, 96)),  # SwAV's and DINO's
    ("resnet_nano", (16, 224, 112), None, (7, 96, 48)),
    ("resnet_nano", (1, 64, 64), None, (1, 24, 24)),
    ("vit_nano", (16, 224, 224), (4, 16, 16), (8, 96, 96)),
    ("vit_nano", (8, 64, 64), (2, 16, 16), (4, 32, 32)),
    ("vit_nano", (12, 60, 60), (4, 10, 10), (4, 30, 30)),
    ("vit_nano", (24, 60, 30), (6, 10, 10), (12, 30, 10)),
    ("vit_nano", (16, 32, 32), 16, (16, 16, 16)),  # a patch at least, and never more than the image
]


@pytest.mark.parametrize(("name", "image", "patch", "expected"), SIZES)
def test_local_views_have_the_shape_of_the_image_and_whole_patches(name, image, patch, expected):
    overrides = None if patch is None else NANO | {"patch_size": patch}
    sizes = {"spatial_dims": len(image), "image_size": image}
    backbone = backbones.build(name, in_channels=1, **sizes, overrides=overrides).eval()
    (wish,) = local_crops(backbone, 3, "strong")
    assert (wish.count, wish.size) == (3, expected)
    assert torch.isfinite(backbone(torch.randn(1, 1, *wish.size)).pooled).all()
    assert local_crops(backbone, 0, "strong") == []
