"""Small views beside the large ones (multi-crop)."""

from torch import nn

from medssl.methods.parts.wish import ViewWish

_AREA = (0.05, 0.4)
_SIDE = 96 / 224


def local_crops(backbone: nn.Module, count: int, strength: str) -> list[ViewWish]:
    """Return the wish for local views: 5 to 40 % of the image at three sevenths of its side (96 of 224 pixels).

    Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", 2020
    (https://arxiv.org/abs/2006.09882), with the areas of DINO. The side is rounded to whole patches.

    Args:
        backbone: Says the size of the images, and of its patches where it has them.
        count: How many; none gives an empty list.
        strength: Of the modality's views.
    """
    if not count:
        return []
    patch = max(getattr(backbone, "patch", (8,)))
    sizes: tuple[int, ...] = backbone.image_size  # type: ignore[assignment]
    side = min(sizes)
    return [ViewWish(count, strength, size=max(1, round(_SIDE * side / patch)) * patch, crop_area=_AREA)]
