"""DINO: a student matches, from any view, the sharpened and centred output of its own momentum copy on large views.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin, "Emerging properties in self-supervised vision
transformers", 2021 (https://arxiv.org/abs/2104.14294).
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.parts.alarm import Alarm
from medssl.methods.parts.amount import Amount, fitting_momentum
from medssl.methods.parts.crops import local_crops
from medssl.methods.parts.gather import gather_rows, gather_several, share_of_all
from medssl.methods.parts.momentum import follow, momentum_copy, rising_momentum
from medssl.methods.parts.needs import require
from medssl.methods.parts.positives import NeighbourDistance, Positives
from medssl.methods.parts.precision import wide
from medssl.methods.parts.wish import ViewWish
from medssl.settings import Choice
from medssl.settings import Settings as _Settings

TITLE = "DINO"
NEEDS = frozenset({"features"})
STRENGTHS = ("strong",)
_CODE = "the authors' code, main_dino.py"
RECOMMENDS = {
    "train.base_learning_rate": Choice(5e-4, _CODE),
    "train.weight_decay": Choice(0.04, _CODE),
    "train.final_weight_decay": Choice(0.4, _CODE),
    "train.clip_norm": Choice(3.0, _CODE),
    "train.betas": Choice((0.9, 0.999), "AdamW's own"),
}
_SHARP = "Raise dino.teacher_temperature, or lower dino.centre_momentum so that the centre follows faster"
_GLOBAL_AREA = (0.4, 1.0)


class Settings(_Settings):
    """Settings of DINO.

    Attributes:
        prototypes: Length K of the outputs. The paper has 65,536 for a million images; some thousand scans do not
            fill as many.
        head_hidden: Hidden width of the head; None for four times the backbone's, at most the paper's 2,048.
        bottleneck: Width before the last layer; 256 in the paper.
        head_norm: Whether batch norm follows the head's first two linear layers, as the authors' `use_bn_in_head`.
            It takes away what all images have in common, which in a short run hides what tells them apart, and the
            output is then uniform from the start.
        local_views: Small views that the student alone sees; the paper has 8.
        student_temperature: Divides the student's outputs; 0.1 in the paper.
        teacher_temperature: Divides the teacher's; 0.04 in the paper, where higher values were unstable at first.
        teacher_temperature_start: Its value at the start, from where it rises in a line.
        warmup: Share of the run in which it rises; 30 of 100 epochs in the paper where it rises at all.
        momentum: Of the teacher at the start; it rises to 1 along a half cosine. 0.996 in the paper; short runs
            need a teacher that moves.
        centre_momentum: Of the centre; 0.9 in the paper.
        freeze_last_layer: Share of the run in which the last layer stands still; 1 of 100 epochs in the paper.
        positives: What the views of a pair are of: one image, or two images of one patient or study (MICLe), or
            neighbouring frames or slices of a volume.
        neighbour_distance: How far apart the numbers of neighbours may be.
    """

    prototypes: int = Field(default=4096, gt=1)
    head_hidden: int | None = Field(default=None, gt=0)
    bottleneck: int = Field(default=256, gt=0)
    head_norm: bool = True
    local_views: int = Field(default=4, ge=0)
    student_temperature: float = Field(default=0.1, gt=0)
    teacher_temperature: float = Field(default=0.04, gt=0)
    teacher_temperature_start: float = Field(default=0.04, gt=0)
    warmup: float = Field(default=0.3, ge=0, le=1)
    momentum: float = Field(default=0.99, ge=0, lt=1)
    centre_momentum: float = Field(default=0.9, ge=0, lt=1)
    freeze_last_layer: float = Field(default=0.01, ge=0, lt=1)
    positives: Positives = "image"
    neighbour_distance: NeighbourDistance = 1


def fitted(amount: Amount) -> dict[str, Choice]:
    """Return the settings that follow from how much a run sees."""
    return {
        "dino.momentum": fitting_momentum(amount, 0.996, 1024),
        "dino.prototypes": _prototypes(amount.images),
        "train.warmup_epochs": Choice(
            max(1, round(0.1 * amount.epochs)), f"10 % of {amount.epochs} epochs, as the paper"
        ),
    }


def _prototypes(images: int) -> Choice:
    """Return a power of two near one prototype for five images, from 64 to the paper's 65,536 for 1.28 million."""
    fitting = 2 ** round(math.log2(max(1, images / 5)))
    return Choice(
        min(65_536, max(64, fitting)), f"{images} images: about one for five, ours; the paper's 65,536 at most"
    )


