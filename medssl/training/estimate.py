"""How long a run will take and how much memory it will need, from a few real steps on made-up pixels."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medssl.chance import Chance
from medssl.methods.parts.wish import ViewWish, edges
from medssl.training.device import Device

_FIRST = 2  # images of the step that is counted
_BUDGET = 1.0  # seconds that a timed step may take
_TRIES = 2  # the faster one counts
_GB = 1e9


@dataclass(frozen=True)
class Cost:
    """What a training step costs.

    Attributes:
        flops: Floating-point operations an image, forward and backward, of matrix products and convolutions.
        seconds: Seconds an image, on this machine, now.
        activations: Bytes an image kept for the backward pass.
        parameters: Number of trained parameters.
    """

    flops: float
    seconds: float
    activations: float
    parameters: int


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need; measured in a moment, so take it as a rough guide.

    Attributes:
        steps: Optimizer steps.
        seconds: Time of all steps, without logs, monitors and waiting for data.
        memory: Bytes of weights, gradients, optimizer and activations.
    """

    steps: int
    seconds: float
    memory: float

    def __str__(self) -> str:
        minutes = self.seconds / 60
        time_text = f"{minutes / 60:.1f} hours" if minutes > 90 else f"{max(1, round(minutes))} min"
        return f"about {time_text} for {self.steps} steps, {self.memory / _GB:.1f} GB of memory (a rough estimate)"


def measure(method: nn.Module, shape: tuple[int, ...], device: Device, batch_size: int) -> Cost:
    """Take a few steps of a method without an optimizer; its weights stay as they are.

    Args:
        method: The method around its backbone; it is moved to the device.
        shape: (C, *spatial) of a view.
        device: Where it will run.
        batch_size: The size of the timed step, where there is time for it.
    """
    method = method.to(device.target).train()
    counter, kept = FlopCounterMode(display=False), _Kept()
    with device.seeded(), counter, torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
        _step(method, shape, _FIRST, device)
    seconds = _timed(lambda: _step(method, shape, _FIRST, device), device) / _FIRST
    images = max(_FIRST, min(batch_size, int(_BUDGET / max(seconds, 1e-9))))
    if images > _FIRST:
        seconds = _timed(lambda: _step(method, shape, images, device), device) / images
    method.zero_grad(set_to_none=True)
    parameters = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return Cost(counter.get_total_flops() / _FIRST, seconds, kept.bytes / _FIRST, parameters)


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
    return Estimate(steps, cost.seconds * each * steps, 4 * (2 + averages) * cost.parameters + cost.activations * each)


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


def _step(method: nn.Module, shape: tuple[int, ...], images: int, device: Device) -> None:
    with torch.random.fork_rng([device.target] if device.target.type == "cuda" else []):
        torch.manual_seed(0)
        sizes = [_size(shape, wish) for wish in method.wish for _ in range(wish.count)]  # type: ignore[union-attr]
        views = [torch.randn(images, *size, device=device.target) for size in sizes]
        with device.autocast():
            loss = method(views, Chance(list(range(images))))["loss"]
        loss.backward()


def _size(shape: tuple[int, ...], wish: ViewWish) -> tuple[int, ...]:
    return (shape[0], *edges(wish.size, shape[1:]))


def _timed(step: Callable[[], None], device: Device) -> float:
    if device.target.type == "cuda":
        torch.cuda.synchronize()
    best = float("inf")
    for _ in range(_TRIES):
        start = time.perf_counter()
        step()
        if device.target.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
