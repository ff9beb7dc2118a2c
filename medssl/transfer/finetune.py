"""Fine-tuning and training from scratch: the whole network with a linear head, to the plateau of its validation loss.

Learning rate and number of steps are chosen inside the label set: a patient-grouped, stratified third is held out,
every learning rate is trained until one has begun to fit its own labels, the one of lower validation log loss goes on
until that loss has stopped falling, and then the whole label set is trained in the same way for the chosen number of
steps. Scratch and pretrained backbones get the same budget.

A transformer that starts from nothing may see a hundred steps before its loss leaves that of the base rate, so a flat
loss is a plateau only once the training labels are being fitted. Scores come from an exponential moving average of the
weights (Polyak and Juditsky, SIAM J. Control Optim. 1992), so that stopping early does not mean stopping at a high
learning rate.

The head sees standardised features, as MAE's linear probe does (He et al., CVPR 2022, appendix A). Pooled features of
a fresh transformer are nearly the same for every image; without this its loss stays at that of the base rate for some
two hundred steps on small label sets, and training from scratch looks far worse than it is.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from medssl.batch import Batch
from medssl.chance import key
from medssl.data.loader import Loader
from medssl.settings import Settings
from medssl.training.device import Device
from medssl.training.loop import Hook, Plan, Training
from medssl.training.optim import parameter_groups
from medssl.transfer.examples import Examples
from medssl.transfer.validation import folds, log_loss

_HELD_OUT_PARTS = 3
_SETTLING_IMAGES = 256
_EPS = 1e-6
_FALLING = 0.01  # nats of validation loss that `patience` checks still gain
_BEGUN = 0.85  # of the loss that the base rate alone gives


class Budget(Settings):
    """What every arm may spend on finding its settings.

    Attributes:
        learning_rates: Tried peak learning rates of AdamW.
        steps: The most optimizer steps of one training.
        batch_size: Images a step.
        check_every: Validation loss is looked at after so many steps.
        patience: Checks without a lower validation loss after which the plateau is reached.
        race_checks: Every so many checks it is asked whether a learning rate has begun to fit the labels.
        warmup_steps: Steps from a learning rate of 0 to its peak.
        weight_decay: AdamW's.
        layer_decay: Factor on the learning rate from one transformer block to the one below it, for pretrained
            transformers only (Bao et al., ICLR 2022; 0.65 is MAE's value for ViT-B, He et al., CVPR 2022, table 9).
        average: The most weight that the moving average keeps of its past at a step.
        fixed_learning_rate: Used where the patients are too few to hold any out.
        fixed_steps: Likewise.
    """

    learning_rates: tuple[float, ...] = Field((1e-3, 3e-4), min_length=1)
    steps: int = Field(2000, ge=1)
    batch_size: int = Field(32, ge=2)
    check_every: int = Field(20, ge=1)
    patience: int = Field(4, ge=1)
    race_checks: int = Field(2, ge=1)
    warmup_steps: int = Field(20, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    layer_decay: float = Field(0.65, gt=0, le=1)
    average: float = Field(0.95, ge=0, lt=1)
    fixed_learning_rate: float = Field(1e-3, gt=0)
    fixed_steps: int = Field(100, ge=1)


ON_CPU = {"learning_rates": (2e-3, 5e-4), "steps": 400, "batch_size": 16, "patience": 3}
"""The budget without a GPU, where networks are small and a step of one takes a tenth of a second."""


class Classifier(nn.Module):
    """A backbone with a linear head on its standardised pooled features, (B, C, *spatial) -> (B,) logits.

    While training, features are standardised over the batch; for scores over images that `settle` was given, without
    augmentation. A running average over past batches would belong to other weights than the averaged ones that score
    (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021).
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, backbone: Any) -> None:
        """Put a head on the backbone."""
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, 1)
        self.register_buffer("centre", torch.zeros(backbone.width))
        self.register_buffer("scale", torch.ones(backbone.width))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        pooled = self.backbone(views).pooled
        if self.training:
            standard = functional.batch_norm(pooled, None, None, training=True, eps=_EPS)
        else:
            standard = (pooled - self.centre) * self.scale
        return self.head(standard)[:, 0]

    @torch.no_grad()
    def settle(self, examples: Examples, device: torch.device, batch_size: int = 128) -> None:
        """Take mean and deviation of the features from examples (at most 256, evenly spaced), before scoring."""
        training = self.training
        self.eval()
        shown = examples.take(np.unique(np.linspace(0, len(examples) - 1, _SETTLING_IMAGES).astype(int)))
        pooled = torch.cat([self.backbone(view).pooled.float() for view in shown.plain(batch_size, device)])
        self.train(training)
        self.centre.copy_(pooled.mean(0))
        self.scale.copy_((pooled.var(0, unbiased=False) + _EPS).rsqrt())

    @torch.inference_mode()
    def score(self, examples: Examples, device: torch.device, batch_size: int = 128) -> np.ndarray:
        """Return the probability of the positive class for every example, (N,)."""
        training = self.training
        self.eval()
        scores = [torch.sigmoid(self(view).float()).cpu().numpy() for view in examples.plain(batch_size, device)]
        self.train(training)
        return np.concatenate(scores).astype(float)


