"""LAMB: Adam whose step is in proportion to the norm of each layer's weights.

You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer, Hsieh, "Large batch optimization for deep learning:
training BERT in 76 minutes", ICLR 2020 (https://arxiv.org/abs/1904.00962).
"""

from collections.abc import Iterable
from typing import Any

import torch


class Lamb(torch.optim.Optimizer):
    """Layer-wise adaptive moments (algorithm 2 of the paper, with phi the identity).

    For weights w with gradient g at step k, learning rate r, weight decay b,

        m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
        u  = m / (1 - b1^k) / (sqrt(v / (1 - b2^k)) + e) + b w
        w <- w - r |w| / |u| u          |w| / |u| is 1 where either is 0, and in groups with adapt=False
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-6,
    ) -> None:
        """Take groups of `optim.parameter_groups`.

        Args:
            groups: Each with `params` and, if not the defaults, `weight_decay` and `adapt`.
            lr: Learning rate: the share of its norm by which a layer's weights move.
            betas: b1 and b2, in [0, 1).
            epsilon: e; 1e-6 in the paper.
        """
        defaults = {"lr": lr, "betas": betas, "epsilon": epsilon, "weight_decay": 0.0, "adapt": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take a step; no value is moved from the device."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._move(weights, group)

    def _move(self, weights: torch.Tensor, group: dict[str, Any]) -> None:
        update = self._adam(weights, group).add_(weights, alpha=group["weight_decay"])
        if group["adapt"]:
            norms = weights.norm(), update.norm()
            update *= torch.where((norms[0] > 0) & (norms[1] > 0), norms[0] / norms[1], 1.0)
        weights.sub_(update, alpha=group["lr"])

    def _adam(self, weights: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        state, (one, two), gradient = self.state[weights], group["betas"], weights.grad
        if not state:
            state.update(step=0, mean=torch.zeros_like(weights), square=torch.zeros_like(weights))
        state["step"] += 1
        mean = state["mean"].lerp_(gradient, 1 - one)
        square = state["square"].mul_(two).addcmul_(gradient, gradient, value=1 - two)
        below = (square / (1 - two ** state["step"])).sqrt_().add_(group["epsilon"])
        return mean / (1 - one ** state["step"]) / below
