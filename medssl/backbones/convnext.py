"""ConvNeXt tiny, small and base for images and volumes; timm's and the authors' weights fit.

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", 2022 (https://arxiv.org/abs/2201.03545). Kernels
of 7 along every axis. Where a map does not divide by two, zeros are added at its end instead of dropping its border.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.features import Features
from medssl.backbones.parts.renaming import renamed
from medssl.backbones.parts.staged import CONV, SAME_CONV, Staged, channels_last
from medssl.backbones.parts.transformer import DropPath, Mlp
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "convnext_nano": {"layers": (1, 1, 2, 1), "widths": (16, 32, 64, 128)},  # ours, for CPUs
    "convnext_tiny": {"layers": (3, 3, 9, 3), "widths": (96, 192, 384, 768)},
    "convnext_small": {"layers": (3, 3, 27, 3), "widths": (96, 192, 384, 768)},
    "convnext_base": {"layers": (3, 3, 27, 3), "widths": (128, 256, 512, 1024)},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "convnext_nano": (0.269, 0.402),
    "convnext_tiny": (27.8, 31.3),
    "convnext_small": (49.5, 55.0),
    "convnext_base": (87.6, 95.6),
}

_NAMES = (  # of the authors' files, of timm's, and of transformers'
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"body.\1.downsample."),
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^(encoder\.)?stages\.", "body."),
    (r"^(body\.\d\.)downsampling_layer\.", r"\1downsample."),
    (r"^(body\.\d\.)(layers\.)?(\d+\.)", r"\1blocks.\3"),
    (r"\.dwconv\.", ".conv_dw."),
    (r"^(body\..*)\.layernorm\.", r"\1.norm."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"^(head\.norm|layernorm)\.", "norm."),
)


class Settings(_Settings):
    """What a ConvNeXt is made of.

    Attributes:
        layers: Number of blocks in each of the four stages.
        widths: Channels of each stage.
        layer_scale: What the factors of LayerScale begin with.
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0 at the first.
    """

    layers: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    layer_scale: float = Field(default=1e-6, gt=0)
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place, or of one vector an image: (B, C, *spatial) -> (B, C, *spatial)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """x + gamma * mlp(norm(depthwise convolution(x))): (B, C, *spatial) -> (B, C, *spatial)."""

    def __init__(self, dims: int, width: int, layer_scale: float, drop_path: float) -> None:
        super().__init__()
        self.conv_dw = CONV[dims](width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, 4 * width)
        self.gamma = nn.Parameter(torch.full((width,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.mlp(self.norm(self.conv_dw(x).movedim(1, -1)))
        return x + self.drop_path((self.gamma * branch).movedim(-1, 1))


class Stage(nn.Module):
    """Half the resolution (not in the first stage), then blocks."""

    def __init__(self, dims: int, widths: tuple[int, int], rates: Sequence[float], layer_scale: float) -> None:
        super().__init__()
        before, width = widths
        halve = [ChannelNorm(before, eps=1e-6), SAME_CONV[dims](before, width, 2, 2)]
        self.downsample = nn.Sequential(*halve) if before != width else nn.Identity()
        self.blocks = nn.Sequential(*(Block(dims, width, layer_scale, rate) for rate in rates))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.downsample(x))


class Backbone(Staged):
    """ConvNeXt over 2D or 3D images.

    Attributes:
        width: Length D of the features, the channels of the last stage.
    """

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights."""
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        widths = settings.widths
        self.stage_widths, self.width = widths, widths[-1]
        first = SAME_CONV[spatial_dims](in_channels, widths[0], 4, 4)
        self.stem = nn.Sequential(first, ChannelNorm(widths[0], eps=1e-6))
        count = sum(settings.layers)
        rates = iter([settings.drop_path * i / max(1, count - 1) for i in range(count)])
        self.body = nn.ModuleList(
            Stage(spatial_dims, pair, [next(rates) for _ in range(layers)], settings.layer_scale)
            for pair, layers in zip(zip((widths[0], *widths), widths, strict=False), settings.layers, strict=True)
        )
        self.norm = ChannelNorm(self.width, eps=1e-6)
        self.apply(_initialise)
        channels_last(self)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what the four stages give, the finest first; the places of the last one are normalised.

        (B, C, *spatial) -> (B, D_s, *spatial / stride_s).
        """
        maps = self._maps(x)
        return [*maps[:-1], self.norm(maps[-1])]

    def _maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = [self.stem(x)]
        for stage in self.body:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def forward(self, x: torch.Tensor) -> Features:
        """Return the features of images: (B, C, *spatial) -> (B, D) and (B, D, *spatial / 32).

        The pooled feature is the mean over places, normalised afterwards as the authors have it; each place of the
        grid is normalised by itself.
        """
        grid = self._maps(x)[-1]
        return Features(self.norm(grid.flatten(2).mean(dim=2)), self.norm(grid))

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the stem, 1 to 4 the stages, 5 the last norm and a head."""
        first, _, rest = name.partition(".")
        return 1 + int(rest.partition(".")[0]) if first == "body" else 5 if first == "norm" else 0

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring the names of the authors, of timm and of transformers to this backbone's."""
        return renamed(state, _NAMES)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
