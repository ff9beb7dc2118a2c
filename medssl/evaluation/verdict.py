"""The verdict on an arm, by rules that are stated before the numbers are seen.

With the difference d between an arm and the reference, its 95 % interval, and the smallest gain that matters:

    harms               the whole interval is below zero
    no worthwhile gain  the whole interval is below the smallest gain that matters, also where it is above zero
    helps               the whole interval is above zero, and reaches the smallest gain that matters
    undecided           anything else

The rules are read from the top and leave nothing out. One comparison is fixed before the run and judged by its
interval alone. The others must also hold after Holm's correction for their number: those that say harms or helps among
all tests of d = 0, those that say no worthwhile gain among all tests of d = smallest gain that matters.

Nothing helps against a reference whose training was ended by its budget while it was still improving: that comparison
is undecided.
"""

from typing import NamedTuple

import numpy as np

from medssl.errors import SettingsError

HELPS, HARMS, NO_GAIN, UNDECIDED = "helps", "harms", "no worthwhile gain", "undecided"
LEVEL = 0.05
MARGIN = 0.02


class Evidence(NamedTuple):
    """What a verdict is read from.

    Attributes:
        low: Lower limit of the 95 % interval of the difference.
        high: Upper limit.
        p_zero: Two-sided p-value of no difference, corrected where the comparison is not the primary one.
        p_margin: Two-sided p-value of the smallest gain that matters, corrected likewise.
    """

    low: float
    high: float
    p_zero: float
    p_margin: float


def judge(evidence: Evidence, margin: float = MARGIN) -> str:
    """Return the verdict: helps, harms, no worthwhile gain, or undecided (also where there is no interval).

    Raises:
        SettingsError: The smallest gain that matters is negative.
    """
    if margin < 0:
        raise SettingsError(f"The smallest gain that matters is {margin:g}, but must not be negative")
    word = alone(evidence.low, evidence.high, margin)
    p_value = evidence.p_margin if word == NO_GAIN else evidence.p_zero
    if word == HARMS and not p_value < LEVEL:
        word, p_value = NO_GAIN, evidence.p_margin
    return word if p_value < LEVEL else UNDECIDED


def alone(low: float, high: float, margin: float = MARGIN) -> str:
    """Return what the interval says without correction for the number of comparisons."""
    if high < 0:
        return HARMS
    if high < margin:
        return NO_GAIN
    return HELPS if low > 0 else UNDECIDED


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number; the undefined ones stay so and do not count.

    Sorted, p_(k) becomes max over j <= k of (m - j + 1) p_(j), at most 1: the chance of one false finding or more among
    all m stays below the level. Reference: Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm(np.array([0.04, 0.01, 0.03])).tolist()
        [0.06, 0.03, 0.06]
    """
    corrected = np.full(len(p_values), np.nan)
    defined = np.flatnonzero(np.isfinite(p_values))
    order = defined[np.argsort(p_values[defined], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else []
    return corrected
