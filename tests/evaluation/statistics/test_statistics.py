"""The whole analysis: what stands in results.json, and what a person is told."""

import json

import numpy as np
import pandas as pd
import pytest

from medssl.errors import DataError, SettingsError
from medssl.evaluation.statistics import analyse
from medssl.evaluation.verdict import holm

ARMS = {"mae": 2.6, "weak": 0.2, "scratch": 1.0, "random": 0.8, "pixels": 0.4, "shortcut": 0.2}


@pytest.fixture(scope="module")
def results(study) -> dict:
    return analyse(study(ARMS, patients=150), primary=("mae", "scratch"), resamples=1500)


def _verdict(results: dict, arm: str, test_set: str = "id", fraction: float = 5.0) -> dict:
    rows = [v for v in results["verdicts"] if (v["a"], v["test_set"], v["fraction"]) == (arm, test_set, fraction)]
    assert len(rows) == 1
    return rows[0]


def test_verdicts(results) -> None:
    assert len(results["verdicts"]) == 2 * 2 * 2
    assert _verdict(results, "mae")["word"] == "helps"
    assert _verdict(results, "mae", "device-b")["word"] == "helps"
    assert _verdict(results, "weak")["word"] == "harms"
    first, second = results["verdicts"][:2]
    assert first["primary"]
    assert first["p_holm"] is None
    assert (second["a"], second["test_set"], second["fraction"]) == ("mae", "device-b", 5.0)
    assert sum(row["primary"] for row in results["verdicts"]) == 1
    others = [row for row in results["verdicts"] if not row["primary"]]
    np.testing.assert_allclose([row["p_holm"] for row in others], holm(np.array([row["p"] for row in others])))
    assert results["statistics"]["comparisons"] == len(others) == 7


def test_sentences(results) -> None:
    text = _verdict(results, "mae")["sentence"]
    values = {(row["arm"], row["fraction"]): row["value"] for row in results["scores"] if _is_id_auroc(row)}
    assert text.startswith("In distribution, with 5 % of the labels, mae helps: AUROC ")
    assert f"AUROC {values['mae', 5.0]:.3f} against {values['scratch', 5.0]:.3f} for training from scratch" in text
    assert "It is better than trivial image statistics" in text
    assert "To equal training from scratch with all labels it needs below 5 % of them" in text
    assert _verdict(results, "mae", "device-b")["sentence"].startswith("Out of distribution (device-b), with 5 %")
    assert "labels it needs" not in _verdict(results, "mae", fraction=100.0)["sentence"]
    weak = _verdict(results, "weak")["sentence"]
    assert "weak harms" in weak
    assert "does not reach training from scratch with all labels" in weak
    assert "not shown to beat trivial image statistics" in weak
    assert "solved without looking at anatomy" not in weak  # the shortcut is at chance itself
    assert "is worse than an untrained network" in weak


def _is_id_auroc(row: dict) -> bool:
    return row["test_set"] == "id" and row["metric"] == "auroc"


def test_a_help_that_does_not_beat_the_shortcut_says_so(study) -> None:
    results = analyse(study({"mae": 2.4, "scratch": 0.8, "shortcut": 2.3}, patients=150), resamples=600)
    verdict = _verdict(results, "mae")
    assert verdict["word"] == "helps"
    assert [(one["beats"], one["difference"] > 0) for one in verdict["trivial"]] == [(False, True)]
    assert "not shown to beat trivial image statistics" in verdict["sentence"]
    assert "solved without looking at anatomy" in verdict["sentence"]


def test_nothing_helps_against_a_training_that_was_cut_short(study) -> None:
    table = study({"mae": 2.4, "scratch": 0.8}, patients=150)
    small = min(table["fraction"])
    results = analyse(table, primary=("mae", "scratch"), resamples=600, unfinished={"id": [("scratch", small)]})
    verdict = _verdict(results, "mae")
    assert (verdict["word"], verdict["cut_short"], verdict["low"] > 0) == ("undecided", True, True)
    assert "The budget ended training from scratch while it was still improving" in verdict["sentence"]
    assert "too wide" not in verdict["sentence"]
    other = next(v for v in results["verdicts"] if v["fraction"] != small and v["test_set"] == "id")
    assert (other["word"], other["cut_short"]) == ("helps", False)


def test_equalling_a_training_that_was_cut_short_says_so(study) -> None:
    table = study({"mae": 2.4, "scratch": 0.8}, patients=150)
    results = analyse(table, resamples=200, unfinished={"id": [("scratch", max(table["fraction"]))]})
    assert "training from scratch with all labels (cut short)" in results["verdicts"][0]["sentence"]


def test_a_small_gain_is_no_worthwhile_gain(study) -> None:
    table = study({"mae": 1.05, "scratch": 1.0}, patients=300, noise=0.01, sets=["id"], fractions=[100.0])
    results = analyse(table, primary=("mae", "scratch"), resamples=800, margin=0.03)
    verdict = results["verdicts"][0]
    assert verdict["word"] == "no worthwhile gain"
    assert verdict["low"] > 0
    assert "above zero, but below the 0.03 that matters" in verdict["sentence"]


