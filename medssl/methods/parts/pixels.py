"""Predicting the pixels of hidden patches: the loss of masked methods, and how predictions are shown."""

from collections.abc import Sequence

import torch

from medssl.backbones.parts.patches import grid_of, patchify, unpatchify
from medssl.methods.parts.precision import wide
from medssl.methods.parts.token_masks import TokenSplit, take

_EPSILON = 1e-6  # added to the variance of a patch, as in the code of MAE and of SparK


def pixel_loss(prediction: torch.Tensor, target: torch.Tensor, *, normalise: bool) -> torch.Tensor:
    """Return the mean squared error of the pixels of hidden patches.

    Args:
        prediction: (B, M, values), M patches an image.
        target: Their pixels, of that shape, in float32 at least.
        normalise: Whether the target is each patch less its mean, over its standard deviation (He et al. 2022,
            section 3, "reconstruction target").
    """
    mean, deviation = _scale(target, normalise)
    return (wide(prediction) - (target - mean) / deviation).square().mean()


def hidden_loss(
    view: torch.Tensor, patch: Sequence[int], split: TokenSplit, prediction: torch.Tensor, *, normalise: bool
) -> torch.Tensor:
    """Return `pixel_loss` of a prediction of the hidden patches of a view; arguments as `pictures` has them."""
    return pixel_loss(prediction, wide(take(patchify(view, patch), split.masked)), normalise=normalise)


def pictures(
    view: torch.Tensor, patch: Sequence[int], split: TokenSplit, prediction: torch.Tensor, *, normalise: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the masked view and its reconstruction, in the scale of the view's pixels.

    A model of normalised patches predicts them so. To show them, each gets back the true mean and standard deviation
    of its pixels, which the model never predicted: brightness and contrast of a patch are given, its structure is what
    was learnt. Visible patches are shown as they are.

    Args:
        view: (B, C, *spatial).
        patch: Size of a patch along each axis.
        split: Which patches are hidden.
        prediction: (B, M, values), of the hidden ones.
        normalise: Whether they are normalised.

    Returns:
        Two tensors, (B, C, *spatial); in the first, hidden patches have the mean of the visible ones.
    """
    pixels, grid = patchify(view, patch).float(), grid_of(view.shape[2:], patch)
    mean, deviation = _scale(take(pixels, split.masked), normalise)
    prediction = prediction.float() * deviation + mean
    blank = take(pixels, split.visible).mean(dim=(1, 2), keepdim=True).expand_as(prediction)
    index = split.masked.unsqueeze(-1).expand_as(prediction)
    masked, whole = pixels.scatter(1, index, blank), pixels.scatter(1, index, prediction)
    return unpatchify(masked, grid, patch), unpatchify(whole, grid, patch)


def _scale(patches: torch.Tensor, normalise: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and standard deviation that patches are normalised by, (B, M, values) -> (B, M, 1) each."""
    if not normalise:
        return patches.new_zeros(1, 1, 1), patches.new_ones(1, 1, 1)
    variance = patches.var(dim=2, keepdim=True)
    return patches.mean(dim=2, keepdim=True), (variance + _EPSILON).sqrt()
