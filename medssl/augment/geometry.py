"""All geometry of a view as one matrix and one resampling: crop, zoom, shift, rotation, flips, elastic bending.

Coordinates are normalised: -1 and 1 are the outer edges of the first and last pixel of an axis, in the order of the
spatial axes. For a point x of the view, the point of the image that is read is

    c + s + N^-1 R N diag(e / z) diag(f) x

with c and e the centre and half-extent of the crop box, s the shift, z the zoom, f = +-1 the flips, R the rotation,
and N the sizes of the image in pixels, so that a rotation keeps angles among stored pixels. Outside of the image its
mirror image is read: a constant would show the model where the corners went.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from medssl import settings as base
from medssl.augment.parts import trilinear
from medssl.augment.parts.ranges import PositiveRange, Probability
from medssl.augment.parts.samples import Parameters, tensor
from medssl.chance import Chance
from medssl.errors import SettingsError

_CELLS = 4
_NEAR = 2**16  # pixels at a time that stay in the second cache of a CPU core while they are read


class Settings(base.Settings):
    """From where the geometry of a view is drawn; the defaults are the identity.

    Attributes:
        crop_area: Share of the image's area (volume in 3D) that the crop box covers, in (0, 1].
        crop_aspect: Ratio of the box's extent along each axis to that along the last one, log-uniform. A box that
            would leave the image is cut to it, so large areas become a little smaller.
        zoom: Factor of magnification about the centre of the box, log-uniform; below 1 reads beyond the box.
        shift: Largest shift along each axis, as a share of the image, in [0, 1].
        rotation_degrees: Largest rotation either way, in degrees; in 3D in each of the three planes.
        flip: Probability of a flip along each spatial axis, in their order; empty for none.
        elastic: Standard deviation of the displacement of 4 control points an axis, as a share of the image.
    """

    crop_area: PositiveRange = (1.0, 1.0)
    crop_aspect: PositiveRange = (1.0, 1.0)
    zoom: PositiveRange = (1.0, 1.0)
    shift: float = Field(default=0.0, ge=0, le=1)
    rotation_degrees: float = Field(default=0.0, ge=0, le=180)
    flip: tuple[Probability, ...] = ()
    elastic: float = Field(default=0.0, ge=0, le=0.2)


def sample(chance: Chance, settings: Settings, spatial_dims: int = 2, occupied: np.ndarray | None = None) -> Parameters:
    """Draw the geometry of one view a sample.

    Args:
        chance: One stream a sample.
        settings: From where it is drawn.
        spatial_dims: 2 or 3.
        occupied: (B, D, 2) ends of the part of each image that is more than padding: along each axis a crop box stays
            inside of it, or covers it where the box is the longer one. All of the image when None.

    Returns:
        `center`, `extent` (B, D), `zoom` (B, 1), `shift` (B, D), `rotation_degrees` (B, D(D-1)/2), `flip` (B, D) of
        +-1, and `displacement` (B, D, 4, ...) where `elastic` is above 0.

    Raises:
        SettingsError: `flip` does not name a probability for each axis.
    """
    flip = settings.flip or (0.0,) * spatial_dims
    if len(flip) != spatial_dims:
        raise SettingsError(
            f"`flip` gives {len(flip)} probabilities for {spatial_dims} axes", fix="Give one an axis, rows first"
        )
    center, extent = _box(chance, settings, spatial_dims, occupied)
    planes = spatial_dims * (spatial_dims - 1) // 2
    limit = settings.rotation_degrees
    drawn = {
        "center": center,
        "extent": extent,
        "zoom": np.exp(chance.spawn("zoom").uniform(*_logs(settings.zoom), size=(1,))),
        "shift": chance.spawn("shift").uniform(-settings.shift, settings.shift, (spatial_dims,)),
        "rotation_degrees": chance.spawn("rotation").uniform(-limit, limit, (planes,)),
        "flip": np.where(chance.spawn("flip").uniform(size=(spatial_dims,)) < np.asarray(flip), -1.0, 1.0),
    }
    if settings.elastic > 0:
        points = (spatial_dims, *[_CELLS] * spatial_dims)
        drawn["displacement"] = chance.spawn("elastic").normal(0.0, settings.elastic, points)
    return {name: tensor(values) for name, values in drawn.items()}


def _box(
    chance: Chance, settings: Settings, spatial_dims: int, occupied: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    area = chance.spawn("area").uniform(*settings.crop_area)[:, None]
    ratios = chance.spawn("aspect").uniform(*_logs(settings.crop_aspect), size=(spatial_dims - 1,))
    ratios = np.concatenate([ratios, np.zeros_like(area)], axis=1)
    ratios -= ratios.mean(axis=1, keepdims=True)
    extent = np.minimum(area ** (1 / spatial_dims) * np.exp(ratios), 1.0)
    place = chance.spawn("place").uniform(-1, 1, (spatial_dims,))
    if occupied is None:
        return (1 - extent) * place, extent
    ends = np.sort([occupied[..., 0] + extent, occupied[..., 1] - extent], axis=0)
    low, high = np.clip(ends, extent - 1, 1 - extent)
    return (low + high) / 2 + (high - low) / 2 * place, extent


def _logs(ends: tuple[float, float]) -> tuple[float, float]:
    return math.log(ends[0]), math.log(ends[1])


def matrix(parameters: Parameters, shape: tuple[int, ...]) -> torch.Tensor:
    """Compose the parameters into one matrix from the view to an image of that spatial shape, (B, D, D + 1)."""
    size = torch.tensor(shape, dtype=torch.float64)
    scale = parameters["extent"] / parameters["zoom"] * parameters["flip"]
    rotation = _rotation(parameters["rotation_degrees"], len(shape))
    linear = rotation * (size / size[:, None]) * scale[:, None, :]
    offset = parameters["center"] + 2 * parameters["shift"]
    return torch.cat([linear, offset[:, :, None]], dim=2)


def _rotation(degrees: torch.Tensor, spatial_dims: int) -> torch.Tensor:
    result = torch.eye(spatial_dims, dtype=torch.float64).repeat(len(degrees), 1, 1)
    for plane, (i, j) in enumerate(itertools.combinations(range(spatial_dims), 2)):
        angle = degrees[:, plane] * (math.pi / 180)
        turn = torch.eye(spatial_dims, dtype=torch.float64).repeat(len(degrees), 1, 1)
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, i, j], turn[:, j, i] = -angle.sin(), angle.sin()
        result = result @ turn
    return result


def apply(
    images: torch.Tensor, parameters: Parameters, *, size: tuple[int, ...] | None = None, nearest: bool = False
) -> torch.Tensor:
    """Return the views that the parameters describe.

    A view whose pixels step over two or more of the image's is read from the image averaged by that whole factor, so
    that shrinking does not alias; the factor depends on the sample's own parameters only.

    Args:
        images: (B, C, *spatial) float, or a label map of any integer type with `nearest`.
        parameters: As `sample` draws them.
        size: Spatial size of the views; that of the images when None.
        nearest: Read the nearest pixel, for label maps, and keep their type.

    Returns:
        (B, C, *size). Identity parameters at the same size return every value exactly.
    """
    shape = tuple(images.shape[2:])
    size = size or shape
    to_image = matrix(parameters, shape)
    bend = parameters.get("displacement")
    if nearest:
        return warp(images.float(), to_image, size, bend, nearest=True).to(images.dtype)
    factors = _shrinking(to_image, shape, size)
    untouched = _identity(to_image, bend) & (size == shape)
    groups = torch.where(untouched, 0, factors)
    result: Any = None
    for factor in groups.unique().tolist():
        chosen = (groups == factor).nonzero().flatten()
        some = images if len(chosen) == len(images) else images[chosen.to(images.device)]
        if factor > 1:
            some = F.interpolate(some, [max(1, n // factor) for n in shape], mode="area")
        if factor > 0:
            some = warp(some, to_image[chosen], size, None if bend is None else bend[chosen])
        if len(chosen) == len(images):
            return some
        result = images.new_empty(*images.shape[:2], *size) if result is None else result
        result[chosen.to(images.device)] = some
    return result


def _identity(to_image: torch.Tensor, bend: torch.Tensor | None) -> torch.Tensor:
    spatial_dims = to_image.shape[1]
    same = (to_image == torch.eye(spatial_dims, spatial_dims + 1, dtype=to_image.dtype)).flatten(1).all(1)
    return same if bend is None else same & (bend == 0).flatten(1).all(1)


def _shrinking(to_image: torch.Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    """Return how many pixels of the image a pixel of the view steps over, as a whole factor of at least 1, (B,)."""
    volume = torch.linalg.det(to_image[:, :, :-1]).abs() * (math.prod(shape) / math.prod(size))
    return (volume ** (1 / len(shape)) + 1e-6).floor().clamp(min=1).to(torch.int64)


def grid(to_image: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Return the sampling points of a view for `F.grid_sample`, (B, *size, D), last axis first.

    Equal to `F.affine_grid(..., align_corners=False)` and 20 times as fast on a CPU: sums of broadcast lines.
    """
    return _points(_lines(to_image, size))


