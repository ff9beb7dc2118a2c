"""Every image to mean 0 and standard deviation 1, the last step of every view."""

import math

import torch

_LEAST_STD = 1 / 255


def apply(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return z-scores over channels and space of each image, (B, C, *spatial) -> the same shape.

    The deviation counts as at least one grey level of 255: a nearly constant crop becomes flat, not noise. No
    statistics of a data set are used, so that a new device needs none.

    Args:
        images: Float intensities in [0, 1].
        out: Contiguous memory of the images' shape and type to write to, instead of memory of its own.
    """
    flat = images.flatten(1)
    centred = torch.sub(flat, flat.mean(dim=1, keepdim=True), out=None if out is None else out.view(flat.shape))
    deviation = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / math.sqrt(flat.shape[1])
    return centred.div_(deviation.clamp_(min=_LEAST_STD)).reshape(images.shape)
