"""Trilinear reading of volumes on a CPU, twice as fast as `F.grid_sample`, which has no vector code in 3D.

The eight neighbours of a point lie at fixed distances from its lowest one, so one index serves eight gathers from the
flat volume shifted by these. Few planes at a time are made, so that indices and weights stay in the core's cache.
"""

import torch

_POINTS = 2**15  # at a time
_MOST_VOXELS = 2**31  # that an index of 32 bits tells apart
Lines = list[tuple[torch.Tensor, torch.Tensor]]


def can_read(images: torch.Tensor) -> bool:
    """Tell whether these are what is read here: float32 volumes on a CPU, (B, C, D, H, W)."""
    kind = images.ndim == 5 and images.device.type == "cpu" and images.dtype == torch.float32
    return kind and 0 < images[0, 0].numel() < _MOST_VOXELS


def read(images: torch.Tensor, lines: Lines, size: tuple[int, ...], bend: torch.Tensor | None = None) -> torch.Tensor:
    """Return volumes read at points, the mirror image beyond the border, as `F.grid_sample` reads them.

    Args:
        images: (B, C, D, H, W) float32.
        lines: For each axis, the first one first, two parts of the normalised coordinate, (B, d, h, 1) and
            (B, 1, 1, w), whose sum is its value at every point; -1 and 1 are the outer edges.
        size: (d, h, w).
        bend: (B, d, h, w, 3) that is added, last axis first, or None.

    Returns:
        (B, C, d, h, w).
    """
    shape = images.shape[2:]
    result = images.new_empty(*images.shape[:2], *size)
    step = max(1, _POINTS // max(1, size[1] * size[2]))
    pixels = [((start + 1) * (n / 2) - 0.5, last * (n / 2)) for (start, last), n in zip(lines, shape, strict=True)]
    for b, volume in enumerate(images):
        for first in range(0, size[0], step):
            few = slice(first, first + step)
            places = [start[b, few].float() + last[b].float() for start, last in pixels]
            if bend is not None:
                places = [p + bend[b, few, ..., 2 - k] * (shape[k] / 2) for k, p in enumerate(places)]
            _read(volume, places, result[b, :, few])
    return result


def _read(volume: torch.Tensor, places: list[torch.Tensor], out: torch.Tensor) -> None:
    """Read a volume (C, D, H, W) at pixel coordinates, three (...), into `out` (C, ...)."""
    shape, steps = volume.shape[1:], (volume.shape[2] * volume.shape[3], volume.shape[3], 1)
    index, weights = None, []
    for place, n, step in zip(places, shape, steps, strict=True):
        inside = _reflected(place, n)
        low = inside.floor().clamp_(max=max(n - 2, 0))
        weights.append(inside.sub_(low).flatten())
        part = low.to(torch.int32).mul_(step)
        index = part if index is None else index.add_(part)
    flat = volume.reshape(len(volume), -1)
    next_ = [0 if n == 1 else step for n, step in zip(shape, steps)]
    for channel, result in zip(flat, out):
        result.copy_(_blended(channel, index.flatten(), next_, weights).view(result.shape))  # type: ignore[union-attr]


def _blended(flat: torch.Tensor, index: torch.Tensor, next_: list[int], weights: list[torch.Tensor]) -> torch.Tensor:
    """Blend the two neighbours along the first axis that is left, each of them blended along the others."""
    if not next_:
        return flat.index_select(0, index)
    lower = _blended(flat, index, next_[1:], weights[1:])
    upper = _blended(flat[next_[0] :], index, next_[1:], weights[1:])
    return lower.lerp_(upper, weights[0])


def _reflected(place: torch.Tensor, n: int) -> torch.Tensor:
    """Return pixel coordinates mirrored at the outer edges of the first and last pixel, within their centres."""
    low, high = place.aminmax()
    if low >= 0 and high <= n - 1:
        return place
    around = (place + 0.5).abs_()
    if high >= 2 * n - 0.5 or low <= -2 * n - 0.5:
        around.sub_(around.div(2 * n).floor_().mul_(2 * n))
    return around.sub_(n).abs_().neg_().add_(n - 0.5).clamp_(0, n - 1)
