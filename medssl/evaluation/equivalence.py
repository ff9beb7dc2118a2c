"""Label-equivalence fraction: how few labels an arm needs to equal another arm that has all of them."""

from typing import Any

import numpy as np

from medssl.evaluation.bootstrap import Resampled

ALL_LABELS = 100.0


def equivalence_rows(resampled: Resampled, reference: str = "scratch", metric: str = "auroc") -> list[dict[str, Any]]:
    """Return the label-equivalence fraction of every arm but the reference, per mode and test set.

    Where the reference was not trained with all labels there is nothing to equal, and no row.

    Returns:
        Rows of mode, test_set, domain, arm, reference, metric, `value` (percent; None outside the grid), `text`, `low`
        and `high` (95 % interval, None where it leaves the grid) with `low_text` and `high_text`, `interval` in words,
        `reached` (below, within, not reached, undefined), and the shares of resamples in which it lies below the
        smallest fraction or is not reached.
    """
    groups = resampled.groups
    rows = []
    for (mode, test_set, domain), group in groups.groupby(["mode", "test_set", "domain"], sort=False):
        arms = dict.fromkeys(group["arm"])
        if ((group["arm"] == reference) & (group["fraction"] == ALL_LABELS)).any():
            for arm in (arm for arm in arms if arm != reference):
                fractions = np.sort(group.loc[group["arm"] == arm, "fraction"].to_numpy(dtype=float))
                place = {"mode": mode, "test_set": test_set, "domain": domain, "arm": arm}
                found = _row(resampled, str(mode), str(test_set), arm, fractions, reference, metric)
                rows.append({**place, "reference": reference, "metric": metric, **found})
    return rows


def crossing(fractions: np.ndarray, curves: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the smallest fraction at which each monotone curve reaches its target, (R,).

    Between two fractions the curve is a straight line over the logarithm of the fraction.

    Args:
        fractions: (F,) percent, rising.
        curves: (R, F), not falling.
        targets: (R,).

    Returns:
        (R,) percent; 0 where the answer lies below the smallest fraction, infinity where the largest is not enough,
        NaN where a value is undefined.
    """
    reached = curves >= targets[:, None]
    found = np.full(len(targets), np.inf)
    logs = np.log(fractions)
    for right in range(len(fractions) - 1, 0, -1):
        low, high = curves[:, right - 1], curves[:, right]
        share = np.clip((targets - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
        between = np.exp(logs[right - 1] + share * (logs[right] - logs[right - 1]))
        found = np.where(reached[:, right], between, found)
    found = np.where(reached[:, 0], np.where(curves[:, 0] == targets, fractions[0], 0.0), found)
    return np.where(np.isfinite(targets) & np.isfinite(curves).all(axis=1), found, np.nan)


def monotone(curves: np.ndarray) -> np.ndarray:
    """Return the isotonic regression of each curve, the closest one that does not fall, (R, F) -> (R, F).

    By the min-max formula g_i = max over j <= i of min over k >= i of the mean of x_j to x_k. A running maximum would
    keep every lucky draw, and so would promise too few labels. Reference: Robertson, Wright and Dykstra, "Order
    restricted statistical inference", 1988, section 1.4.
    """
    count = curves.shape[1]
    sums = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(curves, axis=1)], axis=1)
    means = np.full((len(curves), count, count), np.nan)
    for j in range(count):
        for k in range(j, count):
            means[:, j, k] = (sums[:, k + 1] - sums[:, j]) / (k + 1 - j)
    return np.stack(
        [np.max([np.min(means[:, j, i:], axis=1) for j in range(i + 1)], axis=0) for i in range(count)], axis=1
    )


def _row(
    resampled: Resampled, mode: str, test_set: str, arm: str, fractions: np.ndarray, reference: str, metric: str
) -> dict[str, Any]:
    target = resampled.distribution(mode, test_set, metric, reference, ALL_LABELS)
    points = [resampled.distribution(mode, test_set, metric, arm, fraction) for fraction in fractions]
    value = crossing(fractions, monotone(np.array([[p.value for p in points]])), np.array([target.value]))[0]
    curves = np.stack([point.widened for point in points], axis=1)
    found = crossing(fractions, monotone(curves), target.widened)
    defined = found[~np.isnan(found)]
    low, high = np.quantile(defined, [0.025, 0.975], method="inverted_cdf") if len(defined) else (np.nan, np.nan)
    texts = [_text(number, fractions) for number in (value, low, high)]
    return {
        "value": _inside(value),
        "low": _inside(low),
        "high": _inside(high),
        **dict(zip(("text", "low_text", "high_text"), texts)),
        "interval": _interval(texts[1], texts[2]),
        "reached": _reached(value),
        "share_below": float(np.mean(defined == 0)) if len(defined) else None,
        "share_not_reached": float(np.mean(np.isinf(defined))) if len(defined) else None,
        "resamples": len(found),
        "undefined": len(found) - len(defined),
    }


def _inside(value: float) -> float | None:
    return float(value) if np.isfinite(value) and value > 0 else None


def _reached(value: float) -> str:
    if np.isnan(value):
        return "undefined"
    return "below" if value == 0 else "within" if np.isfinite(value) else "not reached"


def _text(value: float, fractions: np.ndarray) -> str:
    """Say a fraction in words: `12 %`, `below 5 %`, `not reached`."""
    words = {"below": f"below {fractions[0]:g} %", "not reached": "not reached", "undefined": "undefined"}
    return words.get(_reached(value), f"{value:.2g} %" if value < 10 else f"{value:.0f} %")


def _interval(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
