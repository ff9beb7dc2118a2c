"""I-JEPA: from one part of an image predict what a slowly moving copy of the encoder says of other parts.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas, "Self-supervised learning from images with a
joint-embedding predictive architecture", 2023 (https://arxiv.org/abs/2301.08243). No augmentation beyond crops, and
features are predicted instead of pixels.
"""

from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from medssl.backbones.parts.features import TokenBackbone
from medssl.backbones.parts.patches import grid_of
from medssl.backbones.parts.positions import FixedPositions
from medssl.backbones.parts.transformer import Block, initialise
from medssl.chance import Chance, key
from medssl.errors import SettingsError
from medssl.methods.parts.amount import Amount, fitting_momentum
from medssl.methods.parts.block_masks import Blocks, box_of, draw_blocks
from medssl.methods.parts.gather import share_of_all
from medssl.methods.parts.momentum import follow, momentum_copy
from medssl.methods.parts.needs import require
from medssl.methods.parts.precision import wide
from medssl.methods.parts.token_masks import take
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "I-JEPA"
NEEDS = frozenset({"tokens"})
STRENGTHS = ("weak",)
_PAPER = "Assran et al., CVPR 2023, appendix A.1"
RECOMMENDS = {
    "train.base_learning_rate": Choice(1.25e-4, f"{_PAPER}: 1e-3 for a batch of 2,048"),
    "train.weight_decay": Choice(0.04, _PAPER),
    "train.final_weight_decay": Choice(0.4, _PAPER),
    "train.betas": Choice((0.9, 0.999), "AdamW's own"),
}
LEAST_STEPS = 3_000  # the rank of features falls for some 500 steps and rises for thousands: docs/results/methods.md
_NO_CONTEXT = (1.0, 1.0)  # the ratio of the context's box: the grid's own


class Settings(_Settings):
    """Settings of I-JEPA.

    Attributes:
        targets: Boxes that are predicted; 4 in the paper.
        target_scale: Share of the patches that a target box covers; 0.15 to 0.2 in the paper.
        target_aspect: Its ratio of height to width; 0.75 to 1.5 in the paper.
        context_scale: Share of the patches that the context's box covers before the targets are taken from it;
            0.85 to 1 in the paper.
        context_keep: Share of all patches that the encoder sees. What is left of the paper's boxes is 0.43 on
            average, and less once a batch is cut to its shortest; see `medssl.methods.parts.block_masks`.
        predictor_width: Width of the predictor; None for the backbone's, at most the paper's 384.
        predictor_depth: Its blocks; None for half of the encoder's.
        predictor_heads: Its heads; None for one a 32 of width.
        momentum: Of the target encoder at the start; it rises to 1 in a line. 0.996 in the paper; short runs need
            a target that moves.
    """

    targets: int = Field(default=4, ge=1)
    target_scale: tuple[float, float] = (0.15, 0.2)
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    context_keep: float = Field(default=0.35, gt=0, lt=1)
    predictor_width: int | None = Field(default=None, gt=0)
    predictor_depth: int | None = Field(default=None, gt=0)
    predictor_heads: int | None = Field(default=None, gt=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)


def fitted(amount: Amount) -> dict[str, Choice]:
    """Return the settings that follow from how much a run sees."""
    return {
        "ijepa.momentum": fitting_momentum(amount, 0.996, 2048),
    }


