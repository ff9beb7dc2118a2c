"""BiT's residual networks v2, with group norm and standardised weights, for images and volumes.

Kolesnikov, Beyer, Zhai, Puigcerver, Yung, Gelly, Houlsby, "Big Transfer (BiT): General visual representation learning",
2020 (https://arxiv.org/abs/1912.11370), the backbone of REMEDIS. No layer knows of other images, so small batches do
no harm. Qiao et al., "Micro-batch training with batch-channel normalization and weight standardization", 2019
(https://arxiv.org/abs/1903.10520). timm's `resnetv2_50x1_bit` and its like fit.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from medssl.backbones.parts.renaming import renamed
from medssl.backbones.parts.staged import MAX_POOL, Staged, channels_last
from medssl.errors import SettingsError
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "bit_nano": {"layers": (1, 1, 1, 1), "stem_width": 8, "groups": 4},  # ours, for CPUs
    "bit_50x1": {"layers": (3, 4, 6, 3), "stem_width": 64},
    "bit_101x1": {"layers": (3, 4, 23, 3), "stem_width": 64},
    "bit_50x3": {"layers": (3, 4, 6, 3), "stem_width": 192},
    "bit_152x2": {"layers": (3, 8, 36, 3), "stem_width": 128},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "bit_nano": (0.127, 0.227),
    "bit_50x1": (23.5, 46.1),
    "bit_101x1": (42.5, 85.2),
    "bit_50x3": (211, 415),
    "bit_152x2": (232, 469),
}

_NAMES = (  # of timm, then of transformers
    (r"^(encoder\.)?stages\.(\d)\.(blocks|layers)\.", r"body.\2."),
    (r"^embedder\.convolution\.", "stem.conv."),
)
_EPSILON = 1e-8


class Settings(_Settings):
    """What a BiT network is made of.

    Attributes:
        layers: Number of blocks in each of the four stages.
        stem_width: Channels of the first convolution, 64 times the factor in the name; stages have 4, 8, 16 and 32
            times as many.
        groups: Groups of every group norm; they divide the width of the stem.
    """

    layers: tuple[int, int, int, int]
    stem_width: int = Field(gt=0)
    groups: int = Field(default=32, gt=0)


def standardised(weight: torch.Tensor) -> torch.Tensor:
    """Return kernels with mean 0 and variance 1 for each channel that they make: (D, C, *kernel) -> the same."""
    variance, mean = torch.var_mean(weight.flatten(1), dim=1, correction=0)
    shape = [-1, *[1] * (weight.ndim - 1)]
    return (weight - mean.view(shape)) * (variance + _EPSILON).rsqrt().view(shape)


class StandardConv2d(nn.Conv2d):
    """A convolution without bias whose kernels are standardised each time: (B, C, H, W) -> (B, D, H / s, W / s)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, standardised(self.weight), None)


class StandardConv3d(nn.Conv3d):
    """`StandardConv2d` for volumes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, standardised(self.weight), None)


_CONV: dict[int, type] = {2: StandardConv2d, 3: StandardConv3d}


def _conv(dims: int, before: int, after: int, kernel: int, stride: int = 1) -> nn.Module:
    return _CONV[dims](before, after, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    """shortcut + convolutions of 1, 3 and 1, with group norm and relu before each: (B, C, *) -> (B, D, * / stride).

    Where the shape changes, the shortcut is a strided convolution of what the first norm and relu give.
    """

    def __init__(self, dims: int, widths: tuple[int, int], groups: int, stride: int, *, first: bool) -> None:
        super().__init__()
        before, after = widths
        inside = after // 4
        self.norm1, self.conv1 = nn.GroupNorm(groups, before), _conv(dims, before, inside, 1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, inside), _conv(dims, inside, inside, 3, stride)
        self.norm3, self.conv3 = nn.GroupNorm(groups, inside), _conv(dims, inside, after, 1)
        self.downsample = nn.ModuleDict({"conv": _conv(dims, before, after, 1, stride)}) if first else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x))
        shortcut = x if self.downsample is None else self.downsample["conv"](active)
        x = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return shortcut + self.conv3(F.relu(self.norm3(x)))


class Backbone(Staged):
    """BiT's ResNet v2 over 2D or 3D images.

    Attributes:
        width: Length D of the features: 2048 times the factor in the name.
    """

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights.

        Raises:
            SettingsError: `groups` does not divide `stem_width`, or sizes do not fit together.
        """
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        stem, groups = settings.stem_width, settings.groups
        if stem % groups:
            raise SettingsError(f"Expected bit.groups to divide bit.stem_width {stem}, but got {groups}")
        self.stage_widths = tuple(4 * stem * 2**i for i in range(4))
        self.width = self.stage_widths[-1]
        self.stem = nn.ModuleDict({"conv": _conv(spatial_dims, in_channels, stem, 7, 2)})
        self.pool = MAX_POOL[spatial_dims](3, 2)
        pairs = zip((stem, *self.stage_widths), self.stage_widths, strict=False)
        self.body = nn.ModuleList(
            nn.Sequential(
                *(
                    Block(spatial_dims, (after if i else before, after), groups, 2 if at and not i else 1, first=not i)
                    for i in range(settings.layers[at])
                )
            )
            for at, (before, after) in enumerate(pairs)
        )
        self.norm = nn.GroupNorm(groups, self.width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        channels_last(self)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what the four stages give, the finest first; the last one normalised and with relu.

        (B, C, *spatial) -> (B, D_s, *spatial / stride_s).
        """
        x = F.pad(self.stem["conv"](x), [1] * (2 * self.spatial_dims))  # zeros, unlike those of the pool itself
        maps = [self.pool(x)]
        for stage in self.body:
            maps.append(stage(maps[-1]))
        return [*maps[1:-1], F.relu(self.norm(maps[-1]))]

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the stem, 1 to 4 the stages, 5 the last norm and a head."""
        first, _, rest = name.partition(".")
        return 1 + int(rest.partition(".")[0]) if first == "body" else 5 if first == "norm" else 0

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring the names of timm and of transformers to this backbone's."""
        return renamed(state, _NAMES)
