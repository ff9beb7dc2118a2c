"""Images as sequences of patches and back, for any number of spatial axes."""

import math
from collections.abc import Sequence

import torch

from medssl.errors import SettingsError


def per_axis(value: int | Sequence[int], spatial_dims: int, name: str) -> tuple[int, ...]:
    """Return one number an axis: `16` -> `(16, 16)`.

    Raises:
        SettingsError: A sequence has another length than `spatial_dims`, or a number is below 1.
    """
    values = (value,) * spatial_dims if isinstance(value, int) else tuple(value)
    if len(values) != spatial_dims or min(values, default=0) < 1:
        raise SettingsError(f"Expected {name} as one or {spatial_dims} positive numbers, but got {value}")
    return values


def grid_of(size: Sequence[int], patch: Sequence[int], setting: str = "vit.patch_size") -> tuple[int, ...]:
    """Return the number of patches along each axis.

    Args:
        size: Of the image along each axis.
        patch: Of a patch along each axis.
        setting: The name of what sets the patch, for the message.

    Raises:
        SettingsError: An axis is no multiple of its patch, or there are more or fewer axes.
    """
    if len(size) != len(patch):
        raise SettingsError(f"Expected images (B, C, *spatial) of {len(patch)} spatial axes, but got {len(size)}")
    if any(s % p or s < p for s, p in zip(size, patch, strict=True)):
        image, piece = " x ".join(map(str, size)), " x ".join(map(str, patch))
        raise SettingsError(
            f"Expected an image size that is a multiple of the patch size, but got {image} with patches of {piece}",
            fix=f"Change data.image_size or {setting}",
        )
    return tuple(s // p for s, p in zip(size, patch, strict=True))


def patchify(images: torch.Tensor, patch: Sequence[int]) -> torch.Tensor:
    """Cut images into patches; inside a patch channels run fastest, as in the code of MAE.

    Args:
        images: (B, C, *spatial).
        patch: Size of a patch along each axis, voxels.

    Returns:
        (B, N, prod(patch) * C), patches in C order of the grid.
    """
    batch, channels = images.shape[:2]
    grid = grid_of(images.shape[2:], patch)
    dims = len(grid)
    split = images.reshape(batch, channels, *(n for pair in zip(grid, patch, strict=True) for n in pair))
    order = [0, *(2 + 2 * d for d in range(dims)), *(3 + 2 * d for d in range(dims)), 1]
    return split.permute(order).reshape(batch, math.prod(grid), math.prod(patch) * channels)


def unpatchify(patches: torch.Tensor, grid: Sequence[int], patch: Sequence[int]) -> torch.Tensor:
    """Put patches back together, the inverse of `patchify`: (B, N, prod(patch) * C) -> (B, C, *spatial)."""
    batch, dims = len(patches), len(grid)
    channels = patches.shape[2] // math.prod(patch)
    split = patches.reshape(batch, *grid, *patch, channels)
    order = [0, 2 * dims + 1, *(n for d in range(dims) for n in (1 + d, 1 + dims + d))]
    return split.permute(order).reshape(batch, channels, *(g * p for g, p in zip(grid, patch, strict=True)))
