"""The views that a method asks for."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ViewWish:
    """A group of views of one kind.

    Attributes:
        count: How many.
        strength: Name of a recipe of the modality: "weak" for masked methods, "strong" for contrastive ones.
        size: Edge in pixels or voxels, one number or one an axis; None for the size of the run.
        crop_area: Share of the image that a view covers, in place of the recipe's.
    """

    count: int
    strength: str
    size: int | tuple[int, ...] | None = None
    crop_area: tuple[float, float] | None = None


def edges(size: int | tuple[int, ...] | None, image: Sequence[int]) -> tuple[int, ...]:
    """Return the edge of a view along each axis: `ViewWish.size` for images of the run's size (*spatial)."""
    if size is None:
        return tuple(image)
    return (size,) * len(image) if isinstance(size, int) else size
