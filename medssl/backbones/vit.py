"""The vision transformer for images and volumes, with timm's parameter names.

Dosovitskiy et al., "An image is worth 16x16 words", 2021 (https://arxiv.org/abs/2010.11929). Positions are fixed
sines and cosines and the pooled feature is the mean of the patch tokens, as He et al. 2022 use it for MAE
(https://arxiv.org/abs/2111.06377); both are settings. Register tokens are those of Darcet et al., "Vision
transformers need registers", 2024 (https://arxiv.org/abs/2309.16588).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.features import Features
from medssl.backbones.parts.patches import grid_of, per_axis
from medssl.backbones.parts.positions import FixedPositions, is_sincos, resize, split_positions
from medssl.backbones.parts.renaming import joined, renamed
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
MILLIONS = {  # of weights, for 3 channels of 224 x 224 and 1 channel of 96 x 96 x 96
    "vit_nano": (0.892, 1.32),
    "vit_tiny": (5.49, 6.13),
    "vit_small": (21.6, 22.9),
    "vit_base": (85.6, 88.2),
    "vit_large": (303, 307),
}

_CONV: dict[int, type] = {2: nn.Conv2d, 3: nn.Conv3d}
_NAMES = (  # of DINOv2's files, then of transformers'
    (r"^blocks\.\d+\.(\d+\.)", r"blocks.\1"),
    (r"^(embeddings\.)?register_tokens$", "reg_token"),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^(encoder\.layer|layers)\.(\d+)\.", r"blocks.\2."),
    (r"^(blocks\.\d+\.)attention\.(attention\.)?(q|k|v)(uery|ey|alue|_proj)\.", r"\1attn.\3."),
    (r"^(blocks\.\d+\.)attention\.(output\.dense|o_proj)\.", r"\1attn.proj."),
    (r"^(blocks\.\d+\.)intermediate\.dense\.", r"\1mlp.fc1."),
    (r"^(blocks\.\d+\.)output\.dense\.", r"\1mlp.fc2."),
    (r"^(blocks\.\d+\.)layernorm_before\.", r"\1norm1."),
    (r"^(blocks\.\d+\.)layernorm_after\.", r"\1norm2."),
    (r"^(blocks\.\d+\.)layer_scale(\d)\.lambda1$", r"\1ls\2.gamma"),
)
_ROTATED = ("rope", "rotary", "storage_tokens")
_OTHER_TOKENS = ("cls_token", "reg_token", "dist_token")


class Settings(_Settings):
    """What a ViT is made of.

    Attributes:
        width: Length D of a token.
        depth: Number of blocks.
        heads: Attention heads; they divide the width.
        mlp_ratio: Hidden width of the MLP over `width`.
        patch_size: Edge of a patch in pixels or voxels, one number or one an axis.
        class_token: Whether a class token goes through the blocks beside the patches.
        register_tokens: Number of further tokens without a meaning of their own, after the class token. They have no
            positions and are left out of every feature.
        pooling: "mean" of the normalised patch tokens, the "class" token, or "mean_then_norm", the norm of the mean:
            what MAE, RETFound and timm have in classifiers that they fine-tuned (`fc_norm`).
        positions: "fixed" sines and cosines (not part of the weights), or "learned".
        layer_scale: What the factors of LayerScale begin with, such as 1e-5; None for no LayerScale.
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0 at the first.
    """

    width: int = Field(gt=0)
    depth: int = Field(gt=0)
    heads: int = Field(gt=0)
    mlp_ratio: float = Field(default=4.0, gt=0)
    patch_size: int | tuple[int, ...] = 16
    class_token: bool = True
    register_tokens: int = Field(default=0, ge=0)
    pooling: Literal["mean", "class", "mean_then_norm"] = "mean"
    positions: Literal["fixed", "learned"] = "fixed"
    layer_scale: float | None = Field(default=None, gt=0)
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
        self.width, self.depth = settings.width, settings.depth
        self.prefix_tokens = settings.class_token + settings.register_tokens
        self.image_size = per_axis(image_size, spatial_dims, "image size")
        self.patch = per_axis(settings.patch_size, spatial_dims, "patch_size")
        self.grid = grid_of(self.image_size, self.patch)
        self.layer_count = settings.depth + 2
        self.patch_embed = PatchEmbedding(in_channels, self.width, self.patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, self.width) * 0.02) if settings.class_token else None
        registers = settings.register_tokens
        self.reg_token = nn.Parameter(torch.randn(1, registers, self.width) * 0.02) if registers else None
        self._add_positions()
        rates = [settings.drop_path * i / max(settings.depth - 1, 1) for i in range(settings.depth)]
        shape = (self.width, settings.heads, settings.mlp_ratio)
        self.blocks = nn.ModuleList(Block(*shape, rate, settings.layer_scale) for rate in rates)
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        self.blocks.apply(initialise)

    def _add_positions(self) -> None:
        learned = self.settings.positions == "learned"
        count = self.settings.class_token + math.prod(self.grid)
        self.pos_embed = nn.Parameter(torch.randn(1, count, self.width) * 0.02) if learned else None
        if not learned:
            self.fixed_positions = FixedPositions(self.grid, self.width)

    def forward(self, x: torch.Tensor) -> Features:
        """Return the features of images: (B, C, *spatial) -> (B, D) and (B, D, *grid)."""
        grid = grid_of(x.shape[2:], self.patch)
        encoded = self._through_blocks(self.embed(x))
        tokens = self.norm(encoded)
        patches = tokens[:, self.prefix_tokens :]
        return Features(self._pooled(encoded, tokens), patches.transpose(1, 2).reshape(len(x), self.width, *grid))

    def _pooled(self, encoded: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Pool what the blocks give, and the same normalised: (B, P + N, D) twice -> (B, D)."""
        if self.settings.pooling == "class":
            return tokens[:, 0]
        if self.settings.pooling == "mean":
            return tokens[:, self.prefix_tokens :].mean(dim=1)
        return self.norm(encoded[:, self.prefix_tokens :].mean(dim=1))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return patch tokens with their positions, no class token: (B, C, *spatial) -> (B, N, D)."""
        return self.patch_embed(x) + self.positions(grid_of(x.shape[2:], self.patch))

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run any subset of patch tokens through the blocks: (B, N, D) -> (B, prefix_tokens + N, D), normalised."""
        return self.norm(self._through_blocks(tokens))

    def _through_blocks(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = self._with_prefix(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

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
        return cast(Block, self.blocks[-1]).attention_maps(tokens)

    def _with_prefix(self, tokens: torch.Tensor) -> torch.Tensor:
        first: torch.Tensor | None = self.cls_token
        if first is not None and self.pos_embed is not None:
            first = first + self.pos_embed[:, :1]
        prefix = [token.expand(len(tokens), -1, -1) for token in (first, self.reg_token) if token is not None]
        return torch.cat([*prefix, tokens], dim=1) if prefix else tokens

    def positions(self, grid: tuple[int, ...]) -> torch.Tensor:
        """Return the positions of the patches of a grid, (1, N, D); learned ones are interpolated to it."""
        if self.pos_embed is not None:
            return resize(self.pos_embed[:, int(self.settings.class_token) :], self.grid, grid)
        return self.fixed_positions(grid)

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter: 0 the embedding, 1 + i block i, `layer_count` - 1 the last norm.

        A head stands at `layer_count` - 1. Layer-wise decay multiplies a rate by decay ** (layer_count - 1 - index).
        """
        first, _, rest = name.partition(".")
        if first == "blocks":
            return 1 + int(rest.partition(".")[0])
        return self.layer_count - 1 if first == "norm" else 0

    def translate(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Bring the names of DINOv2 and of transformers' ViT, ViT-MAE, DINOv2 and I-JEPA to timm's."""
        named = joined(renamed(state, _NAMES), ("attn.q.", "attn.k.", "attn.v."), "attn.qkv.")
        if self.settings.pooling == "mean_then_norm" and "norm.weight" not in named:
            return renamed(named, ((r"^fc_norm\.", "norm."),))
        return named

    def accept(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Check what foreign weights say beyond names and shapes, and fit their positions to this backbone.

        Fixed positions are left out, since they are computed here. Learned ones are interpolated to this grid; where
        they have none for the class token, or some for registers, they say the same in the form that is used here.

        Args:
            state: Weights with this backbone's names.

        Raises:
            DataError: They hold tokens that this backbone lacks, learned positions where it has fixed ones, positions
                that rotate (DINOv3), or a norm after pooling where this backbone has it before.
        """
        state = dict(state)
        _check_kind(state)
        for name in _OTHER_TOKENS:
            if name in state and getattr(self, name, None) is None:
                raise DataError(f"The weights use '{name}', which this backbone does not have", fix="Build it alike")
        if "pos_embed" in state and self.pos_embed is None:
            if not is_sincos(state.pop("pos_embed"), self.grid):
                raise DataError(
                    "The weights come with learned positions and this backbone has fixed ones",
                    fix="Build it with vit.positions=learned and the image size of the weights",
                )
        elif "pos_embed" in state:
            self._fit_positions(state)
        return state

    def _fit_positions(self, state: dict[str, torch.Tensor]) -> None:
        """Bring learned positions, (1, E + N, D) for E tokens before N patches, to this grid and these tokens."""
        found = state["pos_embed"]
        own, registers = int(self.settings.class_token), self.settings.register_tokens
        split = split_positions(found, self.grid, (own, 0, own + registers)) if found.ndim == 3 else None
        if split is None or found.shape[-1] != self.width:
            return  # another architecture, as the comparison of shapes says
        prefix, patches, grid = split
        if registers and prefix.shape[1] == own + registers:
            state["reg_token"] = state["reg_token"] + prefix[:, own:]
        prefix = prefix[:, :own] if prefix.shape[1] else found.new_zeros(1, own, self.width)
        state["pos_embed"] = torch.cat([prefix, resize(patches, grid, self.grid).to(found.dtype)], dim=1)


def _check_kind(state: Mapping[str, torch.Tensor]) -> None:
    if any(part.startswith(_ROTATED) for name in state for part in name.split(".")):
        raise DataError(
            "The weights rotate queries and keys by position, as DINOv3 does, and this ViT adds positions to tokens",
            fix="Use weights of DINOv2, or of another ViT with added positions",
        )
    if "fc_norm.weight" in state and "norm.weight" not in state:
        raise DataError(
            "The weights have a norm after pooling ('fc_norm'), as fine-tuned classifiers do, and none before it",
            fix="Build it with vit.pooling=mean_then_norm",
        )


def _check(settings: Settings, spatial_dims: int) -> None:
    if spatial_dims not in _CONV:
        raise SettingsError(f"Expected spatial_dims 2 or 3, but got {spatial_dims}")
    if settings.width % settings.heads:
        raise SettingsError(f"Expected vit.heads to divide vit.width {settings.width}, but got {settings.heads}")
    if settings.pooling == "class" and not settings.class_token:
        raise SettingsError("vit.pooling is 'class' and vit.class_token is false", fix="Set vit.pooling=mean")
