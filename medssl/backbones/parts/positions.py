"""Positions of patches: fixed sines and cosines for any grid, and learned ones resized to another grid."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def sincos(grid: Sequence[int], width: int) -> torch.Tensor:
    """Return fixed positions, one vector a patch.

    Every axis gets an equal share of the width, half sines and half cosines of the patch's index times
    10000^(-i / half). As in the code of MAE the last axis comes first: for (rows, columns) the first half of the
    vector tells the column. Where the width is no multiple of twice the number of axes, the rest is zero.

    Vaswani et al. 2017, section 3.5; He et al., "Masked autoencoders are scalable vision learners", 2022.

    Args:
        grid: Number of patches along each axis.
        width: Length D of a token.

    Returns:
        (N, D) float32, patches in C order of the grid.
    """
    return torch.from_numpy(_sincos(tuple(grid), width).copy())


@lru_cache(maxsize=32)
def _sincos(grid: tuple[int, ...], width: int) -> np.ndarray:
    half = width // (2 * len(grid))
    frequency = 10000.0 ** -(np.arange(half) / max(half, 1))
    positions = np.zeros((int(np.prod(grid)), width))
    indices = np.meshgrid(*map(np.arange, grid), indexing="ij")
    for place, index in enumerate(reversed(indices)):
        angle = index.reshape(-1, 1) * frequency  # (N, half)
        start = 2 * half * place
        positions[:, start : start + 2 * half] = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    return positions.astype(np.float32)


class FixedPositions(nn.Module):
    """Sines and cosines of one grid, kept on the device and outside the weights; other grids are made on demand."""

    values: torch.Tensor

    def __init__(self, grid: Sequence[int], width: int) -> None:
        super().__init__()
        self.grid, self.width = tuple(grid), width
        self.register_buffer("values", sincos(grid, width)[None], persistent=False)

    def forward(self, grid: Sequence[int]) -> torch.Tensor:
        """Return positions of a grid, (1, N, D)."""
        if tuple(grid) == self.grid:
            return self.values
        return sincos(grid, self.width)[None].to(self.values)


def resize(positions: torch.Tensor, old: Sequence[int], new: Sequence[int]) -> torch.Tensor:
    """Interpolate learned positions to another grid (bicubic in 2D, trilinear in 3D): (1, N, D) -> (1, N', D)."""
    if tuple(old) == tuple(new):
        return positions
    width = positions.shape[-1]
    image = positions.reshape(1, *old, width).movedim(-1, 1)  # (1, D, *old)
    mode = "bicubic" if len(old) == 2 else "trilinear"
    return F.interpolate(image.float(), size=tuple(new), mode=mode).flatten(2).transpose(1, 2)


def split_positions(
    positions: torch.Tensor, grid: Sequence[int], prefixes: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]] | None:
    """Part the positions of a checkpoint into those of prefix tokens and those of patches.

    Args:
        positions: (1, E + N, D).
        grid: The grid of the backbone, which is tried first; else the patches must form a square or a cube.
        prefixes: Numbers E that are possible, the likeliest first.

    Returns:
        (1, E, D), (1, N, D) and the grid of the N patches; None where nothing fits.
    """
    grids = [(extra, grid) for extra in prefixes] + [
        (extra, (round(max(0, positions.shape[1] - extra) ** (1 / len(grid))),) * len(grid)) for extra in prefixes
    ]
    for extra, sides in grids:
        if positions.shape[1] - extra == int(np.prod(sides)) > 0:
            return positions[:, :extra], positions[:, extra:], tuple(sides)
    return None


def is_sincos(positions: torch.Tensor, grid: Sequence[int]) -> bool:
    """Return whether positions, (1, E + N, D), of this or another, cubic grid are the fixed ones.

    They may have been rounded to 16 bits. Entries for tokens before the patches do not count.
    """
    positions = positions.reshape(1, -1, positions.shape[-1])
    splits = (split_positions(positions, grid, (extra,)) for extra in (0, 1))
    return any(
        torch.allclose(patches[0].float().cpu(), sincos(sides, positions.shape[-1]), atol=1e-2)
        for _, patches, sides in filter(None, splits)
    )
