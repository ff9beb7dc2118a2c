"""The views that a method asks for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewWish:
    """A group of views of one kind.

    Attributes:
        count: How many.
        strength: Name of a recipe of the modality: "weak" for masked methods, "strong" for contrastive ones.
        size: Edge in pixels or voxels; None for the size of the run.
        crop_area: Share of the image that a view covers, in place of the recipe's.
    """

    count: int
    strength: str
    size: int | None = None
    crop_area: tuple[float, float] | None = None
