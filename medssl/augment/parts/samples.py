"""Per-sample numbers against images: broadcasting, and changing only some samples of a batch."""

from collections.abc import Callable

import numpy as np
import torch

from medssl.errors import SettingsError

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


def need_three_channels(images: torch.Tensor, operation: str) -> None:
    """Refuse images without colour, (B, C, *spatial), before their colours are changed.

    Raises:
        SettingsError: C is not 3.
    """
    if images.shape[1] != 3:
        raise SettingsError(
            f"`{operation}` changes colours, but these images have {images.shape[1]} channels, not 3",
            where=f"augment.{operation}",
            fix="Leave it out for this modality",
        )
