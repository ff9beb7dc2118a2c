"""LARS: stochastic gradient descent whose step is in proportion to the norm of each layer's weights.

You, Gitman, Ginsburg, "Large batch training of convolutional networks", 2017 (https://arxiv.org/abs/1708.03888).
"""

from collections.abc import Iterable
from typing import Any

import torch


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (algorithm 1 of the paper).

    For weights w with gradient g, learning rate r, momentum m, weight decay b and trust coefficient t,

        l = t |w| / (|g| + b |w|)       1 where w or the denominator is 0, and in groups with adapt=False
        v <- m v + r l (g + b w)
        w <- w - v

    so a change of the learning rate does not rescale what was gathered in v. Groups with `adapt=False`, which hold
    norms, biases and tokens (as in SimCLR's code and BYOL, section 3.3), are plain momentum.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float = 0.0, momentum: float = 0.9, trust: float = 0.001
    ) -> None:
        """Take groups of `optim.parameter_groups`.

        Args:
            groups: Each with `params` and, if not the defaults, `weight_decay` and `adapt`.
            lr: Learning rate.
            momentum: In [0, 1).
            trust: The trust coefficient; 0.001 in the paper and in SimCLR.
        """
        defaults = {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0, "adapt": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take a step; no value is moved from the device."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._move(weights, group)

    def _move(self, weights: torch.Tensor, group: dict[str, Any]) -> None:
        gradient = weights.grad.add(weights, alpha=group["weight_decay"])  # type: ignore[union-attr]
        if group["adapt"]:
            gradient *= _trust(weights, group)
        state = self.state[weights]
        if not state:
            state["velocity"] = torch.zeros_like(weights)
        velocity = state["velocity"].mul_(group["momentum"]).add_(gradient, alpha=group["lr"])
        weights.sub_(velocity)


def _trust(weights: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    norm = weights.norm()
    below = weights.grad.norm() + group["weight_decay"] * norm  # type: ignore[union-attr]
    return torch.where((norm > 0) & (below > 0), group["trust"] * norm / below, 1.0)
