"""What every backbone answers with, and what backbones of tokens or of stages can do beyond."""

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


class StagedBackbone(Protocol):
    """A convolutional backbone that `OFFERS` "stages": maps at several resolutions, as a U-Net takes them.

    A place of a map depends on its neighbourhood through convolutions, pools, norms, linear layers over channels and
    functions of single values that give 0 for 0, so that `medssl.backbones.parts.sparse` can leave parts of an image
    out. Layers that look at the whole image (attention, squeeze and excitation) have no place in it.

    Attributes:
        width: Length D of the features, the channels of the last stage.
        in_channels: Channels C of the images.
        spatial_dims: Number of spatial axes.
        image_size: Edge of the images that it was built for along each axis.
        stage_widths: Channels of each stage, the finest first.
        stage_strides: Pixels that a place of each stage spans along each axis: rising powers of two.
    """

    width: int
    in_channels: int
    spatial_dims: int
    image_size: tuple[int, ...]
    stage_widths: tuple[int, ...]
    stage_strides: tuple[int, ...]

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return one map a stage, the last being the grid of `forward`: (B, C, *spatial) -> (B, D_s, *grid_s)."""
