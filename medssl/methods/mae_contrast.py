"""MAE and contrast in one: two views of an image with most patches hidden are filled in, and attract each other.

Mishra, Robinson, Chang, Jacobs, Sarna, Maschinot, Krishnan, "A simple, efficient and scalable contrastive masked
autoencoder for learning visual representations", 2022 (https://arxiv.org/abs/2210.16870), without its prediction of
noise. In 3D, reconstruction leads for segmentation and contrast beside it for classification in OpenMind (Wald et al.,
ICCV 2025, https://arxiv.org/abs/2412.17041) and FOMO25 (https://arxiv.org/abs/2604.11679).
"""

import torch
from pydantic import Field
from torch import nn

from medssl.backbones.parts.features import TokenBackbone
from medssl.chance import Chance
from medssl.methods import mae, simclr
from medssl.methods.parts.alarm import Alarm
from medssl.methods.parts.gather import gather_rows, gather_several, share_of_all
from medssl.methods.parts.heads import projection_head
from medssl.methods.parts.needs import require
from medssl.methods.parts.positives import NeighbourDistance, Positives
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Settings as _Settings

TITLE = "MAE with contrast"
RECONSTRUCTION = mae.RECONSTRUCTION.replace("mae.", "mae_contrast.")
NEEDS = frozenset({"tokens"})
STRENGTHS = ("weak",)
RECOMMENDS = mae.RECOMMENDS
_CONTRASTS = "This method contrasts images with each other"
_FIX = "Choose a ViT, such as --backbone vit_small"


class Settings(_Settings):
    """Settings of MAE with contrast.

    Views are weak: what is hidden differs between the two of an image already, and pixels that are predicted should be
    those of the image.

    Attributes:
        mask_ratio: Share of hidden patches of each view, in (0, 1); 0.5 in the paper.
        contrast_weight: What NT-Xent counts beside the reconstruction, which counts 1. Ours, not tuned: at the
            start of a run with batches of 64 both are then of one size.
        temperature: Divides the cosine similarities, as in SimCLR.
        projection_hidden: Hidden width of the projection head; None for the width of the backbone.
        projection_width: Width of the projection in which NT-Xent is taken.
        norm_pix_loss: As in MAE.
        positives: What the views of a pair are of: one image, or two images of one patient or study (MICLe), or
            neighbouring frames or slices of a volume.
        neighbour_distance: How far apart the numbers of neighbours may be.
    """

    mask_ratio: float = Field(default=0.5, gt=0, lt=1)
    contrast_weight: float = Field(default=0.2, ge=0)
    temperature: float = Field(default=0.1, gt=0)
    projection_hidden: int | None = Field(default=None, gt=0)
    projection_width: int = Field(default=128, gt=0)
    norm_pix_loss: bool = True
    positives: Positives = "image"
    neighbour_distance: NeighbourDistance = 1


class Method(nn.Module):
    """MAE and NT-Xent around one backbone of tokens."""

    contrasts = True

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix=_FIX)
        self.settings = settings
        self.wish = [ViewWish(count=2, strength=STRENGTHS[0])]
        masked = mae.Settings(mask_ratio=settings.mask_ratio, norm_pix_loss=settings.norm_pix_loss)
        self.mae = mae.Method(backbone, masked)
        width = self.backbone.width
        self.projection_head = projection_head(width, settings.projection_hidden or width, settings.projection_width)

    @property
    def backbone(self) -> TokenBackbone:
        """What is trained and exported: MAE's encoder."""
        return self.mae.backbone

    def forward(
        self, views: list[torch.Tensor], chance: Chance, kin: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Return MAE's loss of both views, and NT-Xent between the mean features of what is visible of them.

        loss = (MAE(first) + MAE(second)) / 2 + contrast_weight x NT-Xent(first, second)

        Args:
            views: Two tensors, (B, C, *spatial).
            chance: Draws a mask for each view, one row a sample.
            kin: (B,) int64, equal where two images are of one patient, who are not contrasted with each other.

        Returns:
            "loss"; "reconstruction", its first term; "contrast", NT-Xent; and what SimCLR tells besides.

        Raises:
            SettingsError: The image is no multiple of the patch, no patch would stay visible, or the global batch has
                a single image.
        """
        terms = [self.mae.encoded(view, chance.spawn(name)) for view, name in zip(views, ("first", "second"))]
        first, second = (gather_several(one.pooled, _CONTRASTS, ", or --method mae") for one in terms)
        first, second = self.projection_head(torch.cat([first, second])).chunk(2)
        told = simclr.nt_xent(first, second, self.settings.temperature, None if kin is None else gather_rows(kin))
        contrast = told.pop("loss")
        own = (terms[0].loss + terms[1].loss) / 2
        loss = own * share_of_all(len(views[0]), own.device) + self.settings.contrast_weight * contrast
        return {"loss": loss, "reconstruction": own.detach(), "contrast": contrast.detach(), **told}

    @property
    def alarms(self) -> list[Alarm]:
        """Projections at one point, whose uniformity is 0."""
        fix = "Raise mae_contrast.contrast_weight, or lower train.base_learning_rate"
        return [Alarm("uniformity", -0.01, 0.01, "as where all projections are at one point (0)", fix)]

    def after_step(self, step: int, total: int) -> None:
        """Do nothing: there is no momentum copy."""

    def reconstruct(self, view: torch.Tensor, chance: Chance) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the masked view and its reconstruction, as MAE does: two tensors (B, C, *spatial)."""
        return self.mae.reconstruct(view, chance)
