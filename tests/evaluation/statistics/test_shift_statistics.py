"""Shift statistics: paired with the unchanged images, over the unseen shifts only."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medssl.evaluation.shift_statistics import shift_results


@pytest.fixture
def table(study) -> pd.DataFrame:
    """Two arms; "noise" changes nothing, "blur" ruins the learnt arm at severity 2."""
    clean = study({"mae": 2.0, "scratch": 1.0}, sets=["id"], fractions=[100.0], patients=80)
    parts = [clean]
    for name in ("noise 1", "noise 2", "blur 1", "blur 2"):
        changed = clean.assign(test_set=name, domain="shift")
        if name == "blur 2":
            changed["score"] = np.where(changed["arm"] == "mae", 1 - changed["score"], changed["score"])
        parts.append(changed)
    return pd.concat(parts, ignore_index=True)


def head(found: dict, arm: str) -> dict:
    return next(row for row in found["headline"] if row["arm"] == arm)


def test_a_shift_that_changes_nothing_has_no_drop_and_no_width(table):
    found = shift_results(table, {"mae": ["blur"], "scratch": ["blur"]}, resamples=300)
    row = head(found, "mae")
    assert row["unseen_shifts"] == ["noise"]
    assert (row["drop"]["value"], row["drop"]["low"], row["drop"]["high"]) == (0, 0, 0)


def test_the_headline_is_the_mean_over_the_unseen(table):
    found = shift_results(table, {"mae": [], "scratch": ["blur"]}, resamples=300)
    clean = table[(table["arm"] == "mae") & (table["test_set"] == "id")]
    auroc = np.mean([roc_auc_score(cell["label"], cell["score"]) for _, cell in clean.groupby("draw")])
    row = head(found, "mae")
    assert row["unchanged"] == pytest.approx(auroc)
    assert row["unseen"]["value"] == pytest.approx((3 * auroc + 1 - auroc) / 4)
    assert row["drop"]["value"] == pytest.approx((1 - 2 * auroc) / 4)
    assert row["drop"]["low"] < row["drop"]["value"] < row["drop"]["high"] < 0
    assert row["against"]["shifts"] == ["noise"]
    assert row["against"]["value"] > 0
    assert head(found, "scratch")["against"] is None


def test_curves_start_at_the_unchanged_images_and_say_what_was_seen(table):
    curves = shift_results(table, {"mae": ["blur"]}, resamples=100)["curves"]
    rows = [row for row in curves if row["arm"] == "mae" and row["shift"] == "blur"]
    assert [row["severity"] for row in rows] == [0, 1, 2]
    assert rows[0]["value"] == rows[1]["value"] > 0.5 > rows[2]["value"]
    assert all(row["seen"] for row in rows)
    assert not any(row["seen"] for row in curves if row["arm"] == "scratch")


def test_an_arm_that_has_seen_everything_has_no_headline(table):
    row = head(shift_results(table, {"mae": ["noise", "blur"]}, resamples=100), "mae")
    assert row["unseen_shifts"] == []
    assert np.isnan(row["unseen"]["value"])
