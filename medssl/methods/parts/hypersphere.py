"""How unit vectors lie: pairs near each other, and all of them evenly spread.

Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity on the hypersphere",
ICML 2020 (https://arxiv.org/abs/2005.10242).
"""

import math

import torch


def alignment(similarity: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance of positive pairs, from their cosines (N,): 0 where they are one, at most 4."""
    return (2 - 2 * similarity).mean()


def uniformity(similarity: torch.Tensor) -> torch.Tensor:
    """Return log mean exp(-2 d^2) over pairs of different images, from their cosines.

    Args:
        similarity: (N, N) cosines of one view of N images, N at least 2.

    Returns:
        A scalar: 0 where all images are at one point; the more negative, the more evenly they are spread.
    """
    count = len(similarity)
    exponents = 4 * similarity - 4  # -2 d^2, with d^2 = 2 - 2 cos
    others = exponents.masked_fill(torch.eye(count, dtype=torch.bool, device=similarity.device), -torch.inf)
    return others.logsumexp(dim=(0, 1)) - math.log(count * (count - 1))