class Head(nn.Module):
    """Three linear layers with GELU, a unit vector, and its cosines with K prototypes: (B, D) -> (B, K)."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int, *, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (width, hidden):
            layers += [nn.Linear(before, hidden), *([nn.BatchNorm1d(hidden)] if norm else []), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        nn.init.kaiming_uniform_(self.prototypes, a=math.sqrt(5))

    def forward(self, x: torch.Tensor, *, frozen: bool = False) -> torch.Tensor:
        """Return the cosines; `frozen` lets no gradient change the prototypes (it is 0, not missing, for DDP)."""
        prototypes = self.prototypes.detach() + 0 * self.prototypes if frozen else self.prototypes
        return F.linear(F.normalize(self.mlp(x), dim=1), F.normalize(prototypes, dim=1))


class Method(nn.Module):
    """DINO around any backbone: the backbone is the student; the teacher, its momentum copy, is exported."""

    centre: torch.Tensor
    progress: torch.Tensor

    def __init__(self, backbone: nn.Module, settings: Settings) -> None:
        super().__init__()
        require(backbone, NEEDS, TITLE, fix="Choose another backbone")
        self.backbone, self.settings = backbone, settings
        self.wish = [
            ViewWish(count=2, strength=STRENGTHS[0], crop_area=_GLOBAL_AREA),
            *local_crops(backbone, settings.local_views, STRENGTHS[0]),
        ]
        width: int = backbone.width  # type: ignore[assignment]
        hidden = settings.head_hidden or min(2048, 4 * width)
        self.head = Head(width, hidden, settings.bottleneck, settings.prototypes, norm=settings.head_norm)
        self.teacher_backbone, self.teacher_head = momentum_copy(backbone), momentum_copy(self.head)
        self._outputs: torch.Tensor | None = None  # the teacher's mean output in this step, over the global batch
        self.register_buffer("centre", torch.zeros(settings.prototypes))
        self.register_buffer("progress", torch.zeros((), dtype=torch.float64))  # share of the run, set by each step

    @property
    def alarms(self) -> list[Alarm]:
        """The two collapses of section 5.3: a uniform output, where the loss is ln K, and one prototype for all."""
        most = math.log(self.settings.prototypes)
        uniform = "as where the teacher's outputs are uniform (ln K)"
        return [
            Alarm("loss", 0.99 * most, 1.01 * most, uniform, "Lower dino.teacher_temperature, or dino.prototypes"),
            Alarm("prototype_entropy", 0.0, 0.01 * most, "as where one prototype takes every image", _SHARP),
        ]

    @property
    def exported(self) -> nn.Module:
        """The teacher, which the paper evaluates: it is better than the student throughout training (figure 6)."""
        return self.teacher_backbone

    def forward(self, views: list[torch.Tensor], chance: Chance) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """Return the mean cross-entropy between teacher and student over all pairs of different views.

        Args:
            views: Two global views (B, C, *spatial), then the local ones.
            chance: Not used: DINO draws nothing of its own.

        Returns:
            "loss"; "teacher_entropy", the mean entropy of the teacher's outputs, which is ln K where it has
            collapsed to a uniform output; "prototype_entropy", the entropy of their mean over this process's images,
            which is 0 where one prototype takes them all; "teacher_divergence", the loss less the teacher's entropy,
            which is 0 where all outputs are the same.
        """
        frozen = bool(self.progress < self.settings.freeze_last_layer)
        parts = self._features(views)
        student = self.head(torch.cat(parts), frozen=frozen).chunk(len(parts))  # one pass, as the authors' code
        with torch.no_grad():
            halves = [self._collected(half) for half in self.teacher_backbone(torch.cat(views[:2])).pooled.chunk(2)]
            teacher = wide(self.teacher_head(torch.cat(halves))).chunk(2)
            targets = [self._target(output) for output in teacher]
            entropy = torch.stack([torch.special.entr(q).sum(dim=1).mean() for q in targets]).mean()
            used = torch.special.entr(torch.cat(targets).mean(dim=0)).sum()
        with torch.autocast(views[0].device.type, enabled=False):
            own = cross_entropy(targets, [wide(s) / self.settings.student_temperature for s in student])
        whole = self.settings.head_norm  # every process has all rows, and the same loss
        loss = own if whole else own * share_of_all(len(views[0]), own.device)
        self._outputs = torch.cat([output if whole else gather_rows(output) for output in teacher]).mean(dim=0)
        return {
            "loss": loss,
            "teacher_entropy": entropy,
            "prototype_entropy": used,
            "teacher_divergence": own.detach() - entropy,
        }

    def _features(self, views: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the student's features, (B, D) a view; views of one size go through the backbone together."""
        groups = [views[:2], views[2:]]
        parts = [part for g in groups if g for part in self.backbone(torch.cat(g)).pooled.chunk(len(g))]
        return [self._collected(part) for part in parts]

    def _collected(self, features: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes where the head's batch norm has to see them.

        Raises:
            SettingsError: The global batch has a single image, which batch norm cannot normalise.
        """
        if not self.settings.head_norm:
            return features
        return gather_several(features, "DINO's head normalises over a batch", ", or dino.head_norm=false")

    def _target(self, output: torch.Tensor) -> torch.Tensor:
        return ((output - self.centre) / self.temperature).softmax(dim=1)

    @property
    def temperature(self) -> float:
        """The teacher's temperature now."""
        one = self.settings
        done = 1.0 if one.warmup == 0 else min(1.0, float(self.progress) / one.warmup)
        return one.teacher_temperature_start + done * (one.teacher_temperature - one.teacher_temperature_start)

    def after_step(self, step: int, total: int) -> None:
        """Move the teacher, and the centre to its mean output (equation 4); note how far the run is."""
        if self._outputs is not None:
            self.centre.lerp_(self._outputs, 1 - self.settings.centre_momentum)
        momentum = rising_momentum(self.settings.momentum, step, total)
        follow(self.teacher_backbone, self.backbone, momentum)
        follow(self.teacher_head, self.head, momentum)
        self.progress.fill_((step + 1) / total)


def cross_entropy(targets: list[torch.Tensor], logits: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean of -sum_k q_k log p_k over pairs of different views  (equation 3).

    Args:
        targets: The teacher's distributions q, (B, K), of the first views.
        logits: The student's outputs over its temperature, (B, K), of all views in the same order; p is their
            softmax. A view is never compared with itself.
    """
    logs = [F.log_softmax(logit, dim=1) for logit in logits]
    pairs = [-(q * logs[v]).sum(dim=1).mean() for t, q in enumerate(targets) for v in range(len(logs)) if v != t]
    if not pairs:
        raise SettingsError("DINO compares views, and got 1")
    return torch.stack(pairs).mean()
