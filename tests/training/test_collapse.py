"""Collapse is named: methods made to collapse end with the term and what to change, others go on."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from medssl import backbones, methods
from medssl.batch import Batch
from medssl.chance import Chance, key
from medssl.errors import MedsslError
from medssl.methods.parts.alarm import Alarm
from medssl.methods.parts.wish import edges
from medssl.training import collapse
from medssl.training.collapse import Alarms
from medssl.training.device import open_device
from medssl.training.loop import Plan, Training
from medssl.training.optim import parameter_groups
from medssl.training.recorder import Journal, Recorder

ALARM = Alarm("error", 0.5, 1.0, "as where all is alike", "Lower it")


def test_only_a_term_that_stays_in_its_range_after_the_warm_up_ends_the_run(monkeypatch):
    monkeypatch.setattr(collapse, "LEAST", 30)
    alarms = Alarms([ALARM], warmup=20, total=100)
    for step, value in [(10, 0.7), (20, 0.7), (30, 0.7), (40, 0.7), (50, 1.1), (60, 0.5), (70, 1.0)]:
        alarms.look(step, {"error": value, "loss": 3.0}, 10)
    said = r"'error' has been at 0.6 for 30 steps up to step 80, as where all is alike\. Lower it.*stop_when_collapsed"
    with pytest.raises(MedsslError, match=said):
        alarms.look(80, {"error": 0.6, "loss": 3.0}, 10)


def test_long_is_a_share_of_the_run():
    assert Alarms([ALARM], 0, 100).long == 200
    assert Alarms([ALARM], 0, 10_000).long == 1000


def test_the_count_is_kept_over_an_interruption():
    first = Recorder(Journal(), 10, Alarms([ALARM], 0, 100))
    first.alarms.look(10, {"error": 0.7}, 10)
    second = Recorder(Journal(), 10, Alarms([ALARM], 0, 100))
    second.restore(first.state())
    assert second.alarms.held == [10]


class Views:
    """Batches of noise, a step a batch; the images are the same in every one."""

    steps_per_epoch = 10

    def iterate(self, start: int, stop: int) -> Any:
        image = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        for step in range(start, stop):
            yield Batch(image, [str(step)], [None], [str(step)])


class Trained:
    """A method on two noisy views (and as many small ones as it wants) of the images."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        torch.manual_seed(0)
        tiny = {"width": 24, "depth": 1, "heads": 2, "patch_size": 8}
        self.module = methods.build(
            name, backbones.build("vit_nano", in_channels=1, image_size=32, overrides=tiny), values
        )

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return parameter_groups(self.module, weight_decay)

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        sizes = [edges(wish.size, (32, 32)) for wish in module.wish for _ in range(wish.count)]
        views = [(batch.image + 0.1 * torch.randn_like(batch.image))[..., :rows, :columns] for rows, columns in sizes]
        return module(views, Chance([key(step, k) for k in range(len(batch))]))

    def after_step(self, step: int, total: int) -> None:
        self.module.after_step(step, total)


def train(name: str, values: dict[str, Any], change: Any = None, steps: int = 60, rate: float = 2e-3) -> Trained:
    task = Trained(name, values)
    if change is not None:
        change(task.module)
    alarms = Alarms(task.module.alarms, 5, steps)
    hooks = [Recorder(Journal(), 5, alarms)]
    Training(task, Views(), Plan(steps, rate, 5), open_device("cpu"), hooks).run()
    return task


SMALL = {
    "dino": {"prototypes": 16, "bottleneck": 16, "local_views": 0, "momentum": 0.9},
    "vicreg": {"expander_width": 16},
    "simclr": {"projection_width": 8},
}


def no_norms(module: nn.Module) -> None:
    """Make the head say nearly the same of every image: no norm spreads its outputs, and a constant is added."""
    head = module.expander if hasattr(module, "expander") else module.projection_head
    head.forward = lambda x: 1.0 + 1e-3 * head[0](x)[:, :8]
    for parameter in module.parameters():
        parameter.requires_grad_(parameter is head[0].weight)


def one_prototype(module: nn.Module) -> None:
    """Keep the centre at 0, and let the teacher be sure of the first prototype whatever it sees."""
    module.teacher_head.forward = lambda x: torch.eye(16)[:1].expand(len(x), 16) * 3.0
    real = module.after_step
    module.after_step = lambda step, total: (real(step, total), module.centre.zero_())


FLAT = {"teacher_temperature": 90.0, "teacher_temperature_start": 90.0}


@pytest.mark.parametrize(
    ("name", "values", "change", "said"),
    [
        ("dino", FLAT, None, r"'loss' .* \(ln K\).*dino\.prototypes"),
        ("dino", {}, one_prototype, r"'prototype_entropy' .* one prototype .*dino\.teacher_temperature"),
        ("vicreg", {}, no_norms, r"'variance' .* one point.*vicreg\.variance"),
        ("simclr", {}, no_norms, r"'uniformity' .* one point.*base_learning_rate"),
    ],
)
def test_a_method_made_to_collapse_is_stopped_and_its_term_named(monkeypatch, name, values, change, said):
    monkeypatch.setattr(collapse, "LEAST", 20)
    with pytest.raises(MedsslError, match=said):
        train(name, {**SMALL[name], **values}, change, rate=1e-6 if change is no_norms else 2e-3)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_same_methods_go_on_where_they_learn(monkeypatch, name):
    monkeypatch.setattr(collapse, "LEAST", 20)
    train(name, SMALL[name])


def test_the_loss_of_dino_rests_at_ln_k_where_outputs_are_uniform():
    alarm = methods.build("dino", backbones.build("vit_nano", in_channels=1, image_size=32), SMALL["dino"]).alarms[0]
    assert alarm.low == pytest.approx(0.99 * math.log(16))
    assert alarm.high == pytest.approx(1.01 * math.log(16))
