"""MAE: hide most patches of an image, and predict their pixels from the visible ones.

He, Chen, Xie, Li, Dollar, Girshick, "Masked autoencoders are scalable vision learners", 2022
(https://arxiv.org/abs/2111.06377).
"""

import math
from typing import NamedTuple, cast

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.features import TokenBackbone
from medssl.backbones.parts.patches import grid_of
from medssl.backbones.parts.positions import FixedPositions
from medssl.backbones.parts.transformer import Block, initialise
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.parts.gather import share_of_all
from medssl.methods.parts.needs import require
from medssl.methods.parts.pixels import hidden_loss, pictures
from medssl.methods.parts.token_masks import TokenSplit, split_of, take
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "MAE"
RECONSTRUCTION = (
    "Unless mae.norm_pix_loss is off, each hidden patch is given its true brightness and contrast, and only its "
    "structure is predicted."
)
NEEDS = frozenset({"tokens"})
STRENGTHS = ("weak",)
_FIX = "Choose a ViT, such as --backbone vit_small"
_PAPER = "He et al., CVPR 2022, table 8"
RECOMMENDS = {
    "train.base_learning_rate": Choice(1.5e-4, _PAPER),
    "train.weight_decay": Choice(0.05, _PAPER),
    "train.betas": Choice((0.9, 0.95), _PAPER),
}


class Settings(_Settings):
    """Settings of MAE.

    The decoder sees all tokens, the encoder a quarter of them or fewer, so the paper's decoder (8 blocks of 512)
    would take over 80 % of the work of a ViT-S. The default keeps the paper's proportion for ViT-L at every size: a
    third of the encoder's depth and two thirds of its width, heads of 32. That is 8 x 512 for ViT-L as published,
    4 x 512 for ViT-B, 4 x 256 for ViT-S, 1 x 128 for ViT-nano. Depth is not cut further, since linear probing gains
    by it (table 1a of the paper).

    Attributes:
        mask_ratio: Share of hidden patches, in (0, 1); 0.75 in the paper, modalities recommend their own.
        decoder_width: Width of the decoder's tokens; None for the default above, within 128 and 512.
        decoder_depth: Blocks of the decoder; None for the default above.
        decoder_heads: Heads of the decoder; None for one a 32 of width.
        norm_pix_loss: Whether the pixels of each patch are predicted after normalising them by their own mean and
            standard deviation (section 3, "reconstruction target"); else they are predicted as they are.
    """

    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    decoder_width: int | None = Field(default=None, gt=0)
    decoder_depth: int | None = Field(default=None, gt=0)
    decoder_heads: int | None = Field(default=None, gt=0)
    norm_pix_loss: bool = True


class Decoder(nn.Module):
    """A small transformer over visible tokens and mask tokens that predicts the pixels of the masked patches."""

    def __init__(self, encoder: TokenBackbone, width: int, depth: int, heads: int) -> None:
        """Build the layers for what an encoder gives, with fresh weights."""
        super().__init__()
        if width % heads:
            raise SettingsError(f"Expected mae.decoder_heads to divide decoder_width {width}, but got {heads}")
        self.positions = FixedPositions(encoder.grid, width)
        self.embed = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pred = nn.Linear(width, math.prod(encoder.patch) * encoder.in_channels)
        self.apply(initialise)

    def forward(self, encoded: torch.Tensor, split: TokenSplit, grid: tuple[int, ...]) -> torch.Tensor:
        """Return predictions for the masked patches: (B, P + V, D) -> (B, M, values).

        Tokens stay in shuffled order, each with the position of its patch: attention does not mind, and nothing has
        to be put back in order. The first P tokens are the encoder's class token, without a position.
        """
        tokens = self.embed(encoded)
        positions = self.positions(grid).expand(len(tokens), -1, -1)
        prefix = tokens.shape[1] - split.visible.shape[1]
        visible = tokens[:, prefix:] + take(positions, split.visible)
        masked = self.mask_token + take(positions, split.masked)
        x = torch.cat([tokens[:, :prefix], visible, masked], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x[:, -split.masked.shape[1] :]))


class Encoded(NamedTuple):
    """What MAE makes of a view.

    Attributes:
        loss: Of the reconstruction.
        pooled: (B, D) mean of the encoder's visible patches.
    """

    loss: torch.Tensor
    pooled: torch.Tensor


class Method(nn.Module):
    """MAE around a backbone of tokens."""

    backbone: TokenBackbone

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix=_FIX)
        self.backbone, self.settings = cast(TokenBackbone, backbone), settings
        self.wish = [ViewWish(count=1, strength=STRENGTHS[0])]
        self.decoder = _decoder(self.backbone, settings)

    def forward(self, views: list[torch.Tensor], chance: Chance) -> dict[str, torch.Tensor]:
        """Return the reconstruction loss of one view.

        The loss is the mean squared error between prediction and pixels of the masked patches.

        Args:
            views: One tensor, (B, C, *spatial).
            chance: Draws the mask, one row a sample.

        Returns:
            "loss".

        Raises:
            SettingsError: The image is no multiple of the patch, or no patch would stay visible.
        """
        (view,) = views
        loss = self.encoded(view, chance).loss
        return {"loss": loss * share_of_all(len(view), loss.device)}

    def encoded(self, view: torch.Tensor, chance: Chance) -> Encoded:
        """Return the reconstruction loss of a view, and the mean feature of its visible patches.

        Args:
            view: (B, C, *spatial).
            chance: Draws the mask, one row a sample.
        """
        split = self._split(view, chance)
        tokens = self._encode(view, split)
        prediction = self.decoder(tokens, split, grid_of(view.shape[2:], self.backbone.patch))
        loss = hidden_loss(view, self.backbone.patch, split, prediction, normalise=self.settings.norm_pix_loss)
        return Encoded(loss, tokens[:, -split.visible.shape[1] :].mean(dim=1))

    def after_step(self, step: int, total: int) -> None:
        """Do nothing: MAE has no momentum copy."""

    def _split(self, view: torch.Tensor, chance: Chance) -> TokenSplit:
        return split_of(view, self.backbone.patch, self.settings.mask_ratio, chance)

    def _encode(self, view: torch.Tensor, split: TokenSplit) -> torch.Tensor:
        tokens = self.backbone.embed(view)  # (B, N, D), with positions
        return self.backbone.encode(take(tokens, split.visible))  # (B, P + V, D): the encoder sees nothing else

    def _predict(self, view: torch.Tensor, split: TokenSplit) -> torch.Tensor:
        return self.decoder(self._encode(view, split), split, grid_of(view.shape[2:], self.backbone.patch))

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
        prediction = self._predict(view, split).float()
        self.train(was_training)
        return pictures(view, self.backbone.patch, split, prediction, normalise=self.settings.norm_pix_loss)


def _decoder(backbone: TokenBackbone, settings: Settings) -> Decoder:
    width = settings.decoder_width or min(512, max(128, round(backbone.width * 2 / 3 / 64) * 64))
    depth = settings.decoder_depth or max(1, backbone.depth // 3)
    heads = settings.decoder_heads or max(1, width // 32)
    return Decoder(backbone, width, depth, heads)
