"""Views of a batch: a method's wish and a modality's recipes, drawn as parameters and then applied.

Everything is drawn on the CPU from (seed, epoch, content hash, view), so that neither workers nor ranks, neither an
interruption nor the other samples of a batch change what a sample is shown. The parameters are plain tensors: they
can be logged, and `apply_views` makes the same views from them again.
"""

from typing import Any, TypeVar

import torch

from medssl.augment import (
    bias,
    blur,
    colour,
    depth_gain,
    equalise,
    geometry,
    ghosting,
    noise,
    speckle,
    stain,
    standardise,
    tone,
    window,
)
from medssl.batch import Batch
from medssl.chance import Chance, key
from medssl.methods.parts.wish import ViewWish, edges
from medssl.modalities.parts.modality import Modality, ViewRecipe

# The operations after the geometry, in order; each stands in a recipe under the name of its file.
_ON_VALUES = {
    "bias": bias,
    "ghosting": ghosting,
    "stain": stain,
    "colour": colour,
    "window": window,
    "equalise": equalise,
    "tone": tone,
    "depth_gain": depth_gain,
    "blur": blur,
    "speckle": speckle,
    "noise": noise,
}
_LEVELS = {torch.uint8: 255.0, torch.uint16: 65535.0}

_CACHED_PIXELS = 2**20  # 4 MB of float32 for each intermediate image

ViewParameters = dict[str, Any]
_Shown = TypeVar("_Shown", Batch, torch.Tensor)


def make_views(
    batch: Batch,
    wish: list[ViewWish],
    modality: Modality,
    seed: int,
    epoch: int,
    device: torch.device | str = "cpu",
) -> list[torch.Tensor]:
    """Return the views of a batch, in the order of the wish.

    Args:
        batch: Stored images, uint8 or uint16.
        wish: What the method asks for.
        modality: Whose recipes are used.
        seed: The run's seed.
        epoch: From 0.
        device: Where the views are made and left.

    Returns:
        One (B, C, *size) float32 tensor a view, each image of mean 0 and standard deviation 1.

    Raises:
        SettingsError: The modality has no recipe of a strength asked for.
    """
    partner = None if batch.partner is None else batch.partner.image
    return apply_views(batch.image, sample_views(batch, wish, modality, seed, epoch), device, partner)


def sample_views(batch: Batch, wish: list[ViewWish], modality: Modality, seed: int, epoch: int) -> list[ViewParameters]:
    """Draw the parameters of every view of a batch: what `make_views` applies.

    Crop boxes stay where the store found more than padding and air (`Batch.occupied`), so that a volume of few slices
    is not shown by its empty ends. Where the batch has partners, every other view is of them, with parameters that
    still follow from the image itself: two images with one partner get different views of it.

    Returns:
        A view: `strength`, `size` (None: as stored) and, under the name of each operation, its parameters, (B, ...)
        float64 tensors.
    """
    spatial_dims = batch.image.ndim - 2
    wishes = [one for one in wish for _ in range(one.count)]
    views = []
    for number, one in enumerate(wishes):
        recipe = _recipe(modality, one)
        chance = Chance([key(seed, epoch, content, "view", number) for content in batch.content])
        view: ViewParameters = {"strength": one.strength, "size": one.size}
        occupied = _shown(number, batch, batch.partner).occupied
        inside = None if occupied is None else occupied.numpy()
        view["geometry"] = geometry.sample(chance.spawn("geometry"), recipe.geometry, spatial_dims, inside)
        for name, operation in _ON_VALUES.items():
            view[name] = operation.sample(chance.spawn(name), getattr(recipe, name), spatial_dims)
        views.append(view)
    return views


def _shown(number: int, own: _Shown, partner: _Shown | None) -> _Shown:
    """Return what a view is of: its own image, or every other time the partner's where there is one."""
    return own if partner is None or number % 2 == 0 else partner


def _recipe(modality: Modality, wish: ViewWish) -> ViewRecipe:
    recipe = modality.recipe(wish.strength)
    if wish.crop_area is None:
        return recipe
    geometry = recipe.geometry.model_copy(update={"crop_area": wish.crop_area})
    return recipe.model_copy(update={"geometry": geometry})


def apply_views(
    images: torch.Tensor,
    views: list[ViewParameters],
    device: torch.device | str = "cpu",
    partners: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """Return the views that the parameters describe, (B, C, *size) float32 each; nothing is drawn here.

    Args:
        images: Stored images (B, C, *spatial), uint8 or uint16.
        views: As `sample_views` draws them.
        device: Where the views are made and left.
        partners: Stored images of the same shape that every other view is of; None for all of `images`.
    """
    target = torch.device(device)
    return [_one_view(_shown(number, images, partners), view, target) for number, view in enumerate(views)]


def _one_view(images: torch.Tensor, view: ViewParameters, device: torch.device) -> torch.Tensor:
    """Make one view, on a CPU of some images at a time, so that intermediate images stay in its cache."""
    size = _shape(view, images)
    result = torch.empty(*images.shape[:2], *size, device=device)
    step = max(1, _CACHED_PIXELS // images[0].numel()) if device.type == "cpu" else len(images)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        drawn = {name: {key: value[part] for key, value in view[name].items()} for name in ("geometry", *_ON_VALUES)}
        shown = geometry.apply(intensities(images[part], device), drawn["geometry"], size=size)
        for name, operation in _ON_VALUES.items():
            shown = operation.apply(shown, drawn[name])
        standardise.apply(shown, out=result[part])
    return result


def _shape(view: ViewParameters, images: torch.Tensor) -> tuple[int, ...]:
    return edges(view["size"], images.shape[2:])


def apply_to_masks(masks: torch.Tensor, view: ViewParameters) -> torch.Tensor:
    """Return label maps (B, 1, *spatial) warped like the images of that view, by nearest neighbour."""
    return geometry.apply(masks, view["geometry"], size=_shape(view, masks), nearest=True)


def plain_view(
    batch: Batch, modality: Modality, device: torch.device | str = "cpu", size: int | None = None
) -> torch.Tensor:
    """Return the whole stored images without augmentation, for evaluation, (B, C, *size) float32, standardised.

    Args:
        batch: Stored images.
        modality: Whose images they are.
        device: Where the views are made and left.
        size: Pixels along each axis; None for the size of the stored images.
    """
    identity = geometry.sample(Chance([0] * len(batch)), geometry.Settings(), modality.spatial_dims)
    shape = None if size is None else (size,) * modality.spatial_dims
    return standardise.apply(geometry.apply(intensities(batch.image, device), identity, size=shape))


def intensities(images: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return stored images as float32 in [0, 1] on the device; they travel there as integers."""
    levels = _LEVELS.get(images.dtype, 1.0)
    return images.to(device, non_blocking=True).to(torch.float32).div_(levels)
