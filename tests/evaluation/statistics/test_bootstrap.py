"""The bootstrap against a loop over scikit-learn, its sources of chance, and the reported cases E01, E04 and E05."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import t as student
from sklearn import metrics as sklearn_metrics

from medssl import discovery
from medssl.evaluation import bootstrap
from medssl.evaluation.predictions import validate
from medssl.evaluation.resampling import level_counts, patient_counts

COVERAGE = Path(__file__).resolve().parents[3] / "benchmarks" / "interval_coverage.py"


def _row(table: pd.DataFrame, resamples: int = 500, metric: str = "auroc") -> pd.Series:
    rows = bootstrap.summarise(table, resamples)
    return rows[rows["metric"] == metric].squeeze()


ORACLES = {
    "auroc": sklearn_metrics.roc_auc_score,
    "average_precision": sklearn_metrics.average_precision_score,
    "brier": sklearn_metrics.brier_score_loss,
    "balanced_accuracy": lambda y, s: sklearn_metrics.balanced_accuracy_score(y, s >= 0.5),
}


@pytest.mark.parametrize("metric", ORACLES)
def test_equals_a_loop_over_scikit_learn(study, metric) -> None:
    """Rows are really repeated, models averaged with the multiplicities of draws and seeds."""
    table = study({"mae": 1.0}, fractions=[5.0], sets=["id"], seeds={"mae": 2}, patients=30)
    table["score"] = table["score"].round(1)
    resamples = 260
    resampled = bootstrap.resample(table, [metric], resamples)
    found = resampled.distribution("probe", "id", metric, "mae", 5.0)
    draws = level_counts((0, 1, 2), resamples, 0, "draws")
    seeds = level_counts(("mae-0 0", "mae-1 1"), resamples, 0, "seeds", "mae")
    patients = np.concatenate([patient_counts(30, a, b, 0, "id") for a, b in ((0, 250), (250, 260))])
    table = validate(table).assign(code=lambda t: pd.factorize(t["patient_id"], sort=True)[0])
    for r in (0, 1, 7, 249, 250, 259):
        total = 0.0
        for (draw, seed), rows in table.groupby(["draw", "seed"]):
            again = rows.loc[rows.index.repeat(patients[r][rows["code"]])]
            total += draws[r, draw] * seeds[r, seed] * ORACLES[metric](again["label"], again["score"])
        expected = total / draws[r].sum() / seeds[r].sum()
        assert found.resampled[r] == pytest.approx(expected, abs=1e-12)
    plain = [ORACLES[metric](rows["label"], rows["score"]) for _, rows in table.groupby(["draw", "seed"])]
    assert found.value == pytest.approx(np.mean(plain), abs=1e-12)


def test_rows_in_another_order_give_the_same_numbers(study) -> None:
    table = study({"mae": 1.0, "scratch": 0.5}, patients=20, sets=["id"])
    first, second = (bootstrap.summarise(t, 300) for t in (table, table.sample(frac=1, random_state=4)))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_more_images_of_the_same_patients_are_not_more_evidence(cell) -> None:
    rng = np.random.default_rng(0)
    labels, patients = np.tile([0, 1], 20), [f"P{i}" for i in range(40)]
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    once = _row(cell(labels, scores, patients))
    many = _row(cell(np.repeat(labels, 5), np.repeat(scores, 5), np.repeat(patients, 5)))
    as_patients = _row(cell(np.repeat(labels, 5), np.repeat(scores, 5)))
    assert (many["value"], many["low"], many["high"]) == pytest.approx((once["value"], once["low"], once["high"]))
    assert as_patients["high"] - as_patients["low"] < 0.6 * (once["high"] - once["low"])


def test_chance_of_draws_and_seeds_widens_the_interval(cell) -> None:
    labels = np.tile([0, 1], 100)
    rng = np.random.default_rng(1)
    base = rng.normal(size=200)

    def models(places: list[tuple[int, int]]) -> pd.Series:
        parts = []
        for number, (draw, seed) in enumerate(places):
            scores = 1 / (1 + np.exp(-(labels * (0.2, 1.2, 2.4)[number] + base)))
            parts.append(cell(labels, scores, draw=draw, seed=seed, run=f"r{seed}"))
        return _row(pd.concat(parts), 2000)

    draws, seeds, diagonal = (
        models(p) for p in ([(0, 0), (1, 0), (2, 0)], [(0, 0), (0, 1), (0, 2)], [(0, 5), (1, 6), (2, 7)])
    )
    single = _row(cell(labels, 1 / (1 + np.exp(-(labels * 1.2 + base)))), 2000)
    width = single["high"] - single["low"]
    assert (draws["draws"], draws["seeds"]) == (3, 1)
    assert (seeds["draws"], seeds["seeds"]) == (1, 3)
    for row in (draws, seeds, diagonal):
        assert row["high"] - row["low"] > 1.5 * width
        assert row["undefined"] == 0


def test_two_models_of_a_draw_weigh_as_much_as_one(cell) -> None:
    labels = [0, 1, 0, 1]
    good, bad = [0.1, 0.9, 0.2, 0.8], [0.9, 0.1, 0.8, 0.2]
    table = pd.concat(
        [cell(labels, good, draw=0, seed=0), cell(labels, good, draw=0, seed=1), cell(labels, bad, draw=1, seed=2)]
    )
    assert _row(table)["value"] == 0.5


def test_every_metric_is_there_and_others_have_fewer_resamples(study) -> None:
    rows = bootstrap.summarise(study({"mae": 1.0}, patients=10, draws=1, fractions=[100.0]), 2100)
    assert set(rows["metric"]) == {"auroc", "average_precision", "balanced_accuracy", "brier", "ece"}
    assert dict(zip(rows["metric"], rows["resamples"]))["auroc"] == 2100
    assert (rows.loc[rows["metric"] != "auroc", "resamples"] == 2000).all()
    assert list(rows["test_set"].unique()) == ["id", "device-b"]


def test_few_patients_are_flagged(study) -> None:
    small, large = (bootstrap.summarise(study({"mae": 1.0}, sets=["id"], patients=n, draws=1), 50) for n in (60, 300))
    assert small["flag"].str.contains("interval may be too narrow").all()
    assert (large["flag"] == "").all()
    assert (small["n_patients"] == 60).all()
    assert (small["n_images"] == 120).all()


def test_a_metric_with_compute_alone_is_resampled(study, monkeypatch) -> None:
    table = study({"mae": 1.0}, sets=["id"], patients=10, draws=1, fractions=[100.0])
    expected = bootstrap.resample(table, ["brier"], 20).distribution("probe", "id", "brier", "mae", 100.0)
    brier = discovery.load("metrics", "brier")
    monkeypatch.setattr(discovery, "load", lambda *_: SimpleNamespace(compute=brier.compute, TAKES="predictions"))
    found = bootstrap.resample(table, ["mine"], 20).distribution("probe", "id", "mine", "mae", 100.0)
    np.testing.assert_allclose(found.resampled, expected.resampled, atol=1e-12)


def _case(cases: Path, name: str) -> tuple[dict, dict[str, pd.DataFrame]]:
    expected = json.loads((cases / "expected.json").read_text())
    return expected[name], {path.name: pd.read_csv(path) for path in (cases / name).glob("*.csv")}


def _scaled(scores: pd.Series) -> pd.Series:
    return (scores - scores.min()) / max(scores.max() - scores.min(), 1e-9)


def test_e01_resamples_of_one_class_are_left_out_and_counted(cases, cell) -> None:
    expected, tables = _case(cases, "E01")
    table = tables["two_positives.csv"]
    row = _row(cell(table.label, table.score, table.patient_id), 4000)
    assert [row["low"], row["high"]] == expected["two_positives.csv"]["bootstrap_ci"] == [1, 1]
    assert row["value"] == 1
    assert row["undefined"] / row["resamples"] == pytest.approx(0.9**20, abs=0.02)
    one = tables["only_positives.csv"]
    rows = bootstrap.summarise(cell(one.label, one.score / one.score.max(), one.patient_id), 100)
    row = rows[rows["metric"] == "auroc"].squeeze()
    assert np.isnan(row["value"])
    assert np.isnan(row["low"])
    assert row["undefined"] == row["resamples"] == 100
    assert "one class only" in row["flag"]
    assert "undefined" in row["flag"]


@pytest.mark.parametrize("batch", [1, 3, 4, 10])
def test_e04_batches_do_not_change_the_metric(cases, cell, batch) -> None:
    expected, tables = _case(cases, "E04")
    whole = cell(tables["ten.csv"].label, tables["ten.csv"].score)
    table = pd.concat([whole.iloc[start : start + batch] for start in range(0, 10, batch)])
    assert _row(table)["value"] == pytest.approx(expected["ten.csv"]["auroc"], abs=1e-12)


def test_e05_the_interval_is_quantiles(cases, cell) -> None:
    expected, tables = _case(cases, "E05")
    table, expected = tables["thirty.csv"], expected["thirty.csv"]
    row = _row(cell(table.label, _scaled(table.score), table.patient_id), 10_000)
    assert row["value"] == pytest.approx(expected["auroc"], abs=1e-12)
    assert [row["low"], row["high"]] == pytest.approx(expected["percentile_ci"], abs=expected["tolerance"])


def of_patients(value: float, resampled: np.ndarray, patients: int) -> bootstrap.Distribution:
    """A statistic that patients alone move."""
    level = bootstrap.Level(resampled - value, np.inf)
    return bootstrap.Distribution(value, resampled, {bootstrap.PATIENTS: level}, patients)


def test_the_skewness_of_a_few_draws_moves_no_limit() -> None:
    rng = np.random.default_rng(0)
    draws, patients = 0.1 * rng.choice([0.2, 0.2, 0.2, -0.6], 20_000), rng.normal(0, 0.01, 20_000)
    levels = {"draws": bootstrap.Level(draws, 3), bootstrap.PATIENTS: bootstrap.Level(patients, np.inf)}
    found = bootstrap.Distribution(0.8, 0.8 + draws + patients, levels, 100)
    assert found.corrected == pytest.approx(found.resampled, abs=0.005)


def test_skewed_statistics_get_the_bca_interval() -> None:
    """SciPy's BCa interval, whose acceleration comes from a jackknife, on its own resamples."""
    sample = np.random.default_rng(5).lognormal(size=60)
    witness = scipy_bootstrap((sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(6))
    found = of_patients(float(sample.mean()), witness.bootstrap_distribution, 60).row()
    limits, plain = witness.confidence_interval, np.quantile(witness.bootstrap_distribution, [0.025, 0.975])
    assert [found["low"], found["high"]] == pytest.approx([limits.low, limits.high], abs=0.03)
    assert plain[1] < limits.high - 0.1  # the percentile interval is another one


def test_few_patients_keep_the_percentile_interval() -> None:
    values = 1 - np.random.default_rng(0).exponential(0.05, 5000)
    limits = np.quantile(values, [0.025, 0.975])
    few, many = (of_patients(0.95, values, n) for n in (19, 20))
    assert [few.row()[side] for side in ("low", "high")] == pytest.approx(limits)
    assert many.row()["low"] < limits[0] - 0.005
    assert (np.diff(many.widened[np.argsort(values)]) >= 0).all()  # moved, not reordered


def test_coverage_is_roughly_right() -> None:
    simulate = runpy.run_path(str(COVERAGE))["simulate"]
    found = simulate(studies=30, patients=40, resamples=250, seed=0)
    assert found.held >= 0.85
    assert found.naive < found.held
    assert found.held + found.above + found.below == pytest.approx(1)


@pytest.mark.bench
def test_coverage_over_many_studies() -> None:
    simulate = runpy.run_path(str(COVERAGE))["simulate"]
    found = simulate(studies=1000, patients=200, resamples=1000, seed=1)
    assert 0.92 <= found.held <= 0.98


def test_few_draws_widen_the_interval_by_the_degrees_of_freedom_of_the_whole() -> None:
    """Satterthwaite by hand: a tenth of the variance is known with two degrees of freedom, the rest with many."""
    rng = np.random.default_rng(0)
    draws, patients = rng.normal(0, 0.01, 20_000), rng.normal(0, 0.03, 20_000)
    found = bootstrap.Distribution(0.8, 0.8 + draws + patients, {"draws": bootstrap.Level(draws, 2)})
    share = np.var(draws) / np.var(draws + patients)
    freedom = 2 / share**2
    factor = student.ppf(0.975, freedom) / 1.959964
    assert freedom == pytest.approx(200, rel=0.1)
    row = found.row()
    low, high = np.quantile(found.resampled, [0.025, 0.975])
    assert row["low"] == pytest.approx(0.8 - factor * (0.8 - low), abs=1e-6)
    assert row["high"] == pytest.approx(0.8 + factor * (high - 0.8), abs=1e-6)
    alone = bootstrap.Distribution(0.8, 0.8 + draws, {"draws": bootstrap.Level(draws, 2)}).row()
    assert alone["high"] - 0.8 == pytest.approx(4.303 * 0.01, rel=0.05)
    unknown = bootstrap.Distribution(0.8, 0.8 + draws).row()
    assert unknown["high"] - 0.8 == pytest.approx(1.96 * 0.01, rel=0.05)


def test_what_arms_share_cancels_in_the_widening_of_their_difference() -> None:
    shared = np.random.default_rng(1).normal(0, 0.02, 1000)
    one, other = (
        bootstrap.Distribution(value, value + shared, {"draws": bootstrap.Level(shared, 2)}) for value in (0.6, 0.5)
    )
    assert one.minus(other).row()["low"] == pytest.approx(0.1)
    assert bootstrap.mean([one, other]).widened == pytest.approx(one.widened - 0.05)


def test_no_limit_leaves_what_a_metric_can_be() -> None:
    values = np.clip(np.random.default_rng(2).normal(0.97, 0.02, 1000), None, 1.0)
    found = bootstrap.Distribution(0.97, values, {"seeds": bootstrap.Level(values - 0.97, 1)})
    assert found.row()["high"] == 1
