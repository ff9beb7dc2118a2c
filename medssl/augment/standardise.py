"""Every image to mean 0 and standard deviation 1, the last step of every view."""

import torch

_LEAST_STD = 1 / 255


def apply(images: torch.Tensor) -> torch.Tensor:
    """Return z-scores over channels and space of each image, (B, C, *spatial) -> the same shape.

    The deviation counts as at least one grey level of 255: a nearly constant crop becomes flat, not noise. No
    statistics of a data set are used, so that a new device needs none.

    Args:
        images: Float intensities in [0, 1].
    """
    flat = images.flatten(1)
    deviation, mean = torch.std_mean(flat, dim=1, correction=0, keepdim=True)
    return ((flat - mean) / deviation.clamp(min=_LEAST_STD)).reshape(images.shape)
