"""MONAI transforms by name, done to an image once before it is stored: orientation, spacing, window, crop, filters.

A list such as

    - {name: Orientation, axcodes: RAS}
    - {name: Spacing, pixdim: [2.0, 1.0, 1.0]}
    - {name: ScaleIntensityRange, a_min: -100, a_max: 300, b_min: 0, b_max: 1, clip: true}

names array transforms (not those of dictionaries) with their arguments. Axes are in the order of our images, slices
first, and the affine is passed with them, so that orientation and spacing mean what they mean in MONAI. Chance stays
with the views, which are drawn anew in every epoch: random transforms are refused. What brings intensities onto
another scale ends in 0 to 1, which is stored as it is instead of through the modality's window (`units` says so).
"""

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from medssl.data.image import Image
from medssl.errors import DataError, SettingsError, unknown_name

SHARE = "share of full intensity"
"""The units of an image whose 0 is stored as 0 and whose 1 as full intensity."""

_WHERE = "data.transforms"
_SHAPES = ("monai.transforms.spatial.array", "monai.transforms.croppad.array")
_VALUES = ("monai.transforms.intensity.array",)
# These give something else than an image, or need one that a list of plain values cannot name.
_NO_IMAGE = {
    "AffineGrid", "BoundingRect", "ComputeHoVerMaps", "ConvertBoxToPoints", "ConvertPointsToBoxes", "GridPatch",
    "GridSplit", "MaskIntensity", "Resample", "ResampleToMatch",
}  # fmt: skip
_SAME_SCALE = {
    "ClipIntensityPercentiles", "GaussianSharpen", "GaussianSmooth", "GibbsNoise", "KSpaceSpikeNoise", "MedianSmooth",
    "SavitzkyGolaySmooth", "ThresholdIntensity",
}  # fmt: skip
_NEEDS_AFFINE, _NEEDS_SPACING = {"Orientation"}, {"Spacing", "SpatialResample"}
_TRIED = 32  # pixels along each side of what a transform is tried on
_SLACK = 1e-3  # beyond 0 and 1, by which interpolation may leave them

Listed = Sequence[Mapping[str, Any]]


def check(transforms: Listed, spatial_dims: int | None = None) -> None:
    """Refuse a list that cannot be applied, before work begins.

    Args:
        transforms: `{"name": ..., argument: value, ...}` each.
        spatial_dims: 2 or 3, of the images; not looked at when None.

    Raises:
        SettingsError: A name is unknown (with the nearest), a transform draws at random, is one of dictionaries, or
            does not make an image of an image; an argument is unknown or cannot be used.
    """
    for place, entry in enumerate(transforms):
        where = f"{_WHERE}[{place}]"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise SettingsError(
                f"Expected a transform with its name, but got {entry!r}",
                where=where,
                fix="Write {name: ScaleIntensityRange, a_min: -100, ...}",
            )
        if spatial_dims == 2 and entry["name"] in _NEEDS_AFFINE:
            raise SettingsError(f"{entry['name']} is for volumes, and these images are planes", where=where)
        _try_out(_built(entry, where), entry["name"], spatial_dims or 3, where)


def _try_out(transform: Any, name: str, dims: int, where: str) -> None:
    """Apply a transform to a small ramp, since many look at their arguments no sooner.

    Padding by a mirror image fails on small images alone, so of what pads only wrong types are told.
    """
    from monai.data.meta_tensor import MetaTensor

    ramp = torch.linspace(0, 1, _TRIED**dims).reshape(1, *[_TRIED] * dims)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transform(MetaTensor(ramp, affine=torch.eye(dims + 1, dtype=torch.float64)))
    except Exception as error:
        if "Pad" in name and not isinstance(error, TypeError):
            return
        text = " ".join(str(error).split())
        raise SettingsError(f"{name} cannot be applied with these arguments: {text}", where=where) from error


def apply(image: Image, transforms: Listed) -> Image:
    """Return an image after a list of transforms, with the spacing and affine that they gave it.

    Integers stay integers of their type, rounded, unless a transform brings them onto another scale, where padding is
    told apart no more: it went through the list as air.

    Raises:
        DataError: Orientation or spacing is asked for and unknown, a transform fails, its result is no image, or a
            list that changes the scale does not end in 0 to 1.
    """
    from monai.data.meta_tensor import MetaTensor

    before = _affine(image)
    tensor: Any = MetaTensor(torch.from_numpy(image.array.astype(np.float32)), affine=torch.from_numpy(before))
    for entry in transforms:
        tensor = _applied(tensor, entry, image)
    values = np.ascontiguousarray(torch.as_tensor(tensor.as_tensor()).numpy())
    after = tensor.affine.numpy().astype(np.float64)
    rescaled = rescales(transforms)
    return replace(
        image,
        array=_share(values) if rescaled else _typed(values, image.array.dtype),
        units=SHARE if rescaled else image.units,
        padding=None if rescaled else image.padding,
        spacing_mm=_spacing(image, before, after),
        affine=None if image.affine is None else after,
        provenance={**image.provenance, "transforms": [entry["name"] for entry in transforms]},
    )


def rescales(transforms: Listed) -> bool:
    """Return whether a list brings intensities onto another scale."""
    return any(_changes_scale(entry["name"]) for entry in transforms)


