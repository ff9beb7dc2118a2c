"""The precision in which a loss is taken."""

import torch


def wide(x: torch.Tensor) -> torch.Tensor:
    """Return values in float32 at least: half precision is widened, float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
