"""Which patches I-JEPA predicts, and from which: boxes in the grid of patches."""

import math
from typing import NamedTuple

import numpy as np
import torch

from medssl.chance import Chance
from medssl.errors import SettingsError

_TRIES = 100  # one in a few draws is refused with the default sizes


class Blocks(NamedTuple):
    """Patches of every sample, by index.

    Attributes:
        context: (B, C) integers, in no order.
        targets: (B, T, M) integers, M patches of each of T boxes, in C order of the box.
    """

    context: torch.Tensor
    targets: torch.Tensor


def box_of(chance: Chance, grid: tuple[int, ...], scale: tuple[float, float], aspect: tuple[float, float]) -> list[int]:
    """Draw the size of a box, in patches along each axis, from the first row of a generator.

    A share s of the grid is drawn from `scale`, and for every axis but the last its ratio a to the last one from
    `aspect`. In 2D that is height sqrt(s N a) and width sqrt(s N / a), as Assran et al. 2023 have it, on a square
    grid; on others the ratio is taken of the shares of the axes. A box has one patch at least.
    """
    share = chance.uniform(*scale)[0]
    ratios = [*np.log(chance.uniform(*aspect, size=(len(grid) - 1,))[0]), 0.0]
    edges = share ** (1 / len(grid)) * np.exp(np.array(ratios) - np.mean(ratios))
    return [int(min(n, max(1, round(n * edge)))) for n, edge in zip(grid, edges, strict=True)]


def draw_blocks(
    chance: Chance, grid: tuple[int, ...], target: list[int], context: list[int], *, count: int, keep: int
) -> Blocks:
    """Place the boxes of every sample, and take from the context what a target covers.

    Contexts are of one length so that they form a batch. The authors cut them to the shortest of the batch in raster
    order, which takes the last rows from all others, and makes an image's context a matter of its neighbours in the
    batch. Here `keep` patches are chosen at random from the context that no target covers; where there are fewer,
    patches outside the context's box, which no target covers either, fill up.

    Args:
        chance: One row a sample.
        grid: Patches along each axis, N in all.
        target: Size of a target box.
        context: Size of the context's box.
        count: Target boxes T.
        keep: Patches C of a context.

    Raises:
        SettingsError: The targets leave fewer patches than `keep`.
    """
    total, rows = math.prod(grid), np.arange(len(chance))
    boxes = _leaving(chance.spawn("targets"), grid, target, count, keep)  # (B, T, M)
    window = _place(chance.spawn("context"), grid, context, 1)[:, 0]  # (B, M')
    order = 1 + chance.spawn("order").uniform(size=(total,))  # the lowest are taken first
    order[rows[:, None], window] -= 1
    order[rows[:, None], boxes.reshape(len(chance), -1)] = 3
    chosen = np.argsort(order, axis=1, kind="stable")[:, :keep]
    return Blocks(torch.from_numpy(chosen), torch.from_numpy(boxes))


def _leaving(chance: Chance, grid: tuple[int, ...], box: list[int], count: int, keep: int) -> np.ndarray:
    """Return target boxes of every sample, drawn again where they would leave fewer than `keep` patches."""
    boxes = _place(chance, grid, box, count)
    for _ in range(_TRIES):
        poor = np.array([math.prod(grid) - len(np.unique(drawn)) < keep for drawn in boxes])
        if not poor.any():
            return boxes
        boxes = np.where(poor[:, None, None], _place(chance, grid, box, count), boxes)
    raise SettingsError(
        f"{count} targets of {' x '.join(map(str, box))} patches leave too few of {math.prod(grid)} for a context",
        fix="Lower ijepa.target_scale or ijepa.context_keep, or use smaller patches",
    )


def _place(chance: Chance, grid: tuple[int, ...], box: list[int], count: int) -> np.ndarray:
    """Return the patches of boxes of one size at random places, (B, count, patches of a box)."""
    free = np.array([n - b + 1 for n, b in zip(grid, box, strict=True)])
    corner = np.floor(chance.uniform(size=(count, len(grid))) * free).astype(np.int64)  # (B, count, D)
    strides = np.array([math.prod(grid[d + 1 :]) for d in range(len(grid))])
    within = np.indices(box).reshape(len(grid), -1)  # (D, M)
    return (corner @ strides)[..., None] + strides @ within
