"""The one loop: pretraining, fine-tuning and training from scratch are tasks that it runs.

Everything that could depend on the past is a function of the step: the batch (the loader's), views and masks (keyed
by seed, epoch and content), dropout and drop path (reseeded here by seed, step and rank), learning rate and
momenta. Only what is learnt is state. So a run that was stopped at a step boundary and resumed takes the same steps,
and one without a run folder writes nothing and costs nothing but its steps.

What else should happen (logs, monitors, checkpoints, early stopping) is a hook.

Example:
    training = Training(task, loader, Plan(steps=100, learning_rate=1e-3), open_device("cpu"))
    training.run()
"""

import contextlib
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from medssl.batch import Batch
from medssl.chance import key
from medssl.errors import MedsslError, SettingsError
from medssl.training import optim
from medssl.training.device import Device
from medssl.training.optim import cosine, set_learning_rate, set_weight_decay


class Task(Protocol):
    """What is trained, and with which loss.

    Attributes:
        module: Everything that is learnt; its `state_dict` is all the state there is beside the optimizer's.
    """

    module: nn.Module

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the optimizer's groups, mostly `optim.parameter_groups(self.module, weight_decay)`."""

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Return scalars, `loss` among them, from one call of `module` (which may be wrapped for DDP)."""

    def after_step(self, step: int, total: int) -> None:
        """Do what follows an optimizer step, such as a momentum update."""


class Batches(Protocol):
    """Where batches come from: a pure function of the step, from 0."""

    steps_per_epoch: int

    def iterate(self, start: int, stop: int) -> Generator[Batch]:
        """Yield the batches of steps start to stop - 1."""


@dataclass(frozen=True)
class Plan:
    """How many steps are taken, and how.

    Attributes:
        steps: All optimizer steps.
        learning_rate: The peak, after the linear scaling with the batch.
        warmup_steps: Steps from 0 to the peak.
        weight_decay: Decoupled in AdamW; none on norms, biases and tokens.
        final_weight_decay: What it becomes along a half cosine, or None where it stays.
        betas: Of AdamW and LAMB.
        momentum: Of SGD and LARS.
        optimizer: One of `optim.OPTIMIZERS`.
        clip_norm: Largest norm of the gradient, or None.
        seed: Everything random follows from it.
        check_every: A non-finite loss is looked for after so many steps (1 costs a GPU its asynchrony).
    """

    steps: int
    learning_rate: float
    warmup_steps: int = 0
    weight_decay: float = 0.05
    final_weight_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.9
    optimizer: str = "adamw"
    clip_norm: float | None = None
    seed: int = 0
    check_every: int = 1


class Hook:
    """Something that happens beside the steps. What it must remember over an interruption is its `state`."""

    name = ""

    def start(self, training: "Training") -> None:
        """Prepare, before the first step of this process."""

    def after_step(self, training: "Training") -> None:
        """Look at the training after a step; `training.stop()` ends it."""

    def finish(self, training: "Training") -> None:
        """Conclude, after the last step."""

    def state(self) -> dict[str, Any]:
        """Return plain values and tensors that `restore` takes."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned."""


@dataclass
class Clock:
    """Wall-clock time of this process: all of it, and what was spent waiting for data."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    before: float = 0.0  # seconds of earlier processes of a resumed run

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all processes of the run."""
        return self.before + time.perf_counter() - self.started


class Training:
    """A training under way: what hooks see, and what a checkpoint keeps.

    Attributes:
        step: Steps taken so far.
        losses: The scalars of the last step, detached, on the device.
        learning_rate: Of the last step.
        batch: The last batch.
    """

    def __init__(
        self, task: Task, loader: Batches, plan: Plan, device: Device, hooks: Sequence[Hook] = (), optimizer: Any = None
    ) -> None:
        """Place the task on the device; nothing is trained yet."""
        if plan.steps < 1:
            raise SettingsError(f"Expected at least one training step, but got {plan.steps}", fix="Raise train.epochs")
        self.task, self.loader, self.plan, self.device, self.hooks = task, loader, plan, device, hooks
        self.module = device.place(task.module)
        self.optimizer = optimizer or optim.optimizer(
            plan.optimizer, task.groups(plan.weight_decay), plan.betas, plan.momentum
        )
        self.step, self.learning_rate, self.stopped = 0, 0.0, False
        self.losses: dict[str, torch.Tensor] = {}
        self.batch: Batch | None = None
        self.clock = Clock()

    @property
    def epoch(self) -> int:
        """The epoch of the last step, from 0."""
        return max(0, self.step - 1) // self.loader.steps_per_epoch

    def stop(self) -> None:
        """End after this step (early stopping)."""
        self.stopped = True

    def run(self) -> "Training":
        """Take all steps that are left.

        Raises:
            MedsslError: A loss is not finite; its term is named.
        """
        with self.device.seeded():
            self.module.train()
            for hook in self.hooks:
                hook.start(self)
            with contextlib.closing(self.loader.iterate(self.step, self.plan.steps)) as batches:
                while self.step < self.plan.steps and not self.stopped:
                    self._take_step(self._next(batches))
            for hook in self.hooks:
                hook.finish(self)
        return self

    def state(self) -> dict[str, Any]:
        """Return the complete state: plain values and tensors, loadable with `weights_only=True`."""
        return {
            "step": self.step,
            "seconds": self.clock.seconds,
            "module": self.task.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "hooks": {hook.name: hook.state() for hook in self.hooks},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.step, self.clock.before = state["step"], state["seconds"]
        self.task.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        for hook in self.hooks:
            hook.restore(state["hooks"].get(hook.name, {}))

    def _next(self, batches: Generator[Batch]) -> Batch:
        start = time.perf_counter()
        batch = next(batches)
        self.clock.waited += time.perf_counter() - start
        return batch

    def _take_step(self, batch: Batch) -> None:
        plan = self.plan
        self.learning_rate = cosine(self.step, plan.steps, plan.learning_rate, plan.warmup_steps)
        set_learning_rate(self.optimizer, self.learning_rate)
        if plan.final_weight_decay is not None:
            decay = cosine(self.step, plan.steps, plan.weight_decay, final=plan.final_weight_decay)
            set_weight_decay(self.optimizer, decay)
        torch.manual_seed(key(plan.seed, "step", self.step, self.device.rank) >> 1)
        with self.device.autocast():
            losses = self.task.loss(self.module, batch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        if plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.task.module.parameters(), plan.clip_norm)
        self.losses, self.batch = {name: value.detach() for name, value in losses.items()}, batch
        if (self.step + 1) % plan.check_every == 0:
            check_finite(self.losses, self.step)
        self.optimizer.step()
        self.task.after_step(self.step, plan.steps)
        self.step += 1
        for hook in self.hooks:
            hook.after_step(self)


def check_finite(losses: dict[str, torch.Tensor], step: int) -> None:
    """Refuse a loss that is not a finite number.

    Raises:
        MedsslError: The first term that is not finite is named; `loss`, their sum, only if all others are finite.
    """
    for name in sorted(losses, key=lambda name: name == "loss"):
        if not bool(torch.isfinite(losses[name]).all()):
            raise MedsslError(
                f"The term '{name}' became {float(losses[name])} at step {step + 1}",
                fix="Lower train.learning_rate, set train.clip_norm=1.0, or train.precision=fp32",
            )
