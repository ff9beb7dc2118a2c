"""The Swin transformer of SwinUNETR for volumes and images: MONAI's network, and MONAI's weights fit.

Tang, Yang, Li, Roth, Landman, Xu, Nath, Hatamizadeh, "Self-supervised pre-training of Swin transformers for 3D medical
image analysis", 2022 (https://arxiv.org/abs/2111.14791). Attention within windows of 7 along every axis. MONAI's code
needs einops, which the extra `swin` brings.
"""

import importlib.util
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field

from medssl.backbones.parts.renaming import renamed
from medssl.backbones.parts.staged import Staged
from medssl.errors import SettingsError
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "swin_unetr_nano": {"stem_width": 12, "layers": (1, 1, 1, 1), "heads": (1, 2, 3, 4), "window": 4},  # ours, for CPUs
    "swin_unetr": {"stem_width": 48},
}
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "swin_unetr_nano": (0.249, 0.351),
    "swin_unetr": (6.31, 8.06),
}

_NAMES = (
    (r"^(layers\d\.0\.)0\.", r"\1"),  # of MONAI's self-supervised weights
    (r"\.mlp\.fc(\d)\.", r".mlp.linear\1."),
    (r"^(patch_embed|layers\d)\.", r"net.\1."),
)


class Settings(_Settings):
    """What a Swin transformer is made of.

    Attributes:
        stem_width: Channels of the embedding; each of the four stages ends with twice as many.
        layers: Number of blocks in each of the four stages.
        heads: Attention heads of each stage; they divide its channels.
        window: Edge of a window in places.
        patch_size: Edge of an embedded patch in pixels or voxels.
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0 at the first.
    """

    stem_width: int = Field(gt=0)
    layers: tuple[int, int, int, int] = (2, 2, 2, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = Field(default=7, gt=1)
    patch_size: int = Field(default=2, gt=0)
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class Backbone(Staged):
    """SwinUNETR's encoder over 2D or 3D images.

    It has maps of several resolutions, as a U-Net takes them, but offers no "stages": windows mix visible and hidden
    places, so the masked pretraining of CNNs does not work with it.

    Attributes:
        width: Length D of the features: 16 times `stem_width`.
    """

    OFFERS = frozenset({"features"})

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights.

        Raises:
            SettingsError: einops is not installed, the heads of a stage do not divide its channels, or sizes do not
                fit together.
        """
        super().__init__(settings, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)
        stem = settings.stem_width
        for stage, heads in enumerate(settings.heads):
            if stem * 2**stage % heads:
                raise SettingsError(f"Expected swin_unetr.heads to divide {stem * 2**stage} channels, but got {heads}")
        if importlib.util.find_spec("einops") is None:
            raise SettingsError(
                "The Swin transformer of MONAI needs einops, which is not installed", fix="pip install 'medssl[swin]'"
            )
        from monai.networks.nets.swin_unetr import SwinTransformer  # takes seconds to import

        self.net = SwinTransformer(
            in_chans=in_channels,
            embed_dim=stem,
            window_size=(settings.window,) * spatial_dims,
            patch_size=(settings.patch_size,) * spatial_dims,
            depths=settings.layers,
            num_heads=settings.heads,
            drop_path_rate=settings.drop_path,
            spatial_dims=spatial_dims,
        )
        self.stage_widths = tuple(stem * 2**i for i in range(5))
        self.stage_strides = tuple(settings.patch_size * 2**i for i in range(5))
        self.width = self.stage_widths[-1]

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the embedding and what the four stages give, each place normalised, as SwinUNETR's decoder sees them.

        (B, C, *spatial) -> (B, D_s, *spatial / stride_s).
        """
        return self.net(x)

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the embedding, 1 to 4 the stages."""
        part = name.split(".")[1]
        return int(part[-1]) if part.startswith("layers") else 0

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring MONAI's names, those of its self-supervised weights too, to this backbone's."""
        return renamed(state, _NAMES)
