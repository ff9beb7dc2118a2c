"""DenseNet-121 for images and volumes: MONAI's network; weights of torchvision, timm and TorchXRayVision fit.

Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", 2017
(https://arxiv.org/abs/1608.06993). Transitions round odd sizes up instead of dropping the last row.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field

from medssl.backbones.parts.renaming import renamed
from medssl.backbones.parts.staged import HALVING_POOL, Staged, channels_last
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "densenet_nano": {"layers": (2, 2, 2, 2), "growth": 8, "stem_width": 16},  # ours, for CPUs
    "densenet121": {"layers": (6, 12, 24, 16)},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "densenet_nano": (0.0286, 0.0686),
    "densenet121": (6.95, 11.2),
}

_NAMES = (  # of torchvision, before and after its change of names
    (r"^(features\.denseblock\d\.denselayer\d+\.)(norm|conv)\.?(\d)\.", r"\1layers.\2\3."),
)


class Settings(_Settings):
    """What a DenseNet is made of.

    Attributes:
        layers: Number of dense layers in each of the four blocks.
        growth: Channels that each layer adds.
        stem_width: Channels of the first convolution.
    """

    layers: tuple[int, int, int, int]
    growth: int = Field(default=32, gt=0)
    stem_width: int = Field(default=64, gt=0)


class Backbone(Staged):
    """DenseNet over 2D or 3D images.

    Attributes:
        width: Length D of the features: 1024 for DenseNet-121.
    """

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights."""
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        from monai.networks.nets.densenet import DenseNet  # takes seconds to import

        self.features = DenseNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=1,
            init_features=settings.stem_width,
            growth_rate=settings.growth,
            block_config=settings.layers,
        ).features
        self.stage_widths = _widths(settings)
        self.width = self.stage_widths[-1]
        for name, module in self.features.named_children():
            if name.startswith("transition"):
                module.pool = HALVING_POOL[spatial_dims]()
        channels_last(self)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what the four dense blocks give, the finest first; the last one normalised and with relu.

        (B, C, *spatial) -> (B, D_s, *spatial / stride_s).
        """
        maps = []
        for name, module in self.features.named_children():
            x = module(x)
            if name.startswith("denseblock"):
                maps.append(x)
        return [*maps[:-1], F.relu(x)]

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the stem, 1 to 4 the blocks with what leads out of them."""
        part = name.split(".")[1]
        if part == "norm5":
            return 4
        return int(part[-1]) if part.startswith(("denseblock", "transition")) else 0

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring torchvision's names, which timm and TorchXRayVision share, to MONAI's."""
        return renamed(state, _NAMES)


def _widths(settings: Settings) -> tuple[int, ...]:
    width, widths = settings.stem_width, []
    for count in settings.layers:
        widths.append(width + count * settings.growth)
        width = widths[-1] // 2
    return cast(tuple[int, ...], tuple(widths))
