"""Batch norm over the images of all processes, with gradient, on any device.

`torch.nn.SyncBatchNorm` is for GPUs alone. Statistics of a few images a process would make a training in several
processes another one than that of one process with the whole batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedBatchNorm(_BatchNorm):
    """Batch norm of (B, C, *spatial) whose mean and variance are those of the global batch while training.

    Parameters and buffers have the names and values of the layer that it replaces.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"Expected (B, C, *spatial), but got {input.ndim} axes")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        own = torch.tensor(float(x.numel() // x.shape[1]), device=x.device, dtype=torch.float64)
        dist.all_reduce(own)
        count = float(own)
        values = x.double() if x.dtype == torch.float64 else x.float()
        mean = _Sum.apply(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / max(1.0, count - 1))
        result = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)


class _Sum(torch.autograd.Function):
    """The sum over processes; the gradient of each process's term is the sum of what all have for the result."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def synchronise(module: nn.Module) -> nn.Module:
    """Replace every batch norm of images and volumes below a module by a synchronised one, weights kept.

    Those of heads (`BatchNorm1d`) stay: methods collect the rows of all processes before them.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.BatchNorm3d):
            setattr(module, name, _synced(child))
        else:
            synchronise(child)
    return module


def _synced(old: _BatchNorm) -> SyncedBatchNorm:
    new = SyncedBatchNorm(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    new.training = old.training
    for name, value in [*old._parameters.items(), *old._buffers.items()]:  # the same tensors, not copies
        setattr(new, name, value)
    return new
