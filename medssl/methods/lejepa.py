"""LeJEPA: embeddings of all views of an image agree, and over images they are an isotropic Gaussian.

Balestriero and LeCun, "LeJEPA: provable and scalable self-supervised learning without the heuristics", 2025
(https://arxiv.org/abs/2511.08544). No teacher, no stop-gradient, no negatives; one weight between two terms.
"""

import torch
from pydantic import Field
from torch import nn

from medssl.chance import Chance, key
from medssl.errors import SettingsError
from medssl.methods.parts.crops import local_crops
from medssl.methods.parts.gather import gather_several
from medssl.methods.parts.heads import expander
from medssl.methods.parts.needs import require
from medssl.methods.parts.positives import NeighbourDistance, Positives
from medssl.methods.parts.precision import wide
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "LeJEPA"
NEEDS = frozenset({"features"})
STRENGTHS = ("strong",)
_AUTHORS = "the authors' README"
RECOMMENDS = {
    "train.base_learning_rate": Choice(5e-4, _AUTHORS),
    "train.weight_decay": Choice(0.05, f"{_AUTHORS}, for ViTs; 5e-4 for ResNets"),
    "train.betas": Choice((0.9, 0.999), "AdamW's own"),
}


class Settings(_Settings):
    """Settings of LeJEPA.

    Attributes:
        trade_off: Weight lambda of SIGReg, 1 - lambda of the agreement; 0.02 in the authors' minimal example.
        global_views: Large views of an image; all views are drawn towards their mean embedding.
        local_views: Small views of an image; the authors have 6 beside 2 global ones. None by default: on a CPU
            each costs a pass.
        directions: Random directions on which the Gaussian is tested, new at every step; 256 in the example.
        points: Points of the integral over frequencies; 17 in the paper.
        projection_hidden: Width of the hidden layers of the projector; None for four times the backbone's.
        projection_width: Length of an embedding; 128 in the example.
        positives: What the views of a pair are of: one image, or two images of one patient or study (MICLe), or
            neighbouring frames or slices of a volume.
        neighbour_distance: How far apart the numbers of neighbours may be.
    """

    trade_off: float = Field(default=0.02, gt=0, lt=1)
    global_views: int = Field(default=2, ge=1)
    local_views: int = Field(default=0, ge=0)
    directions: int = Field(default=256, ge=1)
    points: int = Field(default=17, ge=3)
    projection_hidden: int | None = Field(default=None, gt=0)
    projection_width: int = Field(default=128, gt=1)
    positives: Positives = "image"
    neighbour_distance: NeighbourDistance = 1


class Method(nn.Module):
    """LeJEPA around any backbone."""

    steps: torch.Tensor

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix="Choose another backbone")
        if settings.global_views + settings.local_views < 2:
            raise SettingsError("LeJEPA compares views, and asks for 1", fix="Raise lejepa.global_views to 2")
        self.backbone, self.settings = backbone, settings
        self.wish = [
            ViewWish(count=settings.global_views, strength=STRENGTHS[0]),
            *local_crops(backbone, settings.local_views, STRENGTHS[0]),
        ]
        width: int = backbone.width  # type: ignore[assignment]
        self.projector = expander(width, settings.projection_hidden or 4 * width, settings.projection_width)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # so that directions follow the step

    def forward(self, views: list[torch.Tensor], chance: Chance) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """Return (1 - lambda) agreement + lambda SIGReg of all views.

        Embeddings are collected from all processes, so that the Gaussian is tested on the global batch.

        Args:
            views: Tensors (B, C, *spatial), the global ones first.
            chance: Not used: the directions are the same for all samples, and follow the step.

        Returns:
            "loss", "agreement" and "sigreg".

        Raises:
            SettingsError: The global batch has a single image, which has no distribution.
        """
        groups = [views[: self.settings.global_views], views[self.settings.global_views :]]
        features = [part for group in groups if group for part in self._features(group)]
        embeddings = self.projector(torch.cat(features)).unflatten(0, (len(views), -1))  # (V, N, D)
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = wide(embeddings)
            agreement = (embeddings - embeddings.mean(dim=0)).square().mean()
            gaussian = sigreg(embeddings, self._directions(embeddings), self.settings.points)
        weight = self.settings.trade_off
        loss = (1 - weight) * agreement + weight * gaussian
        return {"loss": loss, "agreement": agreement.detach(), "sigreg": gaussian.detach()}

    def _features(self, group: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the features of views of one size, one tensor (N, D) a view."""
        parts = self.backbone(torch.cat(group)).pooled.chunk(len(group))
        return [gather_several(part, "LeJEPA looks at the distribution of a batch") for part in parts]

    def _directions(self, embeddings: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(key("lejepa", int(self.steps)) >> 1)
        drawn = torch.randn(embeddings.shape[-1], self.settings.directions, generator=generator)
        return (drawn / drawn.norm(dim=0)).to(embeddings)

    def after_step(self, step: int, total: int) -> None:  # noqa: ARG002
        """Note the step, which the next directions follow from."""
        self.steps.fill_(step + 1)


def sigreg(embeddings: torch.Tensor, directions: torch.Tensor, points: int = 17) -> torch.Tensor:
    """Return the sketched isotropic Gaussian regularisation, a mean over views and directions.

    Along each direction a the embeddings become N numbers x, and the Epps-Pulley statistic compares their
    characteristic function with that of a standard normal,

        N  integral  | 1/N sum_i exp(i t x_i) - exp(-t^2 / 2) |^2  exp(-t^2 / 2)  dt

    by the trapezoid rule over t from -3 to 3; the integrand is even, so that half of it is taken twice (as the
    authors' code does).

    Args:
        embeddings: (V, N, D), V views of N images.
        directions: (D, K) of length 1 each.
        points: Points on [0, 3].

    Returns:
        A scalar, small where the embeddings are standard normal along all directions.
    """
    t = torch.linspace(0, 3, points, device=embeddings.device, dtype=embeddings.dtype)
    normal = torch.exp(-t.square() / 2)
    angles = (embeddings @ directions).unsqueeze(-1) * t  # (V, N, K, T)
    error = (angles.cos().mean(dim=1) - normal).square() + angles.sin().mean(dim=1).square()  # (V, K, T)
    return embeddings.shape[1] * 2 * torch.trapezoid(error * normal, t, dim=-1).mean()
