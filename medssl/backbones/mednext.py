"""The encoder of MedNeXt small to large for volumes and images: MONAI's blocks; MONAI's and the authors' weights fit.

Roy, Koehler, Ulrich, Baumgartner, Petersen, Isensee, Jaeger, Maier-Hein, "MedNeXt: transformer-driven scaling of
ConvNets for medical image segmentation", 2023 (https://arxiv.org/abs/2303.09975). The stem keeps the full resolution,
so volumes cost much memory.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.renaming import renamed
from medssl.backbones.parts.staged import CONV, Staged, channels_last, need_places
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "mednext_nano": {"layers": (1, 1, 1, 1, 1), "expansion": (2, 2, 2, 2, 2), "stem_width": 16},  # ours, for CPUs
    "mednext_small": {"layers": (2, 2, 2, 2, 2), "expansion": (2, 2, 2, 2, 2)},
    "mednext_base": {"layers": (2, 2, 2, 2, 2), "expansion": (2, 3, 4, 4, 4)},
    "mednext_medium": {"layers": (3, 4, 4, 4, 4), "expansion": (2, 3, 4, 4, 4)},
    "mednext_large": {"layers": (3, 4, 8, 8, 8), "expansion": (3, 4, 8, 8, 8)},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "mednext_nano": (0.535, 0.548),
    "mednext_small": (3.53, 3.57),
    "mednext_base": (6.81, 6.85),
    "mednext_medium": (12.4, 12.5),
    "mednext_large": (46.6, 46.7),
}

_NAMES = (  # of the authors' files
    (r"^enc_block_(\d)\.", r"enc_stages.\1."),
    (r"^down_(\d)\.", r"down_blocks.\1."),
)


class Settings(_Settings):
    """What MedNeXt's encoder is made of.

    Attributes:
        layers: Number of blocks in each of the five stages, the last being the bottleneck.
        expansion: Times the channels inside a block, for each stage.
        stem_width: Channels of the first stage; every stage doubles them.
        kernel: Edge of the depthwise kernels, 3 or 5 in the paper.
    """

    layers: tuple[int, int, int, int, int]
    expansion: tuple[int, int, int, int, int]
    stem_width: int = Field(default=32, gt=0)
    kernel: Literal[3, 5] = 3


class Backbone(Staged):
    """MedNeXt's encoder over 2D or 3D images.

    Attributes:
        width: Length D of the features: 16 times `stem_width`, 512.
    """

    layer_count = 7
    stage_strides = (1, 2, 4, 8, 16)

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights.

        Raises:
            SettingsError: The last map would be a single place, or sizes do not fit together.
        """
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        from monai.networks.blocks.mednext_block import MedNeXtBlock, MedNeXtDownBlock  # takes seconds to import

        self.stage_widths = tuple(settings.stem_width * 2**i for i in range(5))
        self.width = self.stage_widths[-1]
        need_places(self)
        shared: dict[str, Any] = {"kernel_size": settings.kernel, "use_residual_connection": True}
        shared["dim"] = f"{spatial_dims}d"
        stages = [
            nn.Sequential(*(MedNeXtBlock(width, width, factor, **shared) for _ in range(count)))
            for width, factor, count in zip(self.stage_widths, settings.expansion, settings.layers, strict=True)
        ]
        steps = zip(itertools.pairwise(self.stage_widths), settings.expansion, strict=False)
        self.stem = CONV[spatial_dims](in_channels, settings.stem_width, 1)
        self.enc_stages, self.bottleneck = nn.ModuleList(stages[:-1]), stages[-1]
        self.down_blocks = nn.ModuleList(MedNeXtDownBlock(*widths, factor, **shared) for widths, factor in steps)
        channels_last(self)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return what the five stages give, the finest, of full resolution, first.

        (B, C, *spatial) -> (B, D_s, *spatial / stride_s).
        """
        x, maps = self.stem(x), []
        for stage, down in zip(self.enc_stages, self.down_blocks, strict=True):
            maps.append(stage(x))
            x = down(maps[-1])
        return [*maps, self.bottleneck(x)]

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the stem, 1 to 4 the stages with what leads out of them, 5 the last."""
        first, _, rest = name.partition(".")
        if first in ("enc_stages", "down_blocks"):
            return 1 + int(rest.partition(".")[0])
        return 5 if first == "bottleneck" else 0

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring the authors' names to MONAI's."""
        return renamed(state, _NAMES)
