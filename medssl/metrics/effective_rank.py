"""Effective rank of features: how many directions a representation really uses."""

import numpy as np

TITLE = "effective rank"
TAKES = "features"
HIGHER_IS_BETTER = True


def compute(features: np.ndarray) -> float:
    """Return the RankMe score, the exponential of the entropy of the normalised singular values.

    With singular values s_k and p_k = s_k / sum_j s_j, it is exp(-sum_k p_k log p_k): 1 when all features lie on one
    line, min(N, D) when they fill all directions evenly. The features are not centred, as in the paper; its small
    constant inside the logarithm is replaced by the limit 0 log 0 = 0.

    Reference: Garrido et al., "RankMe: assessing the downstream performance of pretrained self-supervised
    representations by their rank", ICML 2023, https://arxiv.org/abs/2210.02885; Roy and Vetterli, "The effective
    rank", EUSIPCO 2007.

    Args:
        features: (N, D), any finite numbers.

    Returns:
        A number in [1, min(N, D)]; NaN when there is no feature, when all are zero or when one is not finite.

    Example:
        >>> round(compute(np.eye(4)), 6)
        4.0
    """
    features = np.asarray(features, dtype=np.float64)
    if features.size == 0 or not np.isfinite(features).all():
        return float("nan")
    spread = np.linalg.svd(features, compute_uv=False)
    if spread.sum() == 0:
        return float("nan")
    share = spread / spread.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
