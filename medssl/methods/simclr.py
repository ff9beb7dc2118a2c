"""SimCLR: two views of an image attract, views of different images repel.

Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations", 2020
(https://arxiv.org/abs/2002.05709).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from medssl.chance import Chance
from medssl.methods.parts.alarm import Alarm
from medssl.methods.parts.gather import gather_rows, gather_several
from medssl.methods.parts.heads import projection_head
from medssl.methods.parts.hypersphere import alignment, uniformity
from medssl.methods.parts.needs import require
from medssl.methods.parts.positives import NeighbourDistance, Positives
from medssl.methods.parts.precision import wide
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "SimCLR"
NEEDS = frozenset({"features"})
STRENGTHS = ("strong",)
RECOMMENDS = {
    "train.base_learning_rate": Choice(1e-3, "for AdamW, where the paper has LARS at 0.3"),
    "train.weight_decay": Choice(1e-4, "ours, between the paper's 1e-6 for LARS and MAE's 0.05"),
    "train.betas": Choice((0.9, 0.999), "AdamW's own"),
}
RECOMMENDS_WITH = {
    "lars": {
        "train.base_learning_rate": Choice(0.3, "the paper, for LARS"),
        "train.weight_decay": Choice(1e-6, "the paper, for LARS"),
    }
}

_CONTRASTS = "SimCLR contrasts images with each other"


class Settings(_Settings):
    """Settings of SimCLR.

    Attributes:
        loss: "nt_xent", the paper's, or "triplet".
        margin: By how much a negative must be further away than the positive, in squared distances of unit vectors,
            which go from 0 to 4; 0.2 in FaceNet. The triplet loss alone uses it.
        temperature: Divides the cosine similarities; 0.1 is the paper's best for ImageNet (table 5), and what
            REMEDIS uses on medical images. Small batches bear more, such as 0.5.
        projection_hidden: Hidden width of the projection head; None for the width of the backbone.
        projection_width: Width of the projection in which the loss is taken; 128 in the paper.
        positives: What the views of a pair are of: one image, or two images of one patient or study (MICLe), or
            neighbouring frames or slices of a volume.
        neighbour_distance: How far apart the numbers of neighbours may be.
    """

    loss: Literal["nt_xent", "triplet"] = "nt_xent"
    margin: float = Field(default=0.2, ge=0)
    temperature: float = Field(default=0.1, gt=0)
    projection_hidden: int | None = Field(default=None, gt=0)
    projection_width: int = Field(default=128, gt=0)
    positives: Positives = "image"
    neighbour_distance: NeighbourDistance = 1


class Method(nn.Module):
    """SimCLR around any backbone."""

    contrasts = True

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix="Choose another backbone")
        self.backbone, self.settings = backbone, settings
        self.wish = [ViewWish(count=2, strength=STRENGTHS[0])]
        width: int = backbone.width  # type: ignore[assignment]
        hidden = settings.projection_hidden or width
        self.projection_head = projection_head(width, hidden, settings.projection_width)

    def forward(
        self,
        views: list[torch.Tensor],
        chance: Chance,
        kin: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the NT-Xent or triplet loss of two views.

        Features are collected from all processes before the projection head, so that its BatchNorm and the
        negatives cover the global batch and the loss is the same number on every process.

        Args:
            views: Two tensors, (B, C, *spatial).
            chance: Draws the negatives of the triplet loss; NT-Xent draws nothing.
            kin: (B,) int64, equal where two images are of one patient, who are not contrasted with each other; None
                where all are.

        Returns:
            "loss"; "positive_similarity", the mean cosine of positive pairs; "alignment" and "uniformity" of Wang and
            Isola 2020 (see `parts/hypersphere.py`), the latter 0 where all images are at one point; with NT-Xent
            "contrast_accuracy", the share of views whose nearest other view is their positive; with triplets
            "violations", the share of those that the loss is not 0 for.

        Raises:
            SettingsError: The global batch has a single image, which leaves nothing to contrast.
        """
        features = self.backbone(torch.cat(views)).pooled  # (2B, D), one pass so that BatchNorm sees both views
        first, second = (gather_several(half, _CONTRASTS) for half in features.chunk(2))
        first, second = self.projection_head(torch.cat([first, second])).chunk(2)
        kin = torch.arange(len(first), device=first.device) if kin is None else gather_rows(kin)
        if self.settings.loss == "nt_xent":
            return nt_xent(first, second, self.settings.temperature, kin)
        drawn = gather_rows(torch.from_numpy(chance.spawn("negatives").uniform(size=(2,))).to(first.device))
        return triplet(first, second, self.settings.margin, random_negatives(drawn.T.flatten(), kin), kin)

    @property
    def alarms(self) -> list[Alarm]:
        """Projections at one point, whose uniformity is 0."""
        fix = "Lower train.base_learning_rate, or use larger batches"
        return [Alarm("uniformity", -0.01, 0.01, "as where all projections are at one point (0)", fix)]

    def after_step(self, step: int, total: int) -> None:
        """Do nothing: SimCLR has no momentum copy."""


