"""Residual networks 18 to 152 for images and volumes, with torchvision's parameter names.

He et al., "Deep residual learning for image recognition", 2016 (https://arxiv.org/abs/1512.03385). The bottleneck
strides in its 3 x 3 convolution, as torchvision and timm have it, and the last BatchNorm of a block starts at zero
(Goyal et al. 2017, https://arxiv.org/abs/1706.02677).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.staged import BATCH_NORM, CONV, MAX_POOL, Staged, channels_last
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "resnet_nano": {"block": "basic", "layers": (1, 1, 1, 1), "stem_width": 16},  # ours, for CPUs
    "resnet18": {"block": "basic", "layers": (2, 2, 2, 2)},
    "resnet34": {"block": "basic", "layers": (3, 4, 6, 3)},
    "resnet50": {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    "resnet101": {"block": "bottleneck", "layers": (3, 4, 23, 3)},
    "resnet152": {"block": "bottleneck", "layers": (3, 8, 36, 3)},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "resnet_nano": (0.309, 0.902),
    "resnet18": (11.2, 33.2),
    "resnet34": (21.3, 63.5),
    "resnet50": (23.5, 46.2),
    "resnet101": (42.5, 85.2),
    "resnet152": (58.1, 117),
}


class Settings(_Settings):
    """What a ResNet is made of.

    Attributes:
        block: "basic" (two 3 x 3 convolutions) or "bottleneck" (1 x 1, 3 x 3, 1 x 1, four times as wide).
        layers: Number of blocks in each of the four stages.
        stem_width: Channels of the first convolution; every stage doubles them.
    """

    block: Literal["basic", "bottleneck"]
    layers: tuple[int, int, int, int]
    stem_width: int = Field(default=64, gt=0)


class Block(nn.Module):
    """relu(x + convolutions(x)); the shortcut is a strided 1 x 1 convolution where the shape changes."""

    def __init__(self, dims: int, channels: tuple[int, int, int], kernels: tuple[int, ...], stride: int) -> None:
        """Add the layers.

        Args:
            dims: Number of spatial axes.
            channels: Into the block, inside it, and out of it.
            kernels: (3, 3) or (1, 3, 1); the first 3 has the stride.
            stride: 1 or 2.
        """
        super().__init__()
        conv, norm = CONV[dims], BATCH_NORM[dims]
        before, inside, after = channels
        self.count = len(kernels)
        for i, kernel in enumerate(kernels, start=1):
            width = after if i == self.count else inside
            step = stride if i == kernels.index(3) + 1 else 1
            self.add_module(f"conv{i}", conv(before, width, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", norm(width))
            before = width
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels[0] != after:
            self.downsample = nn.Sequential(conv(channels[0], after, 1, stride, bias=False), norm(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.count + 1):
            x = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x))
            x = self.relu(x + shortcut if i == self.count else x)
        return x


class Backbone(Staged):
    """ResNet over 2D or 3D images.

    Attributes:
        width: Length D of the features: 512 with basic blocks, 2048 with bottlenecks, for a stem of 64.
        stage_widths: Channels of what `stages` returns.
    """

    settings: Settings

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights."""
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        stem = settings.stem_width
        self.width = stem * 8 * (4 if settings.block == "bottleneck" else 1)
        self.stage_widths = tuple(self.width // 2**i for i in (3, 2, 1, 0))
        self.conv1 = CONV[spatial_dims](in_channels, stem, 7, 2, 3, bias=False)
        self.bn1 = BATCH_NORM[spatial_dims](stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = MAX_POOL[spatial_dims](3, 2, 1)
        before = stem
        for stage in range(4):
            blocks, before = self._stage(stage, before)
            self.add_module(f"layer{stage + 1}", blocks)
        self._initialise()
        channels_last(self)  # 1.3 times as fast at batches of 128 on a CPU

    def _stage(self, stage: int, before: int) -> tuple[nn.Sequential, int]:
        inside = self.settings.stem_width * 2**stage
        wide, kernels = (4 * inside, (1, 3, 1)) if self.settings.block == "bottleneck" else (inside, (3, 3))
        blocks = []
        for i in range(self.settings.layers[stage]):
            stride = 2 if stage and i == 0 else 1
            blocks.append(Block(self.spatial_dims, (before, inside, wide), kernels, stride))
            before = wide
        return nn.Sequential(*blocks), before

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Block):
                nn.init.zeros_(getattr(module, f"bn{module.count}").weight)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what the four stages give, the finest first: (B, C, *spatial) -> (B, D_s, *spatial / stride_s)."""
        maps = [self.maxpool(self.relu(self.bn1(self.conv1(x))))]
        for stage in range(1, 5):
            maps.append(getattr(self, f"layer{stage}")(maps[-1]))
        return maps[1:]

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the stem, 1 to 4 the stages; a head stands at `layer_count` - 1."""
        first = name.partition(".")[0]
        return int(first.removeprefix("layer")) if first.startswith("layer") else 0