class LabelTask:
    """Cross-entropy of the label, on one weakly augmented view an image (a task of the training loop)."""

    def __init__(
        self, classifier: Classifier, examples: Examples, loader: Loader, layer_decay: float, seed: int
    ) -> None:
        """Say what is trained, on whose views, and how strongly lower layers are held back."""
        self.module: nn.Module = classifier
        self.examples, self.loader = examples, loader
        self.layer_decay, self.seed = layer_decay, seed

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the optimizer's groups, one a layer."""
        return by_layer(self.module.backbone, parameter_groups(self.module, weight_decay), self.layer_decay)

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Return the binary cross-entropy."""
        device = next(module.parameters()).device
        view = self.examples.augmented(batch, self.seed, self.loader.epoch_of(step), device)
        target = torch.as_tensor(batch.label, device=device)
        return {"loss": functional.binary_cross_entropy_with_logits(module(view), target)}

    def after_step(self, step: int, total: int) -> None:
        """Nothing follows a step."""


def by_layer(backbone: Any, groups: list[dict[str, Any]], decay: float) -> list[dict[str, Any]]:
    """Split optimizer groups by layer, with a learning rate scaled by decay^(layers above it); the head has scale 1."""
    if decay == 1.0:
        return groups
    top = backbone.layer_count - 1
    above = {id(p): top - backbone.layer_index(name) for name, p in backbone.named_parameters()}
    return [
        {**group, "params": [p for p in group["params"] if above.get(id(p), 0) == depth], "scale": decay**depth}
        for group in groups
        for depth in sorted({above.get(id(p), 0) for p in group["params"]})
    ]


class Average(Hook):
    """The moving average of the weights, w <- m w + (1 - m) v with m = min(average, (1 + step) / (10 + step))."""

    name = "average"

    def __init__(self, module: Classifier, most: float) -> None:
        """Start from the weights as they are."""
        self.module, self.most = copy.deepcopy(module).requires_grad_(False), most
        mine, theirs = ([*m.parameters(), *m.buffers()] for m in (self.module, module))
        pairs = list(zip(mine, theirs, strict=True))
        self._numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def after_step(self, training: Training) -> None:
        """Move towards the weights just trained; counters are copied."""
        keep = min(self.most, (1 + training.step) / (10 + training.step))
        mine, theirs = zip(*self._numbers, strict=True)
        torch._foreach_lerp_(mine, theirs, 1 - keep)
        for own, other in self._counters:
            own.copy_(other)


class Watch(Hook):
    """Validation log loss of the averaged weights; ends the training on its plateau or after `checks` checks.

    Attributes:
        losses: Validation log loss at each check.
        begun: The first check at which the training labels were being fitted, or None: the mean training loss since
            the check before was below `_BEGUN` times that of the base rate.
        checks: Ends the training, for the race of learning rates; None goes on.
    """

    name = "watch"

    def __init__(
        self, average: Average, kept: Examples, held_out: Examples, budget: Budget, device: torch.device
    ) -> None:
        """Say whose loss is watched on what."""
        self.average, self.kept, self.held_out, self.budget, self.device = average, kept, held_out, budget, device
        self.losses: list[float] = []
        self.begun: int | None = None
        self.checks: int | None = None
        self._base = log_loss(kept.labels, np.full(len(kept), kept.labels.mean()))
        self._trained: list[torch.Tensor] = []

    def after_step(self, training: Training) -> None:
        """Check at every `check_every` steps."""
        self._trained.append(training.losses["loss"])
        if training.step % self.budget.check_every and training.step != training.plan.steps:
            return
        if self.begun is None and float(torch.stack(self._trained).mean()) < _BEGUN * self._base:
            self.begun = len(self.losses)
        self._trained = []
        self.average.module.settle(self.kept, self.device)
        self.losses.append(log_loss(self.held_out.labels, self.average.module.score(self.held_out, self.device)))
        if self.finished or len(self.losses) == self.checks:
            training.stop()

    @property
    def best(self) -> int:
        """The check with the lowest loss, from 0."""
        return int(np.argmin(self.losses))

    @property
    def finished(self) -> bool:
        """Whether the plateau is reached: `patience` checks without a lower loss since the labels are being fitted."""
        return self.begun is not None and len(self.losses) - 1 - max(self.best, self.begun) >= self.budget.patience

    @property
    def falling(self) -> bool:
        """Whether the loss was still falling at the last check, or has not begun to: more steps might lower it."""
        earlier = self.losses[: -self.budget.patience]
        return self.begun is None or not earlier or min(self.losses) < min(earlier) - _FALLING


class _StopAt(Hook):
    name = "stop"

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, training: Training) -> None:
        if training.step >= self.step:
            training.stop()


@dataclass(frozen=True)
class Start:
    """Where a training starts from.

    Attributes:
        backbone: Given a seed, makes a fresh backbone (pretrained ones ignore it).
        pretrained: Whether layer decay applies.
    """

    backbone: Callable[[int], nn.Module]
    pretrained: bool


@dataclass(frozen=True)
class Racer:
    """One learning rate in the search."""

    rate: float
    training: Training
    watch: Watch

    def go_on(self, budget: Budget) -> None:
        """Train on, unless the plateau or the last step is reached."""
        if not self.watch.finished and self.training.step < budget.steps:
            self.training.stopped = False
            self.training.run()


def search(
    start: Start, examples: Examples, budget: Budget, device: Device, seed: int, hooks: Sequence[Hook] = ()
) -> dict[str, Any]:
    """Choose learning rate and number of steps inside a label set.

    Args:
        start: Where every training starts from.
        examples: The label set, both classes present.
        budget: What may be spent.
        device: Where networks run.
        seed: Decides the held-out third, initial weights, order and views.
        hooks: What else happens at every training step.

    Returns:
        `learning_rate`, `steps`, `validation_log_loss` (None where nothing could be held out), `held_out` (images),
        `at_limit` (the steps ended while the loss was still falling, by 0.01 over the last `patience` checks, or had
        not begun to), `tried`.
    """
    parts = folds(examples.labels, examples.patients, _HELD_OUT_PARTS, seed)
    if not parts:
        fixed = {"learning_rate": budget.fixed_learning_rate, "steps": budget.fixed_steps}
        return {**fixed, "validation_log_loss": None, "held_out": 0, "at_limit": False, "tried": []}
    held = parts[0]
    kept = np.setdiff1d(np.arange(len(examples)), held)
    racers = [
        _racer(start, examples.take(kept), examples.take(held), rate, budget, device, seed)
        for rate in budget.learning_rates
    ]
    for racer in racers:
        racer.training.hooks = (*racer.training.hooks, *hooks)
    _race(racers, budget)
    best = min(racers, key=lambda racer: min(racer.watch.losses, default=0.0))  # a single one has not run yet
    best.watch.checks = None
    best.go_on(budget)
    return _chosen(best, racers, len(held), budget)


def _race(racers: list[Racer], budget: Budget) -> None:
    """Train every learning rate in equal pieces until one of them has begun to fit, or the steps are spent."""
    if len(racers) == 1:
        return
    pieces = 0
    while not any(r.watch.begun is not None or r.training.step >= budget.steps for r in racers):
        pieces += budget.race_checks
        for racer in racers:
            racer.watch.checks = pieces
            racer.go_on(budget)


def _chosen(best: Racer, racers: list[Racer], held: int, budget: Budget) -> dict[str, Any]:
    losses = best.watch.losses
    return {
        "learning_rate": best.rate,
        "steps": min(budget.steps, (best.watch.best + 1) * budget.check_every),
        "validation_log_loss": min(losses),
        "held_out": held,
        "at_limit": best.training.step >= budget.steps and best.watch.falling,
        "tried": [{"learning_rate": racer.rate, "losses": racer.watch.losses} for racer in racers],
    }


def _racer(
    start: Start, kept: Examples, held: Examples, rate: float, budget: Budget, device: Device, seed: int
) -> Racer:
    training, average = _training(start, kept, rate, budget, device, seed)
    watch = Watch(average, kept, held, budget, device.target)
    training.hooks = (average, watch)
    return Racer(rate, training, watch)


def train(
    start: Start,
    examples: Examples,
    learning_rate: float,
    steps: int,
    budget: Budget,
    device: Device,
    seed: int,
    hooks: Sequence[Hook] = (),
) -> Classifier:
    """Train on all examples for `steps` of the schedule that `search` followed, and return the averaged classifier."""
    training, average = _training(start, examples, learning_rate, budget, device, seed)
    training.hooks = (average, _StopAt(steps), *hooks)
    training.run()
    average.module.settle(examples, device.target)
    return average.module


def _training(
    start: Start, examples: Examples, rate: float, budget: Budget, device: Device, seed: int
) -> tuple[Training, Average]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "head") >> 1)
        classifier = Classifier(start.backbone(seed)).to(device.target)
    plan = Plan(
        steps=budget.steps,
        learning_rate=rate,
        warmup_steps=min(budget.warmup_steps, budget.steps // 2),
        weight_decay=budget.weight_decay,
        betas=(0.9, 0.95),
        clip_norm=1.0,
        seed=key(seed, "fine-tune"),
    )
    decays = start.pretrained and "tokens" in getattr(classifier.backbone, "OFFERS", ())
    loader = examples.loader(budget.batch_size, seed)
    task = LabelTask(classifier, examples, loader, budget.layer_decay if decays else 1.0, seed)
    training = Training(task, loader, plan, device)
    return training, Average(classifier, budget.average)