def _lines(to_image: torch.Tensor, size: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return two parts of each coordinate, (B, ..., 1) and (B, 1, ..., n), whose sum is its value at every point."""
    spatial_dims = len(size)
    axes = []
    for row in to_image.unbind(1)[::-1]:
        *others, last = (_line(row[:, axis], n, axis, spatial_dims) for axis, n in enumerate(size))
        axes.append((sum(others, row[:, -1].reshape(-1, *[1] * spatial_dims)), last))
    if spatial_dims == 2:  # as complex numbers, since writing every other number costs ten times as much
        start, last = (torch.complex(*parts) for parts in zip(*axes))
        return [(start, last)]
    return axes


def _points(lines: list[tuple[torch.Tensor, torch.Tensor]], few: slice = slice(None)) -> torch.Tensor:
    sums = [start[few] + last[few] for start, last in lines]
    return torch.view_as_real(sums[0]) if sums[0].is_complex() else torch.stack(sums, dim=-1)


def _line(slope: torch.Tensor, n: int, axis: int, spatial_dims: int) -> torch.Tensor:
    """Return slope times the n pixel centres along an axis, (B, 1, ..., n, ..., 1)."""
    centres = (torch.arange(n, dtype=torch.float64) * 2 + 1) / n - 1
    shape = [n if other == axis else 1 for other in range(spatial_dims)]
    return (slope[:, None] * centres.to(slope.device, slope.dtype)).reshape(-1, *shape)


def warp(
    images: torch.Tensor,
    to_image: torch.Tensor,
    size: tuple[int, ...],
    displacement: torch.Tensor | None = None,
    *,
    nearest: bool = False,
) -> torch.Tensor:
    """Resample once: float images (B, C, *spatial), matrix (B, D, D + 1) -> (B, C, *size).

    On a CPU few images at a time, copied so that they lie in its cache with their points: a warp reads an image in odd
    order, which takes twice as long from the third cache. Volumes are read by `parts.trilinear` there.
    """
    if not nearest and trilinear.can_read(images):
        bend = None if displacement is None else _bend(displacement.float(), size)
        return trilinear.read(images, _lines(to_image.cpu().double(), size)[::-1], size, bend)
    lines = _lines(to_image.to(images.device, torch.float32), size)
    mode = "nearest" if nearest else "bilinear"
    result = images.new_empty(*images.shape[:2], *size)
    step = max(1, _NEAR // images[0].numel()) if images.device.type == "cpu" and len(images) else len(images)
    for start in range(0, len(images), step):
        few = slice(start, start + step)
        points = _points(lines, few)
        if displacement is not None:
            points = points + _bend(displacement[few].to(images.device, torch.float32), size)
        near = images[few].clone() if step < len(images) else images
        result[few] = F.grid_sample(near, points, mode=mode, padding_mode="reflection", align_corners=False)
    return result


def _bend(displacement: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Return how far each point is moved, (B, *size, D), last axis first."""
    smooth = {2: "bicubic", 3: "trilinear"}[len(size)]
    return 2 * F.interpolate(displacement, size, mode=smooth, align_corners=True).flip(1).movedim(1, -1)
