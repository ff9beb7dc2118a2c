"""SparK: the masked pretraining of convolutional networks. Hide most blocks of an image, and predict their pixels.

Tian, Jiang, Diao, Lin, Wang, Yuan, "Designing BERT for convolutional networks: sparse and hierarchical masked
modeling", 2023 (https://arxiv.org/abs/2301.03580). The encoder works as a sparse one that sees visible blocks only
(`medssl.backbones.parts.sparse`); its maps of all scales are filled up by mask tokens and decoded as by a U-Net.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.features import StagedBackbone
from medssl.backbones.parts.patches import grid_of, patchify
from medssl.backbones.parts.sparse import Visible, sparse
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.parts.gather import share_of_all
from medssl.methods.parts.needs import require
from medssl.methods.parts.pixels import hidden_loss, pictures
from medssl.methods.parts.token_masks import TokenSplit, split_of, take
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "SparK"
RECONSTRUCTION = (
    "Unless spark.norm_pix_loss is off, each hidden block is given its true brightness and contrast, and only its "
    "structure is predicted."
)
NEEDS = frozenset({"stages"})
STRENGTHS = ("weak",)
_FIX = "Choose a CNN, such as --backbone resnet18"
_CODE = "the authors' code, there with LAMB"
RECOMMENDS = {
    "backbone": Choice("resnet18", "SparK trains CNNs"),
    "train.base_learning_rate": Choice(2e-4, _CODE),
    "train.weight_decay": Choice(0.04, _CODE),
    "train.final_weight_decay": Choice(0.2, _CODE),
    "train.betas": Choice((0.9, 0.95), _CODE),
    "train.clip_norm": Choice(5.0, _CODE),
}
_LARGEST_BLOCK = {2: 32, 3: 16}
_FEWEST_BLOCKS = 16
_CONV: dict[int, type] = {2: nn.Conv2d, 3: nn.Conv3d}
_UP: dict[int, type] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM: dict[int, type] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Settings(_Settings):
    """Settings of SparK.

    Attributes:
        mask_ratio: Share of hidden blocks, in (0, 1); 0.6 in the paper, 0.6 to 0.75 in its 3D forms.
        block: Edge of a block in pixels or voxels. In the paper it is the total stride of the backbone (32), of which a
            small image has too few. None for the largest stride of a stage, up to 32 in 2D and 16 in 3D (nnssl's
            masks), that divides the image into 16 blocks or more.
        decoder_width: Channels of the decoder at the coarsest scale, halved from scale to scale: a multiple of the
            total stride. None for the proportion of the authors' code for ResNet-50, 3 / 8 of the encoder's width (768
            for 2048), between 64 and 768.
        norm_pix_loss: Whether the pixels of each block are predicted after normalising them by their own mean and
            standard deviation, as the paper does; else they are predicted as they are.
    """

    mask_ratio: float = Field(default=0.6, gt=0, lt=1)
    block: int | None = Field(default=None, gt=0)
    decoder_width: int | None = Field(default=None, gt=0)
    norm_pix_loss: bool = True


class Densify(nn.Module):
    """Fill hidden places of one scale by a mask token, and project all to the decoder's width.

    S' = S where visible, else the token [M]; D = phi(S') (section 3.2).
    """

    def __init__(self, dims: int, width: int, out: int, kernel: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(1, width, *[1] * dims))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.projection = _CONV[dims](width, out, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Densify a map: (B, D, *grid) and (B, 1, *grid) booleans -> (B, D', *grid)."""
        return self.projection(torch.where(visible, x, self.mask_token.to(x.dtype)))


