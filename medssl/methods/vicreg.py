"""VICReg: views of an image agree, every feature keeps a spread, and no two features say the same.

Bardes, Ponce, LeCun, "VICReg: variance-invariance-covariance regularization for self-supervised learning", 2022
(https://arxiv.org/abs/2105.04906). Neither negatives nor a teacher, and small batches do: made for one GPU.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from medssl.chance import Chance
from medssl.methods.parts.alarm import Alarm
from medssl.methods.parts.gather import gather_several
from medssl.methods.parts.heads import expander
from medssl.methods.parts.needs import require
from medssl.methods.parts.positives import NeighbourDistance, Positives
from medssl.methods.parts.precision import wide
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "VICReg"
NEEDS = frozenset({"features"})
STRENGTHS = ("strong",)
RECOMMENDS = {
    "train.base_learning_rate": Choice(1e-3, "for AdamW, where the paper has LARS at 0.2"),
    "train.weight_decay": Choice(1e-4, "ours, between the paper's 1e-6 for LARS and MAE's 0.05"),
    "train.betas": Choice((0.9, 0.999), "AdamW's own"),
}
RECOMMENDS_WITH = {
    "lars": {
        "train.base_learning_rate": Choice(0.2, "the paper, for LARS"),
        "train.weight_decay": Choice(1e-6, "the paper, for LARS"),
    }
}
_EPSILON = 1e-4  # under the root of the standard deviation, as in the paper


class Settings(_Settings):
    """Settings of VICReg.

    Attributes:
        invariance: Weight lambda of the distance between the views; 25 in the paper, as `variance`.
        variance: Weight mu of the hinge on the standard deviations.
        covariance: Weight nu of the squared covariances; 1 in the paper.
        expander_width: Width of the three layers of the expander; None for four times the width of the backbone,
            which for a ResNet-50 is the paper's 8,192.
        positives: What the views of a pair are of: one image, or two images of one patient or study (MICLe), or
            neighbouring frames or slices of a volume.
        neighbour_distance: How far apart the numbers of neighbours may be.
    """

    invariance: float = Field(default=25.0, ge=0)
    variance: float = Field(default=25.0, ge=0)
    covariance: float = Field(default=1.0, ge=0)
    expander_width: int | None = Field(default=None, gt=1)
    positives: Positives = "image"
    neighbour_distance: NeighbourDistance = 1


class Method(nn.Module):
    """VICReg around any backbone."""

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix="Choose another backbone")
        self.backbone, self.settings = backbone, settings
        self.wish = [ViewWish(count=2, strength=STRENGTHS[0])]
        width: int = backbone.width  # type: ignore[assignment]
        self.expander = expander(width, settings.expander_width or 4 * width)

    def forward(self, views: list[torch.Tensor], chance: Chance) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """Return lambda s(Z, Z') + mu [v(Z) + v(Z')] + nu [c(Z) + c(Z')] of two views  (equation 6).

        Features are collected from all processes before the expander, so that its BatchNorm, the deviations and
        the covariances cover the global batch.

        Args:
            views: Two tensors, (B, C, *spatial).
            chance: Not used: VICReg draws nothing of its own.

        Returns:
            "loss", and its unweighted terms "invariance", "variance" and "covariance".

        Raises:
            SettingsError: The global batch has a single image, of which there is no variance.
        """
        features = self.backbone(torch.cat(views)).pooled  # (2B, D), one pass so that BatchNorm sees both views
        halves = [gather_several(half, "VICReg takes variances over a batch") for half in features.chunk(2)]
        first, second = self.expander(torch.cat(halves)).chunk(2)
        terms = vicreg(first, second)
        weights = self.settings.model_dump(include=set(terms))
        loss = sum((weights[name] * term for name, term in terms.items()), start=first.new_zeros(()))
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    @property
    def alarms(self) -> list[Alarm]:
        """Embeddings without any spread, where the hinge of the variance term is 1."""
        point = "as where all embeddings are at one point (1)"
        return [Alarm("variance", 0.98, 1.0, point, "Raise vicreg.variance, or lower train.base_learning_rate")]

    def after_step(self, step: int, total: int) -> None:
        """Do nothing: VICReg has no momentum copy."""


def vicreg(first: torch.Tensor, second: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the three terms of VICReg for two batches of N embeddings of length D.

        s(Z, Z') = 1 / (N D)  sum_i |z_i - z'_i|^2
        v(Z)     = 1 / D      sum_j max(0, 1 - sqrt(Var(z_j) + 0.0001))
        c(Z)     = 1 / D      sum_{j != k} Cov(Z)_jk^2

    Variances and covariances have N - 1 below. As in the authors' code, for which the weights were chosen, s is a
    mean over features too (equation 5 has none) and the variance term is the mean of the two views, not their sum.

    Args:
        first: (N, D) embeddings of one view of every image, N at least 2.
        second: (N, D) embeddings of the other.

    Returns:
        "invariance", "variance" and "covariance".
    """
    with torch.autocast(first.device.type, enabled=False):
        both = (wide(first), wide(second))
        return {
            "invariance": F.mse_loss(*both),
            "variance": (_spread(both[0]) + _spread(both[1])) / 2,
            "covariance": _correlation(both[0]) + _correlation(both[1]),
        }


def _spread(z: torch.Tensor) -> torch.Tensor:
    return F.relu(1 - (z.var(dim=0) + _EPSILON).sqrt()).mean()


def _correlation(z: torch.Tensor) -> torch.Tensor:
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / (len(z) - 1)  # (D, D)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
