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

from medssl.backbones.parts.features import Features
from medssl.backbones.parts.patches import per_axis
from medssl.errors import SettingsError
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "resnet_nano": {"block": "basic", "layers": (1, 1, 1, 1), "stem_width": 16},  # ours, for CPUs
    "resnet18": {"block": "basic", "layers": (2, 2, 2, 2)},
    "resnet34": {"block": "basic", "layers": (3, 4, 6, 3)},
    "resnet50": {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    "resnet101": {"block": "bottleneck", "layers": (3, 4, 23, 3)},
    "resnet152": {"block": "bottleneck", "layers": (3, 8, 36, 3)},
}

_CONV: dict[int, type] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL: dict[int, type] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


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
        conv, norm = _CONV[dims], _NORM[dims]
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


class Backbone(nn.Module):
    """ResNet over 2D or 3D images.

    Attributes:
        width: Length D of the features: 512 with basic blocks, 2048 with bottlenecks, for a stem of 64.
        layer_count: Number of depth levels for layer-wise learning rates, see `layer_index`.
        stage_widths: Channels of what `stages` returns.
        stage_strides: Pixels that a place of it spans along each axis.
    """

    OFFERS = frozenset({"features", "stages"})
    layer_count = 6
    stage_strides = (4, 8, 16, 32)

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights.

        Raises:
            SettingsError: `spatial_dims` is neither 2 nor 3, or `image_size` has another number of axes.
        """
        super().__init__()
        if spatial_dims not in _CONV:
            raise SettingsError(f"Expected spatial_dims 2 or 3, but got {spatial_dims}")
        self.settings, self.in_channels, self.spatial_dims = settings, in_channels, spatial_dims
        self.image_size = per_axis(image_size, spatial_dims, "image size")
        stem = settings.stem_width
        self.width = stem * 8 * (4 if settings.block == "bottleneck" else 1)
        self.stage_widths = tuple(self.width // 2**i for i in (3, 2, 1, 0))
        self.conv1 = _CONV[spatial_dims](in_channels, stem, 7, 2, 3, bias=False)
        self.bn1 = _NORM[spatial_dims](stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = _POOL[spatial_dims](3, 2, 1)
        before = stem
        for stage in range(4):
            blocks, before = self._stage(stage, before)
            self.add_module(f"layer{stage + 1}", blocks)
        self._initialise()
        # 1.3 times as fast at batches of 128 on a CPU, and what GPUs want. Below 16 channels the backward pass of the
        # strided 1 x 1 convolutions is a segmentation fault of oneDNN 3.12 (torch 2.13) then, with several threads.
        if spatial_dims == 2 and stem >= 16:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

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

    def forward(self, x: torch.Tensor) -> Features:
        """Return the features of images: (B, C, *spatial) -> (B, D) and (B, D, *spatial / 32)."""
        grid = self.stages(x)[-1]
        return Features(grid.flatten(2).mean(dim=2), grid)

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
