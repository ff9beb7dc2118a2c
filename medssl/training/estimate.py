"""How long a run will take and how much memory it will need, from a few real steps on made-up pixels.

A timed step is what the loop does with a batch that is there: views, loss in the run's precision, gradients, optimizer
and what the method does after it, with as many threads. Only the operations are counted without the rest.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medssl.chance import Chance
from medssl.counting import counted
from medssl.methods.parts.wish import ViewWish, edges
from medssl.training.device import Device

_FIRST = 2  # images of the step that is counted
_GROWTH = 4  # a batch is timed that is larger by this, until it is whole or takes more than the budget
_BUDGET = 0.5  # seconds; what a step costs whatever its size, on a busy machine most of it, must not be multiplied
_TRIES, _SPENT = 3, 2.0  # steps of that size, and seconds after which they are enough
_GB = 1e9
_FORWARD, _BACKWARD = 4, 8  # a query and a key: two products of 2 d operations, and the four of their gradients


@dataclass(frozen=True)
class Cost:
    """What a training step costs.

    Attributes:
        flops: Floating-point operations an image, forward and backward, of matrix products and convolutions.
        seconds: Seconds an image, on this machine, now, in the fastest of a few steps.
        slowest: The same in the slowest: what else runs on the machine shows here.
        activations: Bytes an image kept for the backward pass.
        parameters: Number of trained parameters.
    """

    flops: float
    seconds: float
    slowest: float
    activations: float
    parameters: int


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need; measured in a moment, so take it as a rough guide.

    Attributes:
        steps: Optimizer steps.
        seconds: Time of all steps at the pace of the fastest one measured, without monitors and waiting for data.
        slowest: At the pace of the slowest.
        memory: Bytes of weights, gradients, optimizer and activations.
    """

    steps: int
    seconds: float
    slowest: float
    memory: float

    def __str__(self) -> str:
        ends = list(dict.fromkeys(_time(seconds) for seconds in (self.seconds, self.slowest)))
        return (
            f"{' to '.join(ends)} for {counted(self.steps, 'step')}, {self.memory / _GB:.1f} GB of memory "
            "(a rough estimate, as busy as this machine is now)"
        )


def measure(
    method: nn.Module,
    shape: tuple[int, ...],
    device: Device,
    batch_size: int,
    views: Callable[[int], list[torch.Tensor]],
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
) -> Cost:
    """Take a few steps of a method at a learning rate of 0; a momentum copy may move.

    Args:
        method: The method around its backbone; it is moved to the device.
        shape: (C, *spatial) of a view.
        device: Where it will run.
        batch_size: The size of the timed step, where there is time for it.
        views: Makes those that the method wants of so many images, as training does: one (images, C, *spatial) each.
        optimizer: Returns one for the method on its device, with a learning rate of 0.

    Returns:
        The operations, seconds and bytes of an image. All processes must call it, since losses gather.
    """
    method = method.to(device.target).train()
    counter, kept = flop_counter(), _Kept()
    with device.seeded(), counter, torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
        _lose(method, _noise(method, shape, _FIRST, device), device)
    updates = optimizer(method)

    def step(images: int) -> None:
        _lose(method, views(images), device)
        updates.step()
        method.after_step(0, 1)  # type: ignore[operator]

    with device.seeded():
        images, times = _timed(step, device, batch_size)
    method.zero_grad(set_to_none=True)
    parameters = sum(p.numel() for p in method.parameters() if p.requires_grad)
    fastest, slowest = min(times) / images, max(times) / images
    return Cost(counter.get_total_flops() / _FIRST, fastest, slowest, kept.bytes / _FIRST, parameters)


def flop_counter() -> FlopCounterMode:
    """Return torch's counter of floating-point operations, which knows fused attention on a CPU as well.

    Attention counts as when it is written out, 12 N^2 D forward and backward, so that precision does not matter.
    Torch's own counter leaves the fused kernel of CPUs out.
    """
    aten = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={
            aten._scaled_dot_product_flash_attention_for_cpu: _attended,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attended_backward,
        },
    )


def expect(cost: Cost, batch_size: int, steps: int, processes: int = 1, averages: int = 2) -> Estimate:
    """Return the estimate for a run; weights, gradients and AdamW's two averages are 16 bytes a parameter.

    Args:
        cost: Of a step.
        batch_size: Images a step, over all processes.
        steps: All of them.
        processes: How many.
        averages: That the optimizer keeps of each parameter.
    """
    each = batch_size / processes
    memory = 4 * (2 + averages) * cost.parameters + cost.activations * each
    return Estimate(steps, cost.seconds * each * steps, cost.slowest * each * steps, memory)


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes / 60:.1f} hours" if minutes > 90 else f"{max(1, round(minutes))} min"


def _attended(query: torch.Size, key: torch.Size, *_: Any, **__: Any) -> int:
    return _FORWARD * math.prod(query) * key[-2]


def _attended_backward(_gradient: torch.Size, query: torch.Size, key: torch.Size, *_: Any, **__: Any) -> int:
    return _BACKWARD * math.prod(query) * key[-2]


class _Kept:
    """Counts the bytes that autograd keeps, each storage once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.bytes = 0

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _lose(method: nn.Module, views: list[torch.Tensor], device: Device) -> None:
    """Compute the loss on views, and gradients that replace earlier ones."""
    with device.autocast():
        loss = method(views, Chance(list(range(len(views[0])))))["loss"]
    method.zero_grad(set_to_none=True)
    loss.backward()


def _noise(method: nn.Module, shape: tuple[int, ...], images: int, device: Device) -> list[torch.Tensor]:
    torch.manual_seed(0)
    sizes = [_size(shape, wish) for wish in method.wish for _ in range(wish.count)]  # type: ignore[union-attr]
    return [torch.randn(images, *size, device=device.target) for size in sizes]


def _size(shape: tuple[int, ...], wish: ViewWish) -> tuple[int, ...]:
    return (shape[0], *edges(wish.size, shape[1:]))


def _timed(step: Callable[[int], None], device: Device, most: int) -> tuple[int, list[float]]:
    """Return how many images a step has, all of a batch where there is time for it, and the seconds of a few.

    A first slow step of a size does not count, since kernels are chosen and memory is fetched in it.
    """
    images = min(_FIRST, most)
    while images < most and any(_seconds(step, device, images) < _BUDGET for _ in range(2)):
        images = min(most, _GROWTH * images)
    step(images)
    times: list[float] = []
    while len(times) < _TRIES and sum(times) < _SPENT:
        times.append(_seconds(step, device, images))
    return images, times


def _seconds(step: Callable[[int], None], device: Device, images: int) -> float:
    """Return how long a step took in the first process: losses wait for each other, so all must take as many steps."""
    start = time.perf_counter()
    step(images)
    if device.target.type == "cuda":
        torch.cuda.synchronize()
    return float(device.share(time.perf_counter() - start))