def test_an_undecided_one_shows_interval_and_size(study) -> None:
    table = study({"mae": 1.2, "scratch": 1.0}, patients=25, sets=["id"], fractions=[100.0], noise=1.5)
    verdict = analyse(table, primary=("mae", "scratch"), resamples=500)["verdicts"][0]
    assert verdict["word"] == "undecided"
    assert f"difference {verdict['difference']:+.3f}".replace("-", "\u2212") in verdict["sentence"]
    assert "too wide to tell" in verdict["sentence"]
    assert "Caution: interval may be too narrow" in verdict["sentence"]


def test_one_class_in_a_test_set_is_said_and_no_nan_reaches_json(cell) -> None:
    table = pd.concat([cell([1, 1, 1], [0.2, 0.4, 0.6], arm=arm) for arm in ("mae", "scratch", "shortcut")])
    results = analyse(table, primary=("mae", "scratch"), resamples=50)
    verdict = results["verdicts"][0]
    assert verdict["word"] == "undecided"
    assert verdict["difference"] is None
    assert "cannot be compared" in verdict["sentence"]
    assert "AUROC is undefined" in verdict["sentence"]
    json.dumps(results, allow_nan=False)


def test_is_plain_json_with_the_promised_parts(results) -> None:
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert set(results) == {"primary", "scores", "paired", "equivalence", "verdicts", "test_sets", "statistics"}
    assert results["primary"] == {
        "a": "mae", "b": "scratch", "mode": "probe", "test_set": "id", "fraction": 5.0, "metric": "auroc",
        "margin": 0.02,
    }  # fmt: skip
    auroc = [row for row in results["paired"] if row["metric"] == "auroc"]
    assert len(auroc) == 15 * 2 * 2
    assert {row["b"] for row in results["paired"] if row["metric"] != "auroc"} == {"scratch"}
    assert all(row["b"] == "scratch" for row in auroc if "scratch" in (row["a"], row["b"]))
    assert sum(row["primary"] for row in results["paired"]) == 1
    assert sum(row["p_holm"] is not None for row in results["paired"]) == 7
    assert [row["test_set"] for row in results["test_sets"]] == ["id", "device-b"]


def test_the_same_whatever_the_order_of_rows(study) -> None:
    table = study({"mae": 1.5, "scratch": 1.0}, patients=20, fractions=[100.0])
    assert analyse(table, resamples=300) == analyse(table.sample(frac=1, random_state=0), resamples=300)
    assert analyse(table, resamples=300) != analyse(table, resamples=300, seed=1)


def test_remarks_name_the_chance_that_is_not_covered(study) -> None:
    table = study({"mae": 1.5, "two": 1.5, "scratch": 1.0}, patients=20, draws=1, seeds={"two": 2})
    remarks = " ".join(analyse(table, resamples=50)["statistics"]["remarks"])
    assert "mae was pretrained once" in remarks
    assert "two was pretrained once" not in remarks
    assert "scratch was trained on one draw of labels" in remarks
    assert "No primary comparison was fixed" in remarks
    assert "no verdict" in " ".join(
        analyse(study({"scratch": 1.0}, patients=20), resamples=50)["statistics"]["remarks"]
    )


def test_another_fraction_or_pair_can_be_the_primary_one(study) -> None:
    table = study({"mae": 1.5, "two": 1.0, "scratch": 1.0}, patients=20)
    chosen = analyse(table, primary=("mae", "two"), primary_fraction=100, resamples=50)
    assert (chosen["primary"]["b"], chosen["primary"]["fraction"]) == ("two", 100)
    assert chosen["verdicts"][0]["primary"]
    assert chosen["verdicts"][0]["b"] == "two"
    assert chosen["statistics"]["comparisons"] == 8


def test_what_cannot_be_answered_is_refused(study) -> None:
    table = study({"mae": 1.5, "scratch": 1.0}, patients=10)
    with pytest.raises(SettingsError, match=r"Unknown arm 'mea'.*Did you mean 'mae'"):
        analyse(table, primary=("mea", "scratch"), resamples=10)
    with pytest.raises(DataError, match="no predictions of the reference 'scratch'"):
        analyse(table[table["arm"] == "mae"], resamples=10)
    with pytest.raises(DataError, match="no fraction of labels in common"):
        analyse(table, primary=("mae", "scratch"), primary_fraction=7, resamples=10)
    with pytest.raises(SettingsError, match="must not be negative"):
        analyse(table, margin=-1, resamples=10)


def test_a_gain_that_ends_at_a_guess_is_said_to_help_nobody(study) -> None:
    table = study({"mae": 0.0, "scratch": -0.8}, patients=300, sets=["id"])
    verdict = analyse(table, primary=("mae", "scratch"), resamples=400)["verdicts"][0]
    assert (verdict["word"], verdict["above_chance"]) == ("helps", False)
    assert "But mae is not shown to be better than a guess" in verdict["sentence"]
    against = study({"mae": 0.8, "scratch": 0.0}, patients=300, sets=["id"])
    verdict = analyse(against, primary=("mae", "scratch"), resamples=400)["verdicts"][0]
    assert (verdict["word"], verdict["above_chance"], verdict["reference_above_chance"]) == ("helps", True, False)
    assert "But training from scratch is not shown to be better than a guess" in verdict["sentence"]
    better = study({"mae": 2.0, "scratch": 1.0}, patients=300, sets=["id"])
    verdict = analyse(better, primary=("mae", "scratch"), resamples=400)["verdicts"][0]
    assert verdict["above_chance"]
    assert "a guess" not in verdict["sentence"]
