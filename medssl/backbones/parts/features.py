"""What every backbone answers with, and what backbones of tokens can do beyond."""

from typing import NamedTuple, Protocol

import torch


class Features(NamedTuple):
    """One vector an image and one vector a place of it.

    Attributes:
        pooled: (B, D), what a probe or a contrastive head sees.
        grid: (B, D, *grid), channels first, in the order of the image's axes.
    """

    pooled: torch.Tensor
    grid: torch.Tensor


class TokenBackbone(Protocol):
    """A backbone that `OFFERS` "tokens": any subset of an image's patches can be encoded.

    Attributes:
        width: Length D of a token.
        depth: Number of blocks.
        in_channels: Channels C of the images.
        patch: Size of a patch along each axis.
        grid: Number of patches along each axis of an image of the size that it was built for.
        prefix_tokens: Number P of tokens, such as the class token, that `encode` puts before the patches.
    """

    width: int
    depth: int
    in_channels: int
    patch: tuple[int, ...]
    grid: tuple[int, ...]
    prefix_tokens: int

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return patch tokens with positions: (B, C, *spatial) -> (B, N, D)."""

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return encoded tokens: (B, V, D) -> (B, P + V, D)."""
