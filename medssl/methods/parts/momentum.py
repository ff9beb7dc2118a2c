"""A momentum copy: a second network whose weights follow those of the trained one as a moving average.

Tarvainen and Valpola, "Mean teachers are better role models", 2017 (https://arxiv.org/abs/1703.01780); the schedule is
that of Grill et al., "Bootstrap your own latent", 2020 (https://arxiv.org/abs/2006.07733).
"""

import copy
import math

import torch
from torch import nn

_NOISY = ("droppath", "stochasticdepth", "dropout", "dropblock")  # whoever wrote them calls them so
_RATES = ("rate", "drop_prob", "p")  # ours; of MONAI and timm; of torch and torchvision


def momentum_copy(module: nn.Module) -> nn.Module:
    """Return a copy that gets no gradient and leaves out no path or unit, with weights equal to the module's.

    A target should not be noisier than it must. What leaves something out is found by the name of its class.
    """
    result = copy.deepcopy(module).requires_grad_(False)
    for part in result.modules():
        if any(word in type(part).__name__.lower().replace("_", "") for word in _NOISY):
            for rate in (name for name in _RATES if isinstance(getattr(part, name, None), float)):
                setattr(part, rate, 0.0)
    return result


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the copy: each parameter becomes momentum x its own + (1 - momentum) x the student's.

    Buffers (a BatchNorm's running mean and variance) are copied as they are: averaging parameters alone would leave
    the teacher normalising by 0 and 1 when it is evaluated or exported.

    Args:
        teacher: From `momentum_copy`.
        student: The trained module it was copied from.
        momentum: In [0, 1].
    """
    for own, new in zip(teacher.parameters(), student.parameters(), strict=True):
        own.lerp_(new.to(own.dtype), 1 - momentum)
    for kept, current in zip(teacher.buffers(), student.buffers(), strict=True):
        kept.copy_(current)


def rising_momentum(base: float, step: int, total: int) -> float:
    """Return the momentum after a step: 1 - (1 - base) (cos(pi k / K) + 1) / 2, from `base` at k = 0 to 1 at k = K.

    Grill et al. 2020, section 3.2 ("Optimization").

    Args:
        base: The momentum at the start, in [0, 1].
        step: The step just taken, k, from 0.
        total: All steps, K.
    """
    return 1 - (1 - base) * (math.cos(math.pi * step / max(1, total)) + 1) / 2
