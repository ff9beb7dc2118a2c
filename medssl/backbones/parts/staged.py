"""What convolutional backbones have in common, and their layers by the number of spatial axes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from medssl.backbones.parts.features import Features
from medssl.backbones.parts.patches import per_axis
from medssl.errors import SettingsError
from medssl.settings import Settings

CONV: dict[int, type] = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM: dict[int, type] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL: dict[int, type] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class Staged(nn.Module):
    """A network of stages at falling resolution, whose features are the mean of the last map.

    A family adds its layers, `stages(x)`, `width`, `stage_widths` and `layer_index(name)`.

    Attributes:
        layer_count: Number of depth levels for layer-wise learning rates: stem, stages, head.
        stage_strides: Pixels that a place of each stage spans along each axis, the finest first.
    """

    OFFERS = frozenset({"features", "stages"})
    layer_count = 6
    stage_strides: tuple[int, ...] = (4, 8, 16, 32)

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Keep what the backbone was built from.

        Raises:
            SettingsError: `spatial_dims` is neither 2 nor 3, or `image_size` has another number of axes.
        """
        super().__init__()
        if spatial_dims not in CONV:
            raise SettingsError(f"Expected spatial_dims 2 or 3, but got {spatial_dims}")
        self.settings, self.in_channels, self.spatial_dims = settings, in_channels, spatial_dims
        self.image_size = per_axis(image_size, spatial_dims, "image size")

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one map a stage, the finest first: (B, C, *spatial) -> (B, D_s, *spatial / stride_s, rounded up)."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> Features:
        """Return the features of images: (B, C, *spatial) -> (B, D) and (B, D, *spatial / last stride)."""
        grid = self.stages(x)[-1]
        return Features(grid.flatten(2).mean(dim=2), grid)


def need_places(backbone: Staged, fewer: str | None = None) -> None:
    """Raise a `SettingsError` where the last map of an image is a single place, which instance norms set to nothing.

    Args:
        backbone: Knows its `image_size` and `stage_strides`.
        fewer: The setting that could make fewer stages, for the message.
    """
    stride = backbone.stage_strides[-1]
    if max(backbone.image_size) <= stride:
        size = " x ".join(map(str, backbone.image_size))
        fix = f"Choose an image larger than {stride} along some axis" + (f", or fewer {fewer}" if fewer else "")
        raise SettingsError(
            f"An image of {size} shrinks to a single place, which instance norms set to nothing", fix=fix
        )


def channels_last(backbone: nn.Module) -> None:
    """Lay the weights of a 2D backbone out with channels last, which is faster on CPUs and what GPUs want.

    Not where a strided 1 x 1 convolution sees fewer than 16 channels: its backward pass with channels last is a
    segmentation fault of oneDNN in torch 2.13.
    """
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    fragile = any(c.kernel_size == (1, 1) and c.stride != (1, 1) and c.in_channels < 16 for c in convolutions)
    if backbone.spatial_dims == 2 and not fragile:
        backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def padded(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Pad with zeros so that a convolution gives ceil(size / stride) places, as TensorFlow's SAME does.

    Of an odd number of zeros the larger half stands at the end: (B, C, *spatial) -> (B, C, *padded).
    """
    pads: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(0, (-(-size // s) - 1) * s + k - size)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads) if any(pads) else x


class SameConv2d(nn.Conv2d):
    """A convolution with ceil(size / stride) places for every size: (B, C, H, W) -> (B, D, H / s, W / s)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(padded(x, self.kernel_size, self.stride))


class SameConv3d(nn.Conv3d):
    """`SameConv2d` for volumes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(padded(x, self.kernel_size, self.stride))


SAME_CONV: dict[int, type] = {2: SameConv2d, 3: SameConv3d}


class HalvingPool2d(nn.AvgPool2d):
    """The mean of each two places along every axis, of one where no other is left: (B, C, *) -> (B, C, * / 2).

    Odd sizes are rounded up, down to maps of a single place.
    """

    def __init__(self) -> None:
        super().__init__(2, 2, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, [min(2, size) for size in x.shape[2:]], 2, ceil_mode=True)


class HalvingPool3d(nn.AvgPool3d):
    """`HalvingPool2d` for volumes."""

    def __init__(self) -> None:
        super().__init__(2, 2, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool3d(x, [min(2, size) for size in x.shape[2:]], 2, ceil_mode=True)


HALVING_POOL: dict[int, type] = {2: HalvingPool2d, 3: HalvingPool3d}
