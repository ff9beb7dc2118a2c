"""What a step costs: operations against closed forms."""

from types import SimpleNamespace

import pytest
import torch

from medssl.backbones.parts.transformer import Block
from medssl.methods.parts.wish import ViewWish
from medssl.training import estimate
from medssl.training.device import Device
from medssl.training.estimate import Cost, Estimate, expect, flop_counter
from medssl.training.presets import Machine, _epochs

CPU = Device(torch.device("cpu"))
BATCH, TOKENS, WIDTH = 2, 33, 48


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fused", "written out"])
def test_a_block_of_a_vit_in_numbers(precision):
    """24 N D^2 in the linear layers and 4 N^2 D in attention, and twice that backward."""
    block, x = Block(WIDTH, heads=3), torch.randn(BATCH, TOKENS, WIDTH)
    with flop_counter() as counter, torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        block(x).sum().backward()
    forward = BATCH * (24 * TOKENS * WIDTH**2 + 4 * TOKENS**2 * WIDTH)
    assert counter.get_total_flops() == 3 * forward


@pytest.mark.parametrize("before", [6e12 / 129.65e6, 6e12 / 136.75e6], ids=["fp32", "bf16"])
def test_epochs_of_a_small_mae_on_a_cpu_stay(before):
    """What was counted of a ViT-nano at 64 x 64 in float32 (without attention) and bfloat16, and the same now."""
    assert _epochs(Machine("cpu", 1e9), 1, 136.75e6).value == pytest.approx(before, rel=0.03)


class Clock:
    """A clock that a step moves on: some seconds whatever its size, and some an image."""

    def __init__(self, each, apart=0.0, first=0.0):
        self.now, self.each, self.apart, self.first, self.sizes = 0.0, each, apart, first, []

    def step(self, images):
        known = images in self.sizes
        self.sizes.append(images)
        self.now += self.apart + self.each * images + (0 if known else self.first)


def timed(machine, monkeypatch, most=64):
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: machine.now))
    images, times = estimate._timed(machine.step, CPU, most)
    return images, [seconds / images * most for seconds in times]


@pytest.mark.parametrize("first", [0.0, 5.0], ids=["warm", "slow at first"])
def test_what_a_step_costs_whatever_its_size_is_not_multiplied(monkeypatch, first):
    """As on a busy machine, where threads wait for each other: a step of 2 images took 0.2 s, one of 64 took 0.5 s."""
    images, times = timed(Clock(each=0.005, apart=0.19, first=first), monkeypatch)
    assert images == 64
    assert times == pytest.approx([0.51] * 3)


def test_a_network_too_slow_for_a_whole_batch_is_timed_on_a_part(monkeypatch):
    clock = Clock(each=3.0)
    images, times = timed(clock, monkeypatch)
    assert (images, times) == (2, [192.0])
    assert len(clock.sizes) <= 4


def test_processes_of_unlike_pace_take_as_many_steps(monkeypatch):
    """Losses gather: a process that stops earlier than its peers would leave them waiting."""
    first, other = Clock(each=0.005), Clock(each=3.0)
    seconds = []
    monkeypatch.setattr(Device, "share", lambda _, value: seconds.append(value) or value)
    timed(first, monkeypatch)
    monkeypatch.setattr(Device, "share", lambda *_: seconds.pop(0))
    timed(other, monkeypatch)
    assert other.sizes == first.sizes


def test_an_estimate_says_between_what_it_was_measured():
    found = expect(Cost(1e9, 0.01, 0.02, 1e6, 1000), batch_size=64, steps=600)
    assert (found.seconds, found.slowest) == pytest.approx((384, 768))
    assert str(found).startswith("6 min to 13 min for 600 steps, 0.1 GB of memory (a rough estimate, ")
    assert str(Estimate(1, 1, 2, 0)).startswith("1 min for 1 step, ")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_timed_step_is_the_loops(precision):
    """Views of the size asked for, in the run's precision, then the optimizer and what the method does after a step."""
    seen = []

    class Method(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.wish, self.linear = [ViewWish(count=1, strength="weak")], torch.nn.Linear(4, 4)

        def forward(self, views, chance):
            made = self.linear(views[0])
            seen.append((len(views[0]), made.dtype))
            return {"loss": made.float().square().mean()}

        def after_step(self, step, total):
            seen.append("after")

    class Optimizer(torch.optim.SGD):
        def step(self):
            assert all(group["lr"] == 0 for group in self.param_groups)
            seen.append("updated")

    method = Method()
    before = method.linear.weight.detach().clone()
    device = Device(torch.device("cpu"), precision)
    cost = estimate.measure(
        method,
        (4,),
        device,
        6,
        lambda images: [torch.ones(images, 4)],
        lambda module: Optimizer(module.parameters(), lr=0.0),
    )
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    assert seen[0] == (2, kind)
    assert seen[-3:] == [(6, kind), "updated", "after"]
    assert 0 < cost.seconds <= cost.slowest
    assert torch.equal(method.linear.weight, before)
