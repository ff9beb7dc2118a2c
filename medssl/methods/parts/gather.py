"""Collect the rows of all processes, with gradient."""

from typing import Any

import torch
import torch.distributed as dist

from medssl.errors import SettingsError


def gather_rows(x: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes in the order of their ranks, (B, ...) -> (sum of B, ...), with gradient.

    The backward pass sums the gradients that all processes have for this process's rows. So when every process
    computes the same loss over all rows, the average of parameter gradients over processes, as DDP takes it, is the
    gradient that one process with the whole batch would have. Processes may hold different numbers of rows. Without
    `torch.distributed`, or alone, `x` is returned.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    return _Gather.apply(x)


def gather_several(x: torch.Tensor, why: str, instead: str = "") -> torch.Tensor:
    """Return the rows of all processes, as `gather_rows`, where they have to be two at least.

    Args:
        x: (B, ...).
        why: What the method does with a batch, such as "BYOL normalises over a batch".
        instead: Another way out than a larger batch, such as ", or --method mae".

    Raises:
        SettingsError: The global batch has a single image.
    """
    rows = gather_rows(x)
    if len(rows) < 2:
        raise SettingsError(
            f"{why}, and this batch has 1 image",
            where="train.batch_size",
            fix=f"Use batches of at least 2 images{instead}",
        )
    return rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        world = dist.get_world_size()
        own = torch.tensor([len(x)], device=x.device)
        sizes = [torch.zeros_like(own) for _ in range(world)]
        dist.all_gather(sizes, own)
        ctx.sizes = [int(size) for size in sizes]
        padded = x.new_zeros(max(ctx.sizes), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, ctx.sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        rank = dist.get_rank()
        start = sum(ctx.sizes[:rank])
        return total[start : start + ctx.sizes[rank]]


def share_of_all(rows: int, device: torch.device) -> float:
    """Return the factor that makes a mean over this process's rows its part of the mean over all rows.

    It is rows x processes / (rows of all processes), so that the average of the products over processes, as DDP
    takes it for gradients, is the mean over the global batch; 1 where all processes hold as many.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return 1.0
    everywhere = torch.tensor([rows], device=device)
    dist.all_reduce(everywhere)
    return rows * dist.get_world_size() / int(everywhere)