class Upsample(nn.Module):
    """Twice the resolution, half the channels: (B, D, *grid) -> (B, D / 2, *2 grid)."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.up = _UP[dims](width, width, 4, stride=2, padding=1)
        convolve = [_CONV[dims](width, out, 3, padding=1, bias=False) for out in (width, width // 2)]
        self.conv = nn.Sequential(
            convolve[0], _NORM[dims](width), nn.ReLU6(inplace=True), convolve[1], _NORM[dims](width // 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.up(x))


class Decoder(nn.Module):
    """A light U-Net decoder from the maps of all scales to pixels.

    D_i = B_{i+1}(D_{i+1}) + phi_i(S'_i) from the coarsest scale to the finest, then blocks B alone to full resolution.
    """

    def __init__(self, encoder: StagedBackbone, width: int) -> None:
        """Build the layers for what an encoder gives, with fresh weights."""
        super().__init__()
        total, dims = encoder.stage_strides[-1], encoder.spatial_dims
        if width % total:
            raise SettingsError(f"Expected spark.decoder_width as a multiple of {total}, but got {width}")
        self.strides = [total >> i for i in range(total.bit_length() - 1)]  # 32, 16, 8, 4, 2
        self.stage_strides = tuple(encoder.stage_strides)
        self.densify = nn.ModuleList(
            Densify(dims, own, width * stride // total, 1 if stride == total else 3)
            for own, stride in zip(encoder.stage_widths, encoder.stage_strides, strict=True)
        )
        self.blocks = nn.ModuleList(Upsample(dims, width * stride // total) for stride in self.strides)
        self.pred = _CONV[dims](width // total, encoder.in_channels, 1)
        self.apply(_initialise)

    def forward(self, maps: list[torch.Tensor], visible: Visible) -> torch.Tensor:
        """Return an image of predictions: maps (B, D_s, *grid_s), the finest first -> (B, C, *spatial)."""
        scales = zip(self.stage_strides, self.densify, maps, strict=True)
        skips = {stride: densify(x, visible.at(x.shape[2:])) for stride, densify, x in scales}
        x = skips[self.strides[0]]
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = _cut(block(x), [-(-edge // (stride // 2)) for edge in visible.size])
            x = x + skips[stride // 2] if stride // 2 in skips else x
        return self.pred(x)


def _cut(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Cut a map to a size: an encoder rounds halves up, so doubling gives one place too many at times."""
    for axis, edge in enumerate(size, start=2):
        x = x.narrow(axis, 0, edge)
    return x


def _initialise(module: nn.Module) -> None:
    """Set weights as the authors' code does; use with `apply`."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, tuple(_CONV.values()) + tuple(_UP.values())) and module.bias is not None:
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class Method(nn.Module):
    """SparK around a convolutional backbone.

    Attributes:
        block: Edge of a block along each axis.
    """

    backbone: StagedBackbone

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix=_FIX)
        self.backbone, self.settings = cast(StagedBackbone, backbone), settings
        self.wish = [ViewWish(count=1, strength=STRENGTHS[0])]
        self.block = (_block(self.backbone, settings),) * self.backbone.spatial_dims
        # before the tokens are put in, as in the authors' code
        self.norms = nn.ModuleList(_NORM[self.backbone.spatial_dims](width) for width in self.backbone.stage_widths)
        self.decoder = Decoder(self.backbone, settings.decoder_width or _decoder_width(self.backbone))

    def forward(self, views: list[torch.Tensor], chance: Chance) -> dict[str, torch.Tensor]:
        """Return the reconstruction loss of one view.

        The loss is the mean squared error between prediction and pixels of the hidden blocks.

        Args:
            views: One tensor, (B, C, *spatial).
            chance: Draws the mask, one row a sample.

        Returns:
            "loss".

        Raises:
            SettingsError: The image is no multiple of the block, or no block would stay visible.
        """
        (view,) = views
        split = self._split(view, chance)
        prediction = self._predict(view, split)
        loss = hidden_loss(view, self.block, split, prediction, normalise=self.settings.norm_pix_loss)
        return {"loss": loss * share_of_all(len(view), loss.device)}

    def after_step(self, step: int, total: int) -> None:
        """Do nothing: SparK has no momentum copy."""

    def _split(self, view: torch.Tensor, chance: Chance) -> TokenSplit:
        return split_of(view, self.block, self.settings.mask_ratio, chance, "spark.block")

    def _predict(self, view: torch.Tensor, split: TokenSplit) -> torch.Tensor:
        visible = self._visible(view, split)
        image = self.decoder(self._encode(view, visible), visible)  # (B, C, *spatial)
        return take(patchify(image, self.block), split.masked)  # (B, M, values)

    def _visible(self, view: torch.Tensor, split: TokenSplit) -> Visible:
        grid = grid_of(view.shape[2:], self.block)
        seen = torch.zeros(len(view), math.prod(grid), dtype=torch.bool, device=view.device)
        return Visible(seen.scatter(1, split.visible, True).unflatten(1, grid), view.shape[2:])

    def _encode(self, view: torch.Tensor, visible: Visible) -> list[torch.Tensor]:
        """Return what each stage makes of the visible blocks, normalised: zero at hidden places, the finest first."""
        with sparse(visible, cast(nn.Module, self.backbone), self.norms):
            maps = self.backbone.stages(view.masked_fill(~visible.at(view.shape[2:]), 0))
            return [norm(x) for norm, x in zip(self.norms, maps, strict=True)]

    @torch.no_grad()
    def reconstruct(self, view: torch.Tensor, chance: Chance) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the masked view and its reconstruction, see `medssl.methods.parts.pixels.pictures`.

        Args:
            view: (B, C, *spatial).
            chance: Draws the mask.

        Returns:
            Two tensors, (B, C, *spatial).
        """
        was_training = self.training
        self.eval()
        split = self._split(view, chance)
        prediction = self._predict(view, split)
        self.train(was_training)
        return pictures(view, self.block, split, prediction, normalise=self.settings.norm_pix_loss)


def _block(backbone: StagedBackbone, settings: Settings) -> int:
    """Return the edge of a block: the one that was set, or the largest that leaves enough of them."""
    if settings.block:
        grid_of(backbone.image_size, (settings.block,) * backbone.spatial_dims, "spark.block")
        return settings.block
    largest = _LARGEST_BLOCK[backbone.spatial_dims]
    for stride in sorted(backbone.stage_strides, reverse=True):
        fits = stride <= largest and all(edge % stride == 0 for edge in backbone.image_size)
        if fits and math.prod(edge // stride for edge in backbone.image_size) >= _FEWEST_BLOCKS:
            return stride
    size = " x ".join(map(str, backbone.image_size))
    raise SettingsError(
        f"No stride of the backbone's stages cuts {size} into {_FEWEST_BLOCKS} blocks or more",
        fix="Set data.image_size to a larger multiple of 16, or name spark.block",
    )


def _decoder_width(backbone: StagedBackbone) -> int:
    step = max(32, backbone.stage_strides[-1])
    return min(768, max(64, round(backbone.width * 3 / 8 / step) * step))