def nt_xent(
    first: torch.Tensor, second: torch.Tensor, temperature: float, kin: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """Return the normalised temperature-scaled cross-entropy over the 2N views of N images.

    With s(i, j) the cosine similarity of views i and j, and p(i) the other view of the same image,

        loss = 1 / 2N  sum_i  -log( exp(s(i, p(i)) / t) / sum_{k != i} exp(s(i, k) / t) )      (equation 1)

    so both directions of a pair count, and a view is never its own negative; nor is a view of another image that is
    kin, which the sum leaves out where images of one patient make the pairs. It is taken in float32: at t = 0.1
    the rounding of bf16 similarities would be 4 % of a logit.

    Args:
        first: (N, D) projections of one view of every image.
        second: (N, D) projections of the other.
        temperature: t, above 0.
        kin: (N,) int64, equal for images that are not each other's negatives; None where all are.

    Returns:
        "loss", "contrast_accuracy", "positive_similarity", "alignment" and "uniformity".
    """
    with torch.autocast(first.device.type, enabled=False):
        projections = F.normalize(wide(torch.cat([first, second])), dim=1)  # (2N, D)
        similarity = projections @ projections.T  # (2N, 2N)
        count = len(first)
        own = torch.arange(2 * count, device=first.device)
        positive = own.roll(count)
        others = similarity.masked_fill(_related(own % count if kin is None else kin.repeat(2), positive), -torch.inf)
        loss = F.cross_entropy(others / temperature, positive)
    return {
        "loss": loss,
        **_spread(similarity.detach(), count),
        "contrast_accuracy": (others.detach().argmax(dim=1) == positive).float().mean(),
    }


def triplet(
    first: torch.Tensor, second: torch.Tensor, margin: float, negatives: torch.Tensor, kin: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the triplet loss over the 2N views of N images, of one negative each.

    With d(i, j) the distance of the unit vectors of views i and j, p(i) the other view of the same image and n(i) a
    view of another one,

        loss = sum_i  max(0, d(i, p(i))^2 - d(i, n(i))^2 + margin)

    Schroff, Kalenichenko, Philbin, "FaceNet: a unified embedding for face recognition and clustering", 2015
    (https://arxiv.org/abs/1503.03832), equation 3. It is a sum: twice the batch has twice the loss.

    Args:
        first: (N, D) projections of one view of every image.
        second: (N, D) projections of the other.
        margin: 0 or more.
        negatives: (2N,) which view is the negative of each, see `random_negatives`.
        kin: (N,) int64; a negative that is kin does not count, as where all images are of one patient.

    Returns:
        "loss", "violations", "positive_similarity", "alignment" and "uniformity".
    """
    with torch.autocast(first.device.type, enabled=False):
        unit = F.normalize(wide(torch.cat([first, second])), dim=1)  # (2N, D)
        near = (unit - unit.roll(len(first), dims=0)).square().sum(dim=1)
        far = (unit - unit[negatives]).square().sum(dim=1)
        counted = kin.repeat(2) != kin.repeat(2)[negatives]
        terms = F.relu(near - far + margin) * counted
    return {
        "loss": terms.sum(),
        **_spread(unit.detach() @ unit.detach().T, len(first)),
        "violations": (terms.detach() > 0).float().mean(),
    }


def _spread(similarity: torch.Tensor, count: int) -> dict[str, torch.Tensor]:
    """Return how the views of N images lie, from their cosines (2N, 2N)."""
    near = similarity.diagonal(offset=count)
    both = uniformity(similarity[:count, :count])
    return {"positive_similarity": near.mean(), "alignment": alignment(near), "uniformity": both}


def random_negatives(drawn: torch.Tensor, kin: torch.Tensor) -> torch.Tensor:
    """Return a view of an image that is not kin for each of 2N views, every such view as likely; itself without any.

    Args:
        drawn: (2N,) float64 in [0, 1).
        kin: (N,) int64.
    """
    kin = kin.repeat(2)
    allowed = kin[:, None] != kin  # (2N, 2N)
    wanted = (drawn * allowed.sum(dim=1)).long()
    found = (allowed.cumsum(dim=1) <= wanted[:, None]).sum(dim=1)
    return torch.where(allowed.any(dim=1), found, torch.arange(len(kin), device=kin.device))


def _related(kin: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Return which views are no negatives of which, (2N, 2N): itself and all of its kin, save its positive."""
    return (kin[:, None] == kin).scatter(1, positive[:, None], value=False)
