"""Strided 3D convolutions with large kernels, kept clear of a fault of oneDNN."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_SOUND = 5  # the largest kernel that no sweep found at fault


def pad_by_hand(module: nn.Module) -> None:
    """Let strided convolutions of large kernels get volumes whose first axis is padded with zeros already.

    What they compute is the same. On CPUs with AVX-512 the backward pass of oneDNN in torch 2.13 writes past its memory
    where such a convolution pads a short first axis itself (a kernel of 7 with stride 2 and padding 3 at depth 5), and
    leaves parts of the kernel's gradient unwritten at depths a little larger (6 and 7). A sweep over kernels of 2 to
    11, strides of 1 to 4 and depths from 1 found no fault with kernels up to 5, with stride 1, along the other axes,
    in 2D, or with the first axis padded beforehand.

    Args:
        module: Whose convolutions are seen to, once: a backbone.
    """
    for layer in (part for part in module.modules() if isinstance(part, nn.Conv3d)):
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            continue  # torch pads those beforehand
        depth, height, width = layer.padding
        if depth and layer.kernel_size[0] > _SOUND and layer.stride[0] > 1:
            layer.padding = (0, height, width)
            layer.register_forward_pre_hook(functools.partial(_padded, depth))


def _padded(depth: int, layer: nn.Module, inputs: tuple[Any, ...]) -> torch.Tensor:  # noqa: ARG001
    """Pad both ends of the first axis: (B, C, D, H, W) -> (B, C, D + 2 depth, H, W)."""
    return F.pad(inputs[0], [0, 0, 0, 0, depth, depth])
