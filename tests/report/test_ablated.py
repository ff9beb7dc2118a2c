"""The page of an ablation: which cell stands where, what failed, and what random weights reach."""

import numpy as np
import pytest

from medssl.report import ablated, heat

SCORES = {"knn": 0.6, "knn_low": 0.5, "knn_high": 0.7, "probe": 0.65, "images": 40, "patients": 20}
BASELINE = {**SCORES, "probe": 0.55}


def plan(what, seeds=1):
    return {
        "what": what,
        "modality": "oct",
        "label": ["disease", None, None],
        "seeds": seeds,
        "data": "/secret/m.parquet",
    }


def cell(row, column, probe=0.7, method="simclr", seed=0):
    return {"method": method, "row": row, "column": column, "seed": seed, **SCORES, "probe": probe}


def page(tmp_path, *arguments):
    return ablated.write(tmp_path, *arguments, "probe", synthetic=False).read_text()


def test_a_pair_is_drawn_in_both_orders(tmp_path):
    cells = [cell("geometry", "geometry", 0.61), cell("geometry", "blur", 0.81), cell("blur", "blur", 0.52)]
    html = page(tmp_path, plan("augmentations"), cells, BASELINE)
    figure = html[html.index("<svg") : html.index("</svg>")]
    assert (figure.count("0.810"), figure.count("0.610"), figure.count("0.520")) == (2, 1, 1)
    assert "0.810, is that of SimCLR with operation geometry and operation blur" in html


def test_methods_stand_beside_each_other_at_one_scale(tmp_path):
    cells = [cell(b, e, 0.5 + b / 1000 + e / 100, m) for m in ("simclr", "byol") for b in (16, 64) for e in (1, 2)]
    html = page(tmp_path, plan("batch"), cells, BASELINE)
    assert html.count("<svg") == 2
    assert "images a batch 64 and epochs 2" in html


def test_a_curve_has_every_seed_and_their_mean_and_random_weights(tmp_path):
    cells = [cell(x, x, 0.5 + x / 10 + seed / 100, "mae", seed) for x in (0.5, 0.75) for seed in (0, 1)]
    html = page(tmp_path, plan("mask", 2), cells, BASELINE)
    assert "means over 2 seeds" in html
    assert "random weights" in html
    assert "0.580, is that of MAE with mask ratio 0.75" in html


def test_nothing_beats_random_weights_is_said_and_failures_are_named(tmp_path):
    failed = {"method": "simclr", "row": 5.0, "column": 5.0, "seed": 0, "failed": "the loss is not finite <b>"}
    html = page(tmp_path, plan("temperature"), [cell(0.1, 0.1, 0.5), cell(1.0, 1.0, 0.51), failed], BASELINE)
    assert "which none of the trainings beats" in html
    assert "SimCLR with 5, seed 0 failed: the loss is not finite &lt;b&gt;" in html
    assert "/secret" not in html


def test_undefined_scores_leave_a_page(tmp_path):
    nothing = {**BASELINE, "probe": float("nan")}
    html = page(tmp_path, plan("temperature"), [cell(0.1, 0.1, float("nan"))], nothing)
    assert "No cell could be scored" in html


@pytest.mark.parametrize("value", [0.2, float("nan")])
def test_a_cell_without_a_score_is_empty(value):
    figure = heat.plot("h", "t", np.array([[0.5, value]]), ["a"], ["b", "c"], (0.2, 0.5))
    assert ("0.200" in figure) == np.isfinite(value)
    assert "0.500" in figure
