"""Which tokens a method shows and which it hides."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from medssl.backbones.parts.patches import grid_of
from medssl.chance import Chance
from medssl.errors import SettingsError


class TokenSplit(NamedTuple):
    """Two groups of tokens of every sample, by index.

    Attributes:
        visible: (B, V) integers.
        masked: (B, M) integers; together with `visible` every token once.
    """

    visible: torch.Tensor
    masked: torch.Tensor


def random_split(chance: Chance, tokens: int, mask_ratio: float) -> TokenSplit:
    """Hide a random share of the tokens of each sample, the same number in all.

    The tokens are shuffled by sorting uniform noise and the first int(N (1 - mask_ratio)) stay visible
    (He et al. 2022, section 3, "simple implementation").

    Args:
        chance: One row a sample.
        tokens: Number N of tokens.
        mask_ratio: Share of hidden tokens, in (0, 1).

    Returns:
        Indices on the CPU, (B, V) and (B, N - V).

    Raises:
        SettingsError: No token would stay visible, or none would be hidden.
    """
    visible = int(tokens * (1 - mask_ratio))
    if not 0 < visible < tokens:
        raise SettingsError(
            f"mask_ratio {mask_ratio} leaves {visible} of {tokens} patches visible",
            fix="Choose another mask_ratio, a larger image or a smaller patch",
        )
    order = torch.from_numpy(chance.permutation(tokens))
    return TokenSplit(order[:, :visible], order[:, visible:])


def split_of(
    view: torch.Tensor, patch: Sequence[int], mask_ratio: float, chance: Chance, setting: str = "vit.patch_size"
) -> TokenSplit:
    """Draw which patches of a view are hidden, on its device.

    Args:
        view: (B, C, *spatial).
        patch: Size of a patch along each axis.
        mask_ratio: As for `random_split`.
        chance: One row a sample.
        setting: What names the patch, for the message.

    Raises:
        SettingsError: The image is no multiple of the patch, or no patch would stay visible.
    """
    split = random_split(chance, math.prod(grid_of(view.shape[2:], patch, setting)), mask_ratio)
    return TokenSplit(*(index.to(view.device, non_blocking=True) for index in split))


def take(tokens: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Pick tokens by index: (B, N, D) and (B, V) -> (B, V, D)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