class Predictor(nn.Module):
    """A narrow transformer over the context and one mask token a patch of a target."""

    def __init__(self, encoder: TokenBackbone, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise SettingsError(f"Expected ijepa.predictor_heads to divide predictor_width {width}, but got {heads}")
        self.positions = FixedPositions(encoder.grid, width)
        self.embed = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Linear(width, encoder.width)
        self.apply(initialise)

    def forward(self, encoded: torch.Tensor, blocks: Blocks, grid: tuple[int, ...]) -> torch.Tensor:
        """Return the predicted features of every target: (B, C, D) -> (B, T, M, D); each box is predicted alone."""
        count = blocks.targets.shape[1]
        positions = self.positions(grid).expand(len(encoded), -1, -1)
        context = self.embed(encoded) + take(positions, blocks.context)
        asked = self.mask_token + take(positions, blocks.targets.flatten(1))  # (B, T M, P)
        x = torch.cat([context.repeat_interleave(count, dim=0), asked.unflatten(1, (count, -1)).flatten(0, 1)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.proj(self.norm(x[:, context.shape[1] :])).unflatten(0, (-1, count))


class Method(nn.Module):
    """I-JEPA around a backbone of tokens: it is the context encoder; the target encoder is exported."""

    backbone: TokenBackbone
    steps: torch.Tensor

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix="Choose a ViT, such as --backbone vit_small")
        self.backbone, self.settings = cast(TokenBackbone, backbone), settings
        self.wish = [ViewWish(count=1, strength=STRENGTHS[0])]
        self.predictor = _predictor(self.backbone, settings)
        self.target_encoder = momentum_copy(backbone)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # so that the boxes' sizes follow the step

    @property
    def exported(self) -> nn.Module:
        """The target encoder, which the paper evaluates."""
        return self.target_encoder

    def forward(self, views: list[torch.Tensor], chance: Chance) -> dict[str, torch.Tensor]:
        """Return the mean squared distance between predicted features and the target encoder's.

        The target encoder sees the whole view; its features are normalised to mean 0 and variance 1 each, as in the
        authors' code, so that they cannot shrink to nothing. The distance is the paper's L2, where the code has a
        smooth L1.

        Args:
            views: One tensor, (B, C, *spatial).
            chance: Places the boxes, one row a sample.

        Returns:
            "loss"; "target_std", the deviation of the targets over images and places, which falls to 0 where the
            encoder says the same of everything.

        Raises:
            SettingsError: The image is no multiple of the patch, or the targets leave no context.
        """
        (view,) = views
        grid = grid_of(view.shape[2:], self.backbone.patch)
        blocks = Blocks(*(index.to(view.device, non_blocking=True) for index in self._blocks(chance, grid)))
        tokens = take(self.backbone.embed(view), blocks.context)
        encoded = self.backbone.encode(tokens)[:, self.backbone.prefix_tokens :]  # (B, C, D)
        prediction = self.predictor(encoded, blocks, grid)
        with torch.no_grad():
            target = self._targets(view, blocks)
        spread = target.flatten(0, 2).std(dim=0).mean()
        loss = F.mse_loss(wide(prediction), target)
        return {"loss": loss * share_of_all(len(view), loss.device), "target_std": spread}

    def _targets(self, view: torch.Tensor, blocks: Blocks) -> torch.Tensor:
        encoder = cast(TokenBackbone, self.target_encoder)
        features = wide(encoder.encode(encoder.embed(view))[:, encoder.prefix_tokens :])
        features = F.layer_norm(features, features.shape[-1:])
        return take(features, blocks.targets.flatten(1)).unflatten(1, blocks.targets.shape[1:])

    def _blocks(self, chance: Chance, grid: tuple[int, ...]) -> Blocks:
        """Draw the boxes: their sizes follow the step and are those of the whole batch, their places the sample."""
        settings, sizes = self.settings, Chance([key("ijepa", int(self.steps))])
        target = box_of(sizes.spawn("target"), grid, settings.target_scale, settings.target_aspect)
        context = box_of(sizes.spawn("context"), grid, settings.context_scale, _NO_CONTEXT)
        keep = max(1, int(settings.context_keep * torch.Size(grid).numel()))
        return draw_blocks(chance, grid, target, context, count=settings.targets, keep=keep)

    def after_step(self, step: int, total: int) -> None:
        """Move the target encoder, with a momentum that rises in a line; note the step."""
        momentum = self.settings.momentum + (1 - self.settings.momentum) * step / max(1, total)
        follow(self.target_encoder, cast(nn.Module, self.backbone), momentum)
        self.steps.fill_(step + 1)


def _predictor(backbone: TokenBackbone, settings: Settings) -> Predictor:
    width = settings.predictor_width or min(384, backbone.width)
    depth = settings.predictor_depth or max(1, backbone.depth // 2)
    return Predictor(backbone, width, depth, settings.predictor_heads or max(1, width // 32))
