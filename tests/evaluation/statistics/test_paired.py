"""Paired differences: what is resampled together, and the p-value."""

import numpy as np
import pandas as pd
import pytest

from medssl.evaluation import bootstrap
from medssl.evaluation.paired import difference, differences, paired


def test_an_arm_against_its_copy_is_exactly_zero(study) -> None:
    table = study({"mae": 1.0}, patients=20)
    rows = paired(pd.concat([table, table.assign(arm="copy")]), "mae", "copy", resamples=300)
    assert len(rows) == 4
    assert (rows[["difference", "low", "high"]].to_numpy() == 0).all()
    assert (rows["p"] == 1).all()


def test_sign_and_symmetry(study) -> None:
    table = study({"mae": 2.0, "scratch": 0.3}, sets=["id"])
    forth, back = paired(table, "mae", "scratch", resamples=500), paired(table, "scratch", "mae", resamples=500)
    assert (forth["low"] > 0).all()
    np.testing.assert_allclose(forth["difference"], -back["difference"])
    np.testing.assert_allclose(forth["low"], -back["high"])
    np.testing.assert_allclose(forth["p"], back["p"])
    scores = bootstrap.summarise(table, 50)
    scores = scores[(scores["metric"] == "auroc") & (scores["fraction"] == 5.0)].set_index("arm")["value"]
    assert forth["difference"].iloc[0] == pytest.approx(scores["mae"] - scores["scratch"])


def test_patients_are_shared(study) -> None:
    """Arms that err on the same patients differ by less than their intervals say."""
    resampled = bootstrap.resample(study({"a": 1.2, "b": 1.0}, sets=["id"], draws=1, noise=0.1), ["auroc"], 600)
    change = difference(resampled, "probe", "id", 5.0, "a", "b").distribution.row()
    alone = resampled.distribution("probe", "id", "auroc", "a", 5.0).row()
    assert change["high"] - change["low"] < 0.5 * (alone["high"] - alone["low"])


def _offsets(cell, arm: str, offsets: dict[tuple[int, int], float], fraction: float = 5.0) -> pd.DataFrame:
    labels = np.tile([0, 1], 60)
    base = np.random.default_rng(0).normal(size=120)
    parts = [
        cell(
            labels, 1 / (1 + np.exp(-(labels * skill + base))), arm=arm, draw=d, seed=s, run=f"r{s}", fraction=fraction
        )
        for (d, s), skill in offsets.items()
    ]
    return pd.concat(parts)


def _width(rows: pd.DataFrame) -> float:
    return float((rows["high"] - rows["low"]).iloc[0])


def test_draws_are_shared_and_seeds_are_not(cell) -> None:
    """A spread that both arms share cancels over draws, not over seeds."""
    spread = [0.0, 1.0, 2.0]
    by_draw, by_seed = {(k, 0): v for k, v in enumerate(spread)}, {(0, k): v for k, v in enumerate(spread)}
    widths = {}
    for name, offsets in (("draws", by_draw), ("seeds", by_seed)):
        table = pd.concat([_offsets(cell, "a", offsets), _offsets(cell, "b", offsets)])
        widths[name] = _width(paired(table, "a", "b", resamples=500))
    assert widths["draws"] == 0
    assert widths["seeds"] > 0.1


def test_only_common_draws_are_compared_below_all_labels(cell) -> None:
    a = _offsets(cell, "a", {(0, 0): 0.5, (1, 0): 1.0, (7, 0): 3.0})
    table = pd.concat([a, _offsets(cell, "b", {(0, 0): 0.5, (1, 0): 1.0})])
    row = paired(table, "a", "b", resamples=200).iloc[0]
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
    none = pd.concat([a, _offsets(cell, "b", {(4, 0): 0.5})])
    assert "no label draw in common" in paired(none, "a", "b", resamples=50)["flag"].iloc[0]
    full = pd.concat(
        [_offsets(cell, "a", {(0, 0): 0.5, (1, 0): 2.0}, 100.0), _offsets(cell, "b", {(0, 0): 0.5}, 100.0)]
    )
    assert paired(full, "a", "b", resamples=50)["difference"].iloc[0] > 0


def test_p_value_counts_the_rarer_side(study) -> None:
    resampled = bootstrap.resample(study({"a": 1.0, "b": 0.9}, patients=30, sets=["id"]), ["auroc"], 400)
    for found in differences(resampled, "a", "b"):
        values = found.distribution.widened
        for null in (0.0, 0.02, 5.0):
            slow = 2 * min(sum(v <= null for v in values) + 1, sum(v >= null for v in values) + 1) / 401
            assert found.p(null) == pytest.approx(min(1.0, slow))
        assert found.p(5.0) == pytest.approx(2 / 401)


def test_undefined_differences_have_no_p(cell) -> None:
    table = pd.concat([cell([1, 1], [0.2, 0.4], arm=arm) for arm in ("a", "b")])
    row = paired(table, "a", "b", resamples=20).iloc[0]
    assert row[["difference", "low", "high", "p"]].isna().all()
    assert row["undefined"] == 20


def test_a_single_training_is_told_beside_the_difference(study) -> None:
    for draws, said in ((1, True), (2, False)):
        table = study({"mae": 2.0, "scratch": 0.3}, sets=["id"], draws=draws)
        assert all(("one label draw" in flag) == said for flag in paired(table, "mae", "scratch", resamples=50)["flag"])
