"""BYOL: predict how a slowly moving copy of the network projects another view of the same image; no negatives.

Grill, Strub, Altche, Tallec, Richemond et al., "Bootstrap your own latent: a new approach to self-supervised
learning", 2020 (https://arxiv.org/abs/2006.07733).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from medssl.chance import Chance
from medssl.methods.parts.amount import Amount, fitting_momentum
from medssl.methods.parts.gather import gather_several
from medssl.methods.parts.heads import prediction_head
from medssl.methods.parts.momentum import follow, momentum_copy, rising_momentum
from medssl.methods.parts.needs import require
from medssl.methods.parts.positives import NeighbourDistance, Positives
from medssl.methods.parts.precision import wide
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "BYOL"
NEEDS = frozenset({"features"})
STRENGTHS = ("strong",)
RECOMMENDS = {
    "train.base_learning_rate": Choice(1e-3, "for AdamW, where the paper has LARS at 0.2"),
    "train.weight_decay": Choice(1e-4, "ours, between the paper's 1.5e-6 for LARS and MAE's 0.05"),
    "train.betas": Choice((0.9, 0.999), "AdamW's own"),
}
RECOMMENDS_WITH = {
    "lars": {
        "train.base_learning_rate": Choice(0.2, "the paper, for LARS"),
        "train.weight_decay": Choice(1.5e-6, "the paper, for LARS"),
    }
}


class Settings(_Settings):
    """Settings of BYOL.

    Attributes:
        momentum: Of the target network at the start; it rises to 1 along a half cosine. The paper has 0.996 for
            1,000 epochs of ImageNet and 0.99 for 300; short runs need a target that moves.
        projection_hidden: Hidden width of projector and predictor; None for twice the width of the backbone, which
            for a ResNet-50 is the paper's 4,096.
        projection_width: Width of the projection that is predicted; 256 in the paper.
        positives: What the views of a pair are of: one image, or two images of one patient or study (MICLe), or
            neighbouring frames or slices of a volume.
        neighbour_distance: How far apart the numbers of neighbours may be.
    """

    momentum: float = Field(default=0.99, ge=0, lt=1)
    projection_hidden: int | None = Field(default=None, gt=0)
    projection_width: int = Field(default=256, gt=0)
    positives: Positives = "image"
    neighbour_distance: NeighbourDistance = 1


def fitted(amount: Amount) -> dict[str, Choice]:
    """Return the settings that follow from how much a run sees."""
    return {
        "byol.momentum": fitting_momentum(amount, 0.996, 4096),
    }


class _Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class Method(nn.Module):
    """BYOL around any backbone: the backbone is the online network, the target is its momentum copy."""

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix="Choose another backbone")
        self.backbone, self.settings = backbone, settings
        self.wish = [ViewWish(count=2, strength=STRENGTHS[0])]
        width: int = backbone.width  # type: ignore[assignment]
        hidden, out = settings.projection_hidden or 2 * width, settings.projection_width
        self.projector = prediction_head(width, hidden, out)
        self.predictor = prediction_head(out, hidden, out)
        self.target_backbone = momentum_copy(backbone)
        self.target_projector = momentum_copy(self.projector)

    def forward(self, views: list[torch.Tensor], chance: Chance) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """Return the loss of two views: each is predicted from the other, and the two terms are added.

        Features are collected from all processes before the heads, so that their BatchNorm covers the global batch
        and the loss is the same number on every process.

        Args:
            views: Two tensors, (B, C, *spatial).
            chance: Not used: BYOL draws nothing of its own.

        Returns:
            "loss", from 0 to 8; "prediction_similarity", the mean cosine between prediction and target.

        Raises:
            SettingsError: The global batch has a single image, which BatchNorm cannot normalise.
        """
        first, second = self._project(self.backbone, self.projector, views)
        predicted = _Pair(*self.predictor(torch.cat([first, second])).chunk(2))
        with torch.no_grad():
            target = _Pair(*self._project(self.target_backbone, self.target_projector, views))
        loss = distance(predicted.first, target.second) + distance(predicted.second, target.first)
        return {"loss": loss, "prediction_similarity": 1 - loss.detach() / 4}

    def _project(self, backbone: nn.Module, projector: nn.Module, views: list[torch.Tensor]) -> list[torch.Tensor]:
        features = backbone(torch.cat(views)).pooled  # (2B, D), one pass so that BatchNorm sees both views
        halves = [gather_several(half, "BYOL normalises over a batch") for half in features.chunk(2)]
        return list(projector(torch.cat(halves)).chunk(2))

    def after_step(self, step: int, total: int) -> None:
        """Move the target network towards the online one."""
        momentum = rising_momentum(self.settings.momentum, step, total)
        follow(self.target_backbone, self.backbone, momentum)
        follow(self.target_projector, self.projector, momentum)


def distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance between normalised rows: 2 - 2 cos(prediction, target)  (equation 2).

    Args:
        prediction: (N, D).
        target: (N, D); it gets no gradient.

    Returns:
        A scalar from 0 to 4.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        return 2 - 2 * F.cosine_similarity(wide(prediction), wide(target.detach()), dim=1).mean()
