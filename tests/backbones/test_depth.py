"""A fault of oneDNN ends the process, so what meets it runs in one of its own."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from medssl import backbones
from medssl.backbones.parts.depth import pad_by_hand

LAYERS = """
import torch
from torch import nn
from medssl.backbones.parts.depth import pad_by_hand

torch.manual_seed(0)
for kernel, stride in ((7, 2), (6, 2), (9, 3), (11, 4), (5, 2), (7, 1)):
    for depth in (1, kernel - 2, kernel - 1, kernel, kernel + 2):
        layer = nn.Conv3d(1, 16, kernel, stride, kernel // 2, bias=False)
        pad_by_hand(layer)
        x, gradients = torch.randn(2, 1, depth, 9, 12), []
        for enabled in (False, True):
            torch._C._set_mkldnn_enabled(enabled)
            made = layer(x)
            slope = torch.linspace(-1, 1, made.numel()).view_as(made)
            gradients += torch.autograd.grad((made * slope).sum(), layer.weight)
        error = (gradients[1] - gradients[0]).abs().max() / gradients[0].abs().max()
        assert error < 1e-5, (kernel, stride, depth, error)
"""
BACKBONE = """
import torch
from medssl import backbones

for name in ("resnet_nano", "bit_nano"):
    for _ in range(3):
        backbone = backbones.build(name, in_channels=1, spatial_dims=3, image_size=(5, 48, 48))
        backbone(torch.randn(2, 1, 5, 48, 48)).pooled.square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())
"""


@pytest.mark.parametrize("code", [LAYERS, BACKBONE], ids=["layers", "backbone"])
def test_shallow_volumes_end_no_process_and_give_sound_gradients(code):
    environment = {**os.environ, "MALLOC_PERTURB_": "165"}  # memory that nobody wrote to is full of large numbers
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_padding_by_hand_changes_nothing_that_is_computed():
    x = torch.randn(2, 3, 8, 9, 12)
    for layer in (nn.Conv3d(3, 4, 7, 2, 3), nn.Conv3d(3, 4, (6, 3, 5), (2, 1, 2), (3, 1, 2))):
        with torch.no_grad():
            before = layer(x)
            pad_by_hand(layer)
            pad_by_hand(layer)  # a second time does nothing
            torch.testing.assert_close(layer(x), before, atol=1e-5, rtol=1e-5)
    backbone = backbones.build("resnet_nano", in_channels=1, spatial_dims=3, image_size=32)
    assert (backbone.conv1.padding, backbone.layer1[0].conv1.padding) == ((0, 3, 3), (1, 1, 1))
