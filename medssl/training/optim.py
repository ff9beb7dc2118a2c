"""The optimizers, which weights they decay and adapt to, and the learning rate as a function of the step."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from medssl.errors import SettingsError
from medssl.training.lamb import Lamb
from medssl.training.lars import Lars

OPTIMIZERS = ("adamw", "sgd", "lars", "lamb")
AVERAGES = {"adamw": 2, "lamb": 2, "sgd": 1, "lars": 1}
"""Numbers that each keeps beside a weight."""
_PLAIN = frozenset(["token", "tokens", "pos", "position", "positions", "query", "queries", "bias", "scale"])
"""Words in the names of what is no kernel or matrix: `cls_token`, `pos_embed`, `relative_position_bias_table`."""


def parameter_groups(module: nn.Module, weight_decay: float, scale: float = 1.0) -> list[dict[str, Any]]:
    """Return an optimizer's groups: norms, biases, tokens and positions have no decay, and LARS and LAMB do not adapt.

    Args:
        module: What is trained; parameters that need no gradient are left out.
        weight_decay: Decoupled weight decay, 0 or more.
        scale: A factor on the learning rate of these groups (a new head beside a pretrained backbone, say).
    """
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if _decays(name, p)]
    plain = [p for name, p in trained if not _decays(name, p)]
    groups = [(decayed, weight_decay), (plain, 0.0)]
    return [
        {"params": params, "weight_decay": decay, "scale": scale, "adapt": params is decayed}
        for params, decay in groups
        if params
    ]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not _PLAIN & set(name.rpartition(".")[2].split("_"))


def adamw(groups: Iterable[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.95)) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter, ICLR 2019), with fused kernels where the device has them.

    The betas are those of He et al., "Masked autoencoders are scalable vision learners" (CVPR 2022), table 8.
    """
    groups = list(groups)
    kinds = {parameter.device.type for group in groups for parameter in group["params"]}
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=kinds <= {"cuda", "cpu"})


def optimizer(
    name: str, groups: Iterable[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.95), momentum: float = 0.9
) -> torch.optim.Optimizer:
    """Return an optimizer by its name, with a learning rate of 0 until it is set.

    Args:
        name: One of `OPTIMIZERS`.
        groups: As `parameter_groups` makes them.
        betas: Of AdamW and LAMB.
        momentum: Of SGD and LARS.
    """
    if name == "adamw":
        return adamw(groups, betas)
    if name == "lamb":
        return Lamb(groups, betas=betas)
    if name == "lars":
        return Lars(groups, momentum=momentum)
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum)


def cosine(step: int, total: int, peak: float, warmup: int = 0, final: float = 0.0) -> float:
    """Return the learning rate of a step: a line from 0 to `peak`, then half a cosine down to `final`.

    With s = step + 1 in the warm-up, the rate is peak s / warmup, so that no step has a rate of 0; afterwards
    final + (peak - final) (1 + cos(pi p)) / 2, where p runs from 0 to 1 over the steps that are left.

    Args:
        step: The step about to be taken, from 0.
        total: All steps.
        peak: The highest learning rate.
        warmup: Steps of the warm-up, fewer than `total`.
        final: The learning rate at the end.

    Example:
        >>> [round(cosine(step, 6, 1.0, warmup=2), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to `rate` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def set_weight_decay(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Set the weight decay of kernels and matrices; norms, biases and tokens stay without."""
    for group in optimizer.param_groups:
        if group["adapt"]:
            group["weight_decay"] = decay


def scaled_learning_rate(base: float, batch_size: int) -> float:
    """Return base x batch / 256, the linear rule of Goyal et al. (arXiv 1706.02677) that MAE and SimCLR follow."""
    if base <= 0 or batch_size < 1:
        raise SettingsError(f"Expected a base learning rate above 0 and a batch, but got {base} and {batch_size}")
    return base * batch_size / 256
