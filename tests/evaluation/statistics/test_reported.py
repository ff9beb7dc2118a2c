"""Faults of scoring that people met elsewhere (E01 to E05), with tables written here."""

import numpy as np
import pandas as pd
import pytest

from medssl.evaluation import bootstrap, predictions
from medssl.metrics import auroc


def scored(table: pd.DataFrame, resamples: int = 4000) -> pd.Series:
    rows = bootstrap.summarise(table, resamples)
    return rows[rows["metric"] == "auroc"].squeeze()


def test_e01_one_class_is_undefined_and_its_resamples_are_counted(cell) -> None:
    assert np.isnan(auroc.compute([1] * 8, np.arange(8) / 10))
    labels, scores = [1, 1] + [0] * 18, [0.9, 0.9, *(0.1 + np.arange(18) / 100)]
    row = scored(cell(labels, scores))
    assert (row["value"], row["low"], row["high"]) == (1, 1, 1)
    assert row["undefined"] / row["resamples"] == pytest.approx(0.9**20, abs=0.02)


@pytest.mark.parametrize("order", [1, -1])
def test_e02_ties_count_half_in_any_order(order: int) -> None:
    labels, scores = [0, 1, 1, 0, 1, 0][::order], [0.5, 0.9, 0.5, 0.1, 0.5, 0.5][::order]
    assert auroc.compute(labels, scores) == pytest.approx(7 / 9)
    assert auroc.compute(labels, [0.5] * 6) == 0.5


@pytest.mark.parametrize("classes", [["benign", "malignant"], ["malignant", "benign"]])
def test_e03_the_positive_class_is_found_by_its_name(classes) -> None:
    kinds = {"benign": [0.7, 0.2] * 5, "malignant": [0.3, 0.8] * 5}
    probabilities = np.column_stack([kinds[name] for name in classes])
    assert auroc.compute([0, 1] * 5, predictions.of_positive_class(probabilities, classes, "malignant")) == 1


@pytest.mark.parametrize("batch", [1, 3, 4, 10])
def test_e04_a_metric_is_of_the_whole(cell, batch: int) -> None:
    labels = [1, 0, 1, 0, 1, 1, 1, 0, 0, 1]
    scores = [0.9, 0.8, 0.85, 0.1, 0.3, 0.35, 0.4, 0.05, 0.6, 0.2]
    whole = cell(labels, scores)
    table = pd.concat([whole.iloc[start : start + batch] for start in range(0, 10, batch)])
    assert scored(table, 100)["value"] == pytest.approx(2 / 3)
    assert ((np.array(scores) >= 0.5) == np.array(labels)).mean() == pytest.approx(0.4)


def test_e05_the_interval_is_the_quantiles_of_resamples(cell) -> None:
    """Held against resamples drawn here; the error of their mean would be a hundredth as wide."""
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 15)
    scores = 1 / (1 + np.exp(-rng.normal(labels * 0.9, 1)))
    drawn = []
    for pick in rng.integers(0, 30, (4000, 30)):
        positive, negative = scores[pick][labels[pick] == 1], scores[pick][labels[pick] == 0]
        drawn += [np.mean(positive[:, None] > negative) + np.mean(positive[:, None] == negative) / 2]
    row = scored(cell(labels, scores), 10_000)
    assert [row["low"], row["high"]] == pytest.approx(np.nanquantile(drawn, [0.025, 0.975]), abs=0.04)
    assert row["high"] - row["low"] > 0.2
