"""Small views beside the large ones (multi-crop)."""

from torch import nn

from medssl.methods.parts.wish import ViewWish

_AREA = (0.05, 0.4)
_SIDE = 96 / 224
_STEP = 8  # of backbones without patches; an axis too short for it is not rounded


def local_crops(backbone: nn.Module, count: int, strength: str) -> list[ViewWish]:
    """Return the wish for local views: 5 to 40 % of the image at three sevenths of its side (96 of 224 pixels).

    Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", 2020
    (https://arxiv.org/abs/2006.09882), with the areas of DINO. Each side is that of its own axis, so that a volume of
    few slices has local views of its shape, and rounded to whole patches, of which it has one at least.

    Args:
        backbone: Says the size of the images, and of its patches where it has them.
        count: How many; none gives an empty list.
        strength: Of the modality's views.
    """
    if not count:
        return []
    image: tuple[int, ...] = backbone.image_size  # type: ignore[assignment]
    patch = getattr(backbone, "patch", None) or [_STEP if edge * _SIDE >= _STEP else 1 for edge in image]
    size = tuple(max(1, round(_SIDE * edge / piece)) * piece for edge, piece in zip(image, patch, strict=True))
    return [ViewWish(count, strength, size=size, crop_area=_AREA)]
