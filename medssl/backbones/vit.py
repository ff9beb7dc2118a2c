"""The vision transformer for images and volumes, with timm's parameter names.

Dosovitskiy et al., "An image is worth 16x16 words", 2021 (https://arxiv.org/abs/2010.11929). Positions are fixed
sines and cosines and the pooled feature is the mean of the patch tokens, as He et al. 2022 use it for MAE
(https://arxiv.org/abs/2111.06377); both are settings.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.features import Features
from medssl.backbones.parts.patches import grid_of, per_axis
from medssl.backbones.parts.positions import FixedPositions, resize, sincos
from medssl.backbones.parts.transformer import Block, initialise
from medssl.errors import DataError, SettingsError
from medssl.settings import Settings as _Settings

VARIANTS: dict[str, dict] = {  # smallest first
    "vit_nano": {"width": 128, "depth": 4, "heads": 4},  # ours, for CPUs
    "vit_tiny": {"width": 192, "depth": 12, "heads": 3},
    "vit_small": {"width": 384, "depth": 12, "heads": 6},
    "vit_base": {"width": 768, "depth": 12, "heads": 12},
    "vit_large": {"width": 1024, "depth": 24, "heads": 16},
}

_CONV: dict[int, type] = {2: nn.Conv2d, 3: nn.Conv3d}
_OTHER_TOKENS = ("cls_token", "reg_token", "register_tokens", "dist_token")


class Settings(_Settings):
    """What a ViT is made of.

    Attributes:
        width: Length D of a token.
        depth: Number of blocks.
        heads: Attention heads; they divide the width.
        mlp_ratio: Hidden width of the MLP over `width`.
        patch_size: Edge of a patch in pixels or voxels, one number or one an axis.
        class_token: Whether a class token goes through the blocks beside the patches.
        pooling: "mean" of the patch tokens, or the "class" token.
        positions: "fixed" sines and cosines (not part of the weights), or "learned".
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0 at the first.
    """

    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    heads: int = Field(gt=0)
    mlp_ratio: float = Field(default=4.0, gt=0)
    patch_size: int | tuple[int, ...] = 16
    class_token: bool = True
    pooling: Literal["mean", "class"] = "mean"
    positions: Literal["fixed", "learned"] = "fixed"
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class PatchEmbedding(nn.Module):
    """One linear map a patch, as a convolution: (B, C, *spatial) -> (B, N, D)."""

    def __init__(self, in_channels: int, width: int, patch: tuple[int, ...]) -> None:
        super().__init__()
        self.proj = _CONV[len(patch)](in_channels, width, kernel_size=patch, stride=patch)
        nn.init.xavier_uniform_(self.proj.weight.data.view(width, -1))  # as the linear layer that it is
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """ViT over patches of 2D or 3D images.

    Attributes:
        width: Length D of the features.
        depth: Number of blocks.
        patch: Size of a patch along each axis.
        grid: Number of patches along each axis at `image_size`; other image sizes work too, positions follow.
        prefix_tokens: Number of tokens before the patch tokens in what `encode` returns.
        layer_count: Number of depth levels for layer-wise learning rates, see `layer_index`.
    """

    OFFERS = frozenset({"features", "tokens"})

    def __init__(
        self, settings: Settings, *, in_channels: int, spatial_dims: int, image_size: int | Sequence[int]
    ) -> None:
        """Build the layers with fresh weights.

        Raises:
            SettingsError: Sizes do not fit together: heads and width, patch and image, pooling and class token.
        """
        super().__init__()
        _check(settings, spatial_dims)
        self.settings, self.in_channels, self.spatial_dims = settings, in_channels, spatial_dims
        self.width, self.depth, self.prefix_tokens = settings.width, settings.depth, int(settings.class_token)
        self.image_size = per_axis(image_size, spatial_dims, "image size")
        self.patch = per_axis(settings.patch_size, spatial_dims, "patch_size")
        self.grid = grid_of(self.image_size, self.patch)
        self.layer_count = settings.depth + 2
        self.patch_embed = PatchEmbedding(in_channels, self.width, self.patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, self.width) * 0.02) if settings.class_token else None
        self._add_positions()
        rates = [settings.drop_path * i / max(settings.depth - 1, 1) for i in range(settings.depth)]
        self.blocks = nn.ModuleList(Block(self.width, settings.heads, settings.mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        self.blocks.apply(initialise)

    def _add_positions(self) -> None:
        learned = self.settings.positions == "learned"
        count = self.prefix_tokens + math.prod(self.grid)
        self.pos_embed = nn.Parameter(torch.randn(1, count, self.width) * 0.02) if learned else None
        if not learned:
            self.fixed_positions = FixedPositions(self.grid, self.width)

    def forward(self, x: torch.Tensor) -> Features:
        """Return the features of images: (B, C, *spatial) -> (B, D) and (B, D, *grid)."""
        grid = grid_of(x.shape[2:], self.patch)
        tokens = self.encode(self.embed(x))
        patches = tokens[:, self.prefix_tokens :]
        pooled = patches.mean(dim=1) if self.settings.pooling == "mean" else tokens[:, 0]
        return Features(pooled, patches.transpose(1, 2).reshape(len(x), self.width, *grid))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return patch tokens with their positions, no class token: (B, C, *spatial) -> (B, N, D)."""
        return self.patch_embed(x) + self.positions(grid_of(x.shape[2:], self.patch))

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run any subset of patch tokens through the blocks: (B, N, D) -> (B, prefix_tokens + N, D), normalised."""
        tokens = self._with_prefix(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def attention_maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return what each token of the last block attends to, head by head, as DINO's figure 1 shows it.

        Row 0 of a backbone with a class token, less its first `prefix_tokens` entries, is a picture of the grid.
        Caron et al., "Emerging properties in self-supervised vision transformers", 2021
        (https://arxiv.org/abs/2104.14294).

        Returns:
            (B, C, *spatial) -> (B, heads, P + N, P + N) with P `prefix_tokens` and N patches in C order of the grid;
            every row sums to 1.
        """
        tokens = self._with_prefix(self.embed(x))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return self.blocks[-1].attention_maps(tokens)

    def _with_prefix(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.cls_token is None:
            return tokens
        first = self.cls_token if self.pos_embed is None else self.cls_token + self.pos_embed[:, :1]
        return torch.cat([first.expand(len(tokens), -1, -1), tokens], dim=1)

    def positions(self, grid: tuple[int, ...]) -> torch.Tensor:
        """Return the positions of the patches of a grid, (1, N, D); learned ones are interpolated to it."""
        if self.pos_embed is not None:
            return resize(self.pos_embed[:, self.prefix_tokens :], self.grid, grid)
        return self.fixed_positions(grid)

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the embedding, 1 + i block i, `layer_count` - 1 the last norm.

        A head stands at `layer_count` - 1. Layer-wise decay multiplies a rate by decay ** (layer_count - 1 - index).
        """
        first, _, rest = name.partition(".")
        if first == "blocks":
            return 1 + int(rest.partition(".")[0])
        return self.layer_count - 1 if first == "norm" else 0

    def accept(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Check what foreign weights say beyond names and shapes, and leave out positions that are computed here.

        Args:
            state: Weights with this backbone's names.

        Raises:
            DataError: They hold tokens that this backbone lacks, or learned positions where it has fixed ones.
        """
        state = dict(state)
        for name in _OTHER_TOKENS:
            if name in state and getattr(self, name, None) is None:
                raise DataError(f"The weights use '{name}', which this backbone does not have", fix="Build it alike")
        positions = state.pop("pos_embed", None) if self.settings.positions == "fixed" else None
        if positions is not None and not self._is_sincos(positions):
            raise DataError(
                "The weights come with learned positions and this backbone has fixed ones",
                fix="Build it with vit.positions=learned and the image size of the weights",
            )
        return state

    def _is_sincos(self, positions: torch.Tensor) -> bool:
        """Return whether positions of this or another, cubic grid are the fixed ones, rounded at most to 16 bits."""
        width = positions.shape[-1]
        for extra in (0, 1):
            patches = positions.reshape(-1, width)[extra:].float().cpu()
            side = round(len(patches) ** (1 / self.spatial_dims))
            for grid in (self.grid, (side,) * self.spatial_dims):
                if math.prod(grid) == len(patches) and torch.allclose(patches, sincos(grid, width), atol=1e-2):
                    return True
        return False


def _check(settings: Settings, spatial_dims: int) -> None:
    if spatial_dims not in _CONV:
        raise SettingsError(f"Expected spatial_dims 2 or 3, but got {spatial_dims}")
    if settings.width % settings.heads:
        raise SettingsError(f"Expected vit.heads to divide vit.width {settings.width}, but got {settings.heads}")
    if settings.pooling == "class" and not settings.class_token:
        raise SettingsError("vit.pooling is 'class' and vit.class_token is false", fix="Set vit.pooling=mean")
