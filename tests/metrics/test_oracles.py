"""Each metric against scikit-learn or a slow loop, closed forms, and the reported cases E01 to E04."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from medssl.metrics import auroc, average_precision, balanced_accuracy, brier, ece


def _slow_ece(labels, scores, sample_weight) -> float:
    total = 0.0
    for low in range(10):
        inside = [i for i, s in enumerate(scores) if low <= 10 * s < low + 1 or (low == 9 and s == 1)]
        weight = sum(sample_weight[i] for i in inside)
        if weight:
            mean = sum(sample_weight[i] * scores[i] for i in inside) / weight
            share = sum(sample_weight[i] * labels[i] for i in inside) / weight
            total += weight * abs(mean - share)
    return total / sum(sample_weight)


def _balanced(labels, scores, sample_weight) -> float:
    return sklearn_metrics.balanced_accuracy_score(labels, np.asarray(scores) >= 0.5, sample_weight=sample_weight)


ORACLES = [
    (auroc, sklearn_metrics.roc_auc_score),
    (average_precision, sklearn_metrics.average_precision_score),
    (balanced_accuracy, _balanced),
    (brier, sklearn_metrics.brier_score_loss),
    (ece, _slow_ece),
]


@pytest.mark.parametrize(("metric", "oracle"), ORACLES, ids=lambda x: x.__name__)
@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_oracle(metric, oracle, decimals, seed) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(80) < 0.35).astype(int)
    scores = np.clip(np.round(rng.normal(0.45 + 0.15 * labels, 0.25), decimals), 0, 1)
    weights = rng.integers(0, 3, 80) if seed % 2 else rng.random(80)
    assert metric.compute(labels, scores, weights) == pytest.approx(
        oracle(labels, scores, sample_weight=weights), abs=1e-12
    )


@pytest.mark.parametrize("metric", [auroc, balanced_accuracy])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_undefined(metric, label) -> None:
    assert np.isnan(metric.compute([label] * 4, [0.1, 0.6, 0.7, 0.9]))


def test_average_precision_without_positives_is_undefined() -> None:
    assert np.isnan(average_precision.compute([0, 0], [0.1, 0.9]))


def test_average_precision_of_a_constant_is_the_share_of_positives() -> None:
    assert average_precision.compute([1, 0, 0, 0], [0.3] * 4) == pytest.approx(0.25)


def test_brier_of_the_share_of_positives() -> None:
    assert brier.compute([1, 0, 0, 0], [0.25] * 4) == pytest.approx(0.25 * 0.75)


def test_ece_by_hand_with_edges() -> None:
    assert ece.compute([1, 0, 1, 0], [1.0, 0.1, 0.1, 0.0]) == pytest.approx((0 + abs(0.2 - 1) + 0) / 4)


def _case(cases, name: str) -> tuple[dict, dict[str, pd.DataFrame]]:
    folder = next(path for path in cases.iterdir() if path.name.startswith(name))
    expected = json.loads((cases / "expected.json").read_text())
    return expected[folder.name], {path.name: pd.read_csv(path) for path in folder.glob("*.csv")}


def test_e01_one_class_is_undefined(cases) -> None:
    _, tables = _case(cases, "E01")
    assert np.isnan(auroc.compute(tables["only_positives.csv"].label, tables["only_positives.csv"].score))
    assert auroc.compute(tables["two_positives.csv"].label, tables["two_positives.csv"].score) == 1


def test_e02_ties(cases) -> None:
    expected, tables = _case(cases, "E02")
    for name, table in tables.items():
        assert auroc.compute(table.label, table.score) == pytest.approx(expected[name]["auroc"], abs=1e-12)
    assert auroc.compute(tables["ties.csv"].label, tables["ties.csv"].score) == pytest.approx(7 / 9)


def test_e04_metric_of_the_whole(cases) -> None:
    expected, tables = _case(cases, "E04")
    table = tables["ten.csv"]
    assert auroc.compute(table.label, table.score) == pytest.approx(expected["ten.csv"]["auroc"], abs=1e-12)
    assert expected["ten.csv"]["auroc"] == pytest.approx(2 / 3)
    assert ((table.score >= 0.5) == (table.label == 1)).mean() == pytest.approx(expected["ten.csv"]["accuracy_at_half"])
