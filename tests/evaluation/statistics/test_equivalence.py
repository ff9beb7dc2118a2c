"""Label-equivalence fraction against closed forms and scikit-learn's isotonic regression."""

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import isotonic_regression

from medssl.evaluation import bootstrap
from medssl.evaluation.equivalence import crossing, equivalence_rows, monotone


def test_monotone_equals_isotonic_regression() -> None:
    curves = np.random.default_rng(0).normal(size=(50, 5))
    np.testing.assert_allclose(monotone(curves), [isotonic_regression(curve) for curve in curves], atol=1e-12)
    rising = np.sort(curves, axis=1)
    np.testing.assert_allclose(monotone(rising), rising, atol=1e-12)
    assert monotone(np.array([[0.7]])) == 0.7


@pytest.mark.parametrize(
    ("curve", "target", "expected"),
    [
        ([0.6, 0.8, 0.9], 0.7, np.sqrt(1 * 10)),  # half way between 1 and 10 on a log scale
        ([0.6, 0.8, 0.9], 0.85, np.sqrt(10 * 100)),
        ([0.6, 0.8, 0.9], 0.8, 10),
        ([0.6, 0.8, 0.9], 0.9, 100),
        ([0.6, 0.8, 0.9], 0.6, 1),
        ([0.6, 0.8, 0.9], 0.5, 0),
        ([0.6, 0.8, 0.9], 0.91, np.inf),
        ([0.6, 0.8, 0.8], 0.8, 10),
        ([0.8, 0.8, 0.8], 0.8, 1),
        ([0.6, np.nan, 0.9], 0.8, np.nan),
        ([0.6, 0.8, 0.9], np.nan, np.nan),
    ],
)
def test_crossing(curve, target, expected) -> None:
    found = crossing(np.array([1.0, 10.0, 100.0]), np.array([curve, [0.0, 0.5, 1.0]]), np.array([target, 0.5]))
    assert found == pytest.approx([expected, 10.0], nan_ok=True)


def test_crossing_of_a_single_fraction() -> None:
    found = crossing(np.array([100.0]), np.array([[0.5]] * 3), np.array([0.4, 0.5, 0.6]))
    assert found.tolist() == [0, 100, np.inf]


def _rows(table: pd.DataFrame, resamples: int = 400) -> dict[tuple[str, str], dict]:
    rows = equivalence_rows(bootstrap.resample(table, ["auroc"], resamples))
    return {(row["test_set"], row["arm"]): row for row in rows}


def test_rows_of_arms_that_need_fewer_as_many_and_more_labels(study) -> None:
    arms = {"good": 3.0, "middle": 1.5, "bad": -1.0, "scratch": 1.2}
    rows = _rows(study(arms, fractions=(1.0, 10.0, 100.0), gain=0.5))
    assert len(rows) == 6
    good, middle, bad = (rows["device-b", arm] for arm in ("good", "middle", "bad"))
    assert (good["value"], good["text"], good["interval"]) == (None, "below 1 %", "below 1 %")
    assert good["share_below"] > 0.97
    assert (bad["value"], bad["text"], bad["reached"]) == (None, "not reached", "not reached")
    assert bad["share_not_reached"] > 0.97
    assert 10 < middle["value"] < 100
    assert (middle["low"] or 0) <= middle["value"] <= (middle["high"] or np.inf)
    assert middle["text"] == f"{middle['value']:.0f} %"
    assert middle["interval"] == f"{middle['low_text']} to {middle['high_text']}"


def test_value_equals_the_interpolated_curve(study) -> None:
    table = study({"mae": 1.6, "scratch": 1.2}, sets=["id"], gain=0.5, fractions=(5.0, 33.0, 100.0))
    scores = bootstrap.summarise(table, 10)
    scores = scores[scores["metric"] == "auroc"].set_index(["arm", "fraction"])["value"]
    curve, target = scores["mae"].to_numpy(), scores["scratch", 100.0]
    assert (np.diff(curve) > 0).all()
    expected = np.exp(np.interp(target, curve, np.log([5.0, 33.0, 100.0])))
    assert _rows(table)["id", "mae"]["value"] == pytest.approx(expected)


def test_without_a_reference_at_all_labels_there_is_no_row(study) -> None:
    assert _rows(study({"mae": 1.0, "scratch": 1.0}, fractions=(5.0, 33.0), patients=10)) == {}


def test_undefined_is_said(cell) -> None:
    table = pd.concat([cell([1, 1], [0.2, 0.4], arm=arm) for arm in ("a", "scratch")])
    row = _rows(table, 20)["id", "a"]
    assert (row["reached"], row["text"], row["value"], row["undefined"]) == ("undefined", "undefined", None, 20)
    assert row["share_below"] is None