def _built(entry: Mapping[str, Any], where: str) -> Any:
    """Return the transform that an entry names.

    Raises:
        SettingsError: There is none, or it cannot be used here.
    """
    name, given = entry["name"], {key: value for key, value in entry.items() if key != "name"}
    kind = _kind(name, where)
    known = [one for one in inspect.signature(kind).parameters if one not in ("args", "kwargs", "lazy")]
    wrong = next((one for one in given if one not in known), None)
    if wrong is not None:
        raise unknown_name(f"argument of {name}", wrong, known, where=where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind(**given)
    except Exception as error:
        text = " ".join(str(error).split()).replace(f"{kind.__name__}.__init__() ", "")
        raise SettingsError(
            f"{name} cannot be made of {given}: {text}", where=where, fix=f"Its arguments: {', '.join(known)}"
        ) from error


def _kind(name: str, where: str) -> Any:
    import monai.transforms as monai
    from monai.transforms import MapTransform, Randomizable, Transform

    kind = getattr(monai, name, None)
    allowed = _allowed()
    if name in allowed:
        return kind
    if inspect.isclass(kind) and issubclass(kind, Randomizable):
        raise SettingsError(
            f"{name} draws at random, and what is stored is stored once",
            where=where,
            fix="Chance belongs to the views, drawn anew in every epoch: set augment.* instead",
        )
    if inspect.isclass(kind) and issubclass(kind, MapTransform):
        plain = name.removesuffix("ict").rstrip("dD")
        fix = f"Write {plain}, without keys" if plain in allowed else "Name a transform of arrays"
        raise SettingsError(f"{name} is a transform of dictionaries", where=where, fix=fix)
    if inspect.isclass(kind) and issubclass(kind, Transform):
        raise SettingsError(
            f"{name} does not prepare an image", where=where, fix=f"Can stand here: {', '.join(sorted(allowed))}"
        )
    near = difflib.get_close_matches(str(name), sorted(allowed), n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(sorted(allowed))}"
    raise SettingsError(f"MONAI has no transform '{name}'", where=where, fix=hint)


@cache
def _allowed() -> frozenset[str]:
    import monai.transforms as monai

    return frozenset(one for one in dir(monai) if _is_allowed(getattr(monai, one)))


def _is_allowed(kind: Any) -> bool:
    from monai.transforms import MapTransform, Randomizable, Transform

    return (
        inspect.isclass(kind)
        and issubclass(kind, Transform)
        and not issubclass(kind, (MapTransform, Randomizable))
        and kind.__module__ in _SHAPES + _VALUES
        and kind.__name__ not in _NO_IMAGE
    )


def _changes_scale(name: str) -> bool:
    import monai.transforms as monai

    return getattr(monai, name).__module__ in _VALUES and name not in _SAME_SCALE


def _applied(tensor: Any, entry: Mapping[str, Any], image: Image) -> Any:
    name = entry["name"]
    if name in _NEEDS_AFFINE and image.affine is None:
        raise DataError(f"{name} needs to know how the patient lay, and this image does not say")
    if name in _NEEDS_SPACING and not _knows_spacing(image):
        raise DataError(f"{name} needs the spacing along every axis, and that of this image is unknown")
    dims = tensor.ndim
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = _built(entry, _WHERE)(tensor)
    except Exception as error:
        raise DataError(f"MONAI's {name} cannot be applied: {' '.join(str(error).split())}") from error
    if not isinstance(result, torch.Tensor) or result.ndim != dims or result.numel() == 0:
        shape = tuple(result.shape) if hasattr(result, "shape") else type(result).__name__
        raise DataError(f"MONAI's {name} made no image of this one, but {shape}")
    if not bool(torch.isfinite(result).all()):
        raise DataError(f"MONAI's {name} made values that are not finite (NaN or infinity)")
    return result


def _knows_spacing(image: Image) -> bool:
    return image.affine is not None or (image.spacing_mm is not None and bool(np.isfinite(image.spacing_mm).all()))


def _affine(image: Image) -> np.ndarray:
    """Return an affine for MONAI: that of the image, or its spacing alone, with 1 where that is unknown."""
    if image.affine is not None:
        return np.array(image.affine, dtype=np.float64)
    spacing = np.nan_to_num(image.spacing_mm or (np.nan,) * image.spatial_dims, nan=1.0)
    return np.diag([*spacing, 1.0])


def _spacing(image: Image, before: np.ndarray, after: np.ndarray) -> tuple[float, ...] | None:
    """Return the spacing along the new axes; one that draws on an unknown axis stays unknown."""
    dims = image.spatial_dims
    if image.affine is not None:
        return tuple(float(mm) for mm in np.linalg.norm(after[:dims, :dims], axis=0))
    if image.spacing_mm is None:
        return None
    steps = np.linalg.solve(before[:dims, :dims], after[:dims, :dims])  # old pixels a new one steps over
    parts = np.where(np.abs(steps) > 1e-6, np.asarray(image.spacing_mm)[:, None] * steps, 0.0)
    return tuple(float(mm) for mm in np.linalg.norm(parts, axis=0))


def _typed(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if not np.issubdtype(dtype, np.integer):
        return values.astype(np.float32)
    limits = np.iinfo(dtype)
    return np.rint(values.astype(np.float64)).clip(limits.min, limits.max).astype(dtype)


def _share(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if low < -_SLACK or high > 1 + _SLACK:
        raise DataError(
            f"After the MONAI transforms values run from {low:.4g} to {high:.4g}, and 0 to 1 can be stored",
            fix="End the list with {name: ScaleIntensityRange, ..., b_min: 0, b_max: 1, clip: true} or ScaleIntensity",
        )
    return values.astype(np.float32).clip(0, 1)
