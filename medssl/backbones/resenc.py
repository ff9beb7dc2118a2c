"""The residual encoder of nnU-Net's ResEnc U-Nets for volumes and images; weights of nnU-Net and nnssl fit.

Isensee, Wald, Ulrich, Baumgartner, Roy, Maier-Hein, Jaeger, "nnU-Net revisited", 2024
(https://arxiv.org/abs/2404.09556). Blocks of ResNet-D: where the resolution falls, the shortcut averages before its
1 x 1 convolution (He et al. 2019, https://arxiv.org/abs/1812.01187). The stem keeps the full resolution, so volumes
cost much memory. Odd sizes are rounded up, where the original fails.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.renaming import renamed
from medssl.backbones.parts.staged import CONV, HALVING_POOL, Staged, channels_last, need_places
from medssl.errors import SettingsError
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "resenc_nano": {"layers": (1, 1, 1, 1), "widths": (8, 16, 32, 64)},  # ours, for CPUs
    "resenc_l": {"layers": (1, 3, 4, 6, 6, 6), "widths": (32, 64, 128, 256, 320, 320)},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "resenc_nano": (0.0776, 0.225),
    "resenc_l": (30.2, 90.3),
}

_NAMES = ((r"^stages\.", "body."),)
_SLOPE = 0.01


class Settings(_Settings):
    """What a residual encoder is made of.

    Attributes:
        layers: Number of blocks in each stage; each stage after the first halves the resolution.
        widths: Channels of each stage.
    """

    layers: tuple[int, ...] = Field(min_length=2)
    widths: tuple[int, ...] = Field(min_length=2)


class Layer(nn.Module):
    """A convolution, an instance norm and, where asked for, a leaky relu: (B, C, *) -> (B, D, * / stride)."""

    def __init__(
        self, dims: int, widths: tuple[int, int], kernel: int, stride: int = 1, *, active: bool, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = CONV[dims](*widths, kernel, stride, kernel // 2, bias=bias)
        self.norm = nn.GroupNorm(widths[1], widths[1])  # an instance norm that bears maps of one place
        self.act = nn.LeakyReLU(_SLOPE, inplace=True) if active else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class Block(nn.Module):
    """leaky relu(shortcut + two layers): (B, C, *) -> (B, D, * / stride)."""

    def __init__(self, dims: int, widths: tuple[int, int], stride: int) -> None:
        """Add the layers; the stride is 1 or 2."""
        super().__init__()
        before, after = widths
        self.conv1 = Layer(dims, widths, 3, stride, active=True)
        self.conv2 = Layer(dims, (after, after), 3, active=False)
        skip: list[nn.Module] = [HALVING_POOL[dims]()] if stride == 2 else []
        if before != after:
            skip.append(Layer(dims, widths, 1, active=False, bias=False))
        self.skip = nn.Sequential(*skip)
        self.act = nn.LeakyReLU(_SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv2(self.conv1(x)) + self.skip(x))


class Backbone(Staged):
    """The residual encoder over 2D or 3D images.

    Attributes:
        width: Length D of the features, the channels of the last stage.
    """

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights, those of nnU-Net: each block begins as its shortcut.

        Raises:
            SettingsError: There are not as many `widths` as `layers`, or the last map would be a single place.
        """
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        widths, count = settings.widths, len(settings.layers)
        if len(widths) != count:
            raise SettingsError(f"Expected as many resenc.widths as resenc.layers, {count}, but got {len(widths)}")
        self.stage_widths, self.width = widths, widths[-1]
        self.stage_strides = tuple(2**i for i in range(count))
        self.layer_count = count + 2
        need_places(self, "resenc.layers")
        first = Layer(spatial_dims, (in_channels, widths[0]), 3, active=True)
        self.stem = nn.ModuleDict({"convs": nn.Sequential(first)})
        self.body = nn.ModuleList()
        for at, (before, after) in enumerate(itertools.pairwise((widths[0], *widths))):
            shapes = [(before, after, 2 if at else 1), *[(after, after, 1)] * (settings.layers[at] - 1)]
            blocks = nn.Sequential(*(Block(spatial_dims, (a, b), stride) for a, b, stride in shapes))
            self.body.append(nn.ModuleDict({"blocks": blocks}))
        self.apply(_initialise)
        channels_last(self)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what the stages give, the finest, of full resolution, first.

        (B, C, *spatial) -> (B, D_s, *spatial / stride_s).
        """
        maps = [self.stem["convs"](x)]
        for stage in self.body:
            maps.append(stage["blocks"](maps[-1]))  # type: ignore[index]
        return maps[1:]

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the stem, then the stages; a head stands at `layer_count` - 1."""
        first, _, rest = name.partition(".")
        return 1 + int(rest.partition(".")[0]) if first == "body" else 0

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring nnU-Net's names to this backbone's; it saves every layer a second time, as `all_modules`."""
        return renamed({name: value for name, value in state.items() if ".all_modules." not in name}, _NAMES)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, Block):
        nn.init.zeros_(module.conv2.norm.weight)
