"""The views that a method asks for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewWish:
    """A group of views of one kind.

    Attributes:
        count: How many.
        strength: Name of a recipe of the modality: "weak" for masked methods, "strong" for contrastive ones.
        size: Edge in pixels or voxels; None for the size of the run.
    """

    count: int
    strength: str
    size: int | None = None
