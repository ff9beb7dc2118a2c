"""A convolutional backbone that sees parts of an image only, as a submanifold sparse convolution would.

Where a block of the image is hidden, every layer puts zeros at its place again, and every norm counts visible places
alone. So the shape of the mask does not wear off from layer to layer, and statistics are those of what is seen. The
backbone stays the dense one that it is: its layers heed the mask inside `with sparse(...)`, and nothing is left behind.

Tian, Jiang, Diao, Lin, Wang, Yuan, "Designing BERT for convolutional networks: sparse and hierarchical masked
modeling", 2023 (https://arxiv.org/abs/2301.03580), section 3.1; Graham and van der Maaten, "Submanifold sparse
convolutional networks", 2017 (https://arxiv.org/abs/1706.01307). The work is that of the dense backbone.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from medssl.errors import SettingsError

_Layer = Callable[[nn.Module, "Visible", torch.Tensor], torch.Tensor]
_POOL: dict[int, Callable[..., torch.Tensor]] = {2: F.max_pool2d, 3: F.max_pool3d}


class Visible:
    """Which blocks of the images of a batch are seen, at the resolution of any layer."""

    def __init__(self, blocks: torch.Tensor, size: Sequence[int]) -> None:
        """Take the mask.

        Args:
            blocks: (B, *grid) booleans, true where a block is seen.
            size: Size of the images along each axis, a multiple of the grid.
        """
        self.size = tuple(size)
        pixels = blocks.unsqueeze(1).float()
        for axis, (edge, count) in enumerate(zip(size, blocks.shape[1:], strict=True), start=2):
            pixels = pixels.repeat_interleave(edge // count, axis)
        self._pixels = pixels  # (B, 1, *size)
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}
        self._rows: dict[tuple[int, ...], torch.Tensor] = {}

    def at(self, size: Sequence[int]) -> torch.Tensor:
        """Return where a map of some size is visible, (B, 1, *size) booleans.

        A place of a map spans a power of two of pixels along each axis; it is visible where any of them is. With blocks
        as large as it or larger all of them are, or none.

        Raises:
            SettingsError: No power of two leads from the images to maps of that size.
        """
        size = tuple(size)
        if size not in self._masks:
            strides = [_stride(whole, part) for whole, part in zip(self.size, size, strict=True)]
            self._masks[size] = _POOL[len(size)](self._pixels, strides, strides, ceil_mode=True) > 0
        return self._masks[size]

    def rows(self, size: Sequence[int]) -> torch.Tensor:
        """Return the indices of all visible places among the places of all maps in C order, (n,)."""
        size = tuple(size)
        if size not in self._rows:
            self._rows[size] = self.at(size).flatten().nonzero().squeeze(1)
        return self._rows[size]


def _stride(whole: int, part: int) -> int:
    for stride in (2**i for i in range(whole.bit_length() + 1)):
        if -(-whole // stride) == part:
            return stride
    raise SettingsError(
        f"A layer makes {part} places of {whole} pixels, no halving of them: parts of an image cannot be hidden",
        fix="Choose another backbone, such as resnet18",
    )


@contextlib.contextmanager
def sparse(visible: Visible, *modules: nn.Module) -> Iterator[None]:
    """Let all layers below some modules see visible places only, inside the block.

    Raises:
        SettingsError: (inside the block) A layer that mixes distant places is reached, or one whose maps are no
            halvings of the image.
    """
    layers = [(layer, heed) for module in modules for layer in module.modules() if (heed := _heeding(layer))]
    try:
        for layer, heed in layers:
            layer.forward = functools.partial(heed, layer, visible)
        yield
    finally:
        for layer, _ in layers:
            layer.__dict__.pop("forward", None)


def _heeding(layer: nn.Module) -> _Layer | None:
    return next((heed for kinds, heed in _LAYERS if isinstance(layer, kinds)), None)


def _plain(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return type(layer).forward(layer, x)


def _local(layer: nn.Module, visible: Visible, x: torch.Tensor) -> torch.Tensor:
    """Convolve or pool, and put zeros at hidden places; what is read there is zero already."""
    result = _plain(layer, x)
    return result.mul_(visible.at(result.shape[2:]))


def _batch_norm(layer: nn.Module, visible: Visible, x: torch.Tensor) -> torch.Tensor:
    """Normalise visible places as so many images of one place; whatever the layer does over processes, it does."""
    size, dims = x.shape[2:], x.ndim - 2
    every = x.movedim(1, -1).flatten(0, -2)  # (B * places, C)
    index = visible.rows(size)
    seen = _plain(layer, every.index_select(0, index).reshape(len(index), -1, *[1] * dims)).flatten(1)
    result = seen.new_zeros(every.shape).index_copy(0, index, seen).unflatten(0, (len(x), *size)).movedim(-1, 1)
    return result.contiguous() if x.is_contiguous() else result  # 3D convolutions are slower with channels last


def _group_norm(layer: nn.Module, visible: Visible, x: torch.Tensor) -> torch.Tensor:
    """Normalise each image's groups of channels, or each channel, by mean and variance of its visible places."""
    if getattr(layer, "track_running_stats", False):
        raise SettingsError("An instance norm with running statistics cannot leave places out")
    mask = visible.at(x.shape[2:])
    values = (x if x.dtype == torch.float64 else x.float()).unflatten(1, (getattr(layer, "num_groups", x.shape[1]), -1))
    inside = mask.unsqueeze(2)  # (B, 1, 1, *size)
    axes = list(range(2, values.ndim))
    count = inside.sum(axes, keepdim=True) * values.shape[2]
    mean = (values * inside).sum(axes, keepdim=True) / count
    centred = (values - mean) * inside
    deviation = (centred.square().sum(axes, keepdim=True) / count + layer.eps).sqrt()
    result = (centred / deviation).flatten(1, 2)
    if layer.weight is not None:
        shape = [1, -1, *[1] * (x.ndim - 2)]
        weight, bias = cast(torch.Tensor, layer.weight), cast(torch.Tensor, layer.bias)
        result = result * weight.view(shape) + bias.view(shape) * mask
    return result.to(x.dtype)


def _over_channels(layer: nn.Module, visible: Visible, x: torch.Tensor) -> torch.Tensor:
    """Apply a layer to the channels of each place, last or first, and put zeros at hidden places."""
    if x.ndim != len(visible.size) + 2:
        _refused(layer)
    result = _plain(layer, x)
    last = True
    if isinstance(layer, nn.LayerNorm) and type(layer).forward is not nn.LayerNorm.forward:
        last = x.shape[1] != layer.normalized_shape[0]
    mask = visible.at(result.shape[1:-1] if last else result.shape[2:])
    return result * (mask.movedim(1, -1) if last else mask)


def _refused(layer: nn.Module, *_: object) -> torch.Tensor:
    raise SettingsError(
        f"A layer of kind {type(layer).__name__} mixes distant places: parts of an image cannot be hidden from it",
        fix="Choose another backbone, such as resnet18",
    )


_LAYERS: list[tuple[tuple[type, ...], _Layer]] = [
    ((nn.Conv2d, nn.Conv3d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d), _local),
    ((_BatchNorm,), _batch_norm),
    ((nn.GroupNorm, _InstanceNorm), _group_norm),
    ((nn.LayerNorm, nn.Linear), _over_channels),
    ((nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), _refused),
    ((nn.Upsample, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.LocalResponseNorm, nn.MultiheadAttention), _refused),
]
