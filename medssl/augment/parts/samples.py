"""Per-sample numbers against images: broadcasting, and changing only some samples of a batch."""

from collections.abc import Callable

import numpy as np
import torch

Parameters = dict[str, torch.Tensor]


def tensor(values: np.ndarray) -> torch.Tensor:
    """Return drawn numbers as a float64 tensor on the CPU, which is how parameters are kept."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


def beside(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return (B,) numbers as (B, 1, ...) of the images' type and device, ready to broadcast over them."""
    return values.to(images.device, images.dtype).reshape(-1, *[1] * (images.ndim - 1))


def change_some(
    images: torch.Tensor, chosen: torch.Tensor, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return the images with `change` applied to the chosen samples only; the others keep every bit.

    Args:
        images: (B, C, *spatial).
        chosen: (B,) booleans on the CPU.
        change: Called with the chosen images and their positions in the batch.
    """
    if bool(chosen.all()):
        return change(images, torch.arange(len(images)))
    where = chosen.nonzero().flatten()
    if len(where) == 0:
        return images
    result = images.clone()
    at = where.to(images.device)
    result[at] = change(images[at], where)
    return result
