"""Otsu's threshold: where the grey values of an image part into a dark and a bright class."""

import numpy as np

_BINS = 256


def otsu(values: np.ndarray) -> float:
    """Return the threshold in [0, 1] that parts values in [0, 1] into two classes of most different means.

    "A threshold selection method from gray-level histograms" (Otsu 1979), over 256 levels.
    """
    counts, edges = np.histogram(values, _BINS, (0, 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), counts.sum()
    sums = np.cumsum(counts * centres)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num(below * above * (sums / below - (sums[-1] - sums) / above) ** 2)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))  # a gap between two peaks is level: its middle
    return float(edges[1 + best[len(best) // 2]])
