"""The page of an ablation: which cell stands where, what failed, and what random weights reach."""

import re

import numpy as np
import pandas as pd
import pytest

from medssl.errors import DataError
from medssl.report import ablated, heat

SCORES = {"knn": 0.6, "knn_low": 0.5, "knn_high": 0.7, "probe": 0.65, "probe_low": 0.55, "probe_high": 0.75}
SCORES |= {"images": 40, "patients": 20, "positives": 12, "unknown": 0}
BASELINE = {**SCORES, "probe": 0.55}


def plan(what, seeds=1):
    return {
        "what": what,
        "modality": "oct",
        "label": ["disease", None, None],
        "seeds": seeds,
        "backbone": None,
        "settings": {},
        "values": {},
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
    assert "0.810 (0.550 to\u00a00.750), is that of SimCLR with geometry and blur" in html
    assert "reaches some 0.100 to either side" in html
    assert html.count("<td>alone</td>") == 2
    assert ">seed<" not in html  # there is one


def test_methods_stand_beside_each_other_at_one_scale(tmp_path):
    cells = [cell(b, e, 0.5 + b / 1000 + e / 100, m) for m in ("simclr", "byol") for b in (16, 64) for e in (1, 2)]
    cells.append(cell(16, 16, 0.53))
    html = page(tmp_path, plan("batch"), cells, BASELINE)
    assert html.count("<svg") == 2
    assert "<td>alone</td>" not in html
    assert "SimCLR with 64 images a batch and 2 epochs; the lowest, 0.526, that of SimCLR with 16 images" in html
    assert html.count(">images a batch<") == 3  # beside each grid and above the table


def test_a_curve_has_every_seed_and_their_mean_and_random_weights(tmp_path):
    cells = [cell(x, x, 0.5 + x / 10 + seed / 100, "mae", seed) for x in (0.5, 0.75) for seed in (0, 1)]
    html = page(tmp_path, plan("mask", 2), cells, BASELINE)
    assert "means over 2 seeds" in html
    assert ">seed<" in html
    assert "random weights" in html
    assert "0.580 (0.550 to\u00a00.750), is that of MAE with mask ratio 0.75" in html
    assert "2 seeds, which lie 0.010 apart in the median and 0.010 at most" in html


def test_the_axis_holds_every_interval():
    part = pd.DataFrame([cell(0.5, 0.5), {**cell(0.75, 0.75, 0.8), "probe_high": 0.9}])
    low, high = ablated._span(part, {**BASELINE, "probe_low": 0.3}, "probe")
    assert low < 0.3 < 0.9 < high


def test_one_seed_is_said_to_be_one(tmp_path):
    html = page(tmp_path, plan("mask"), [cell(0.5, 0.5), cell(0.75, 0.75)], BASELINE)
    assert "how far another seed would move a score is not in the intervals and not known here" in html


def test_it_says_how_many_scores_lie_within_the_interval_of_the_highest(tmp_path):
    scores = [0.5, 0.6, 0.7, 0.72]  # of 0.72 the interval begins at 0.55
    html = page(tmp_path, plan("temperature"), [cell(x, x, x) for x in scores], BASELINE)
    assert "The interval of the highest holds 2 of the 3 other scores, which are not told apart from it here." in html
    html = page(tmp_path, plan("temperature"), [cell(0.5, 0.5, 0.5), cell(0.7, 0.7, 0.7)], BASELINE)
    assert "told apart" not in html


def test_one_score_is_not_the_lowest_too(tmp_path):
    html = page(tmp_path, plan("temperature"), [cell(0.5, 0.5)], BASELINE)
    assert "is that of SimCLR with temperature 0.5. Random weights reach" in html
    assert "lowest" not in html


def test_it_says_on_what_scores_stand_and_what_a_training_was(tmp_path):
    settings = {"backbone": "vit_nano", "data": {"image_size": 64, "holdout": 0.3, "manifest": "/secret/m.parquet"}}
    settings |= {"train": {"epochs": 20, "batch_size": 32, "seed": 0}, "mae": {"mask_ratio": 0.5, "decoder_depth": 3}}
    asked = {**plan("mask"), "label": ["label", ["CNV", "DME"], ["NORMAL"]], "values": {"mae.mask_ratio": [0.5]}}
    ablated.write(tmp_path, asked, [cell(0.5, 0.5)], BASELINE, "probe", False, [settings])
    html = (tmp_path / "report.html").read_text()
    assert "label “label” (CNV, DME against NORMAL)" in html
    assert "Scored on 40 images of 20 patients, 12 of them positive." in html
    assert "Each training: vit_nano, 64 pixels a side, 20 epochs, 32 images a batch." in html
    assert "test patients were not looked at" in html
    assert "mae.decoder_depth" in html
    assert html.count("mae.mask_ratio") == 1  # among what varies, not among what was held alike
    assert "/secret" not in html
    settings["data"]["holdout"] = 0
    ablated.write(tmp_path, asked, [cell(0.5, 0.5)], BASELINE, "probe", False, [settings])
    assert "no patient was kept for tests" in (tmp_path / "report.html").read_text()


def test_what_was_asked_for_is_said_in_words_and_what_was_left_open_is_not(tmp_path):
    def told(**others):
        html = page(tmp_path, {**plan("mask"), **others}, [cell(0.5, 0.5)], BASELINE)
        asked = html[html.index("What was asked for") : html.index("Every setting that")]
        return " ".join(re.sub("<[^>]+>", " ", asked).split())

    said = told(values={"mae.mask_ratio": [0.5, 1.0]})
    assert "label “disease”" in said
    assert "values mae.mask_ratio 0.5, 1 data m.parquet" in said
    assert not any(word in said for word in ("None", "not set", "backbone", "settings"))
    assert "label “label” (CNV, DME against NORMAL)" in told(label=["label", ["CNV", "DME"], ["NORMAL"]])
    assert "label “rows” (20 against every other word)" in told(label=["rows", ["20"], None])
    assert "label “rows” (every other word against 16)" in told(label=["rows", None, ["16"]])


def test_what_was_chosen_by_training_is_not_held_alike(tmp_path):
    def resolved(method, batch, epochs, own):
        rate = {4: 0.064, 8: 0.032}[batch]
        train = {"epochs": epochs, "batch_size": batch, "base_learning_rate": rate, "warmup_epochs": epochs / 10}
        train |= {"clip_norm": None if batch == 4 else 1.0, "optimizer": "adamw", "betas": [0.9, 0.999], "seed": batch}
        return {"method": method, "train": train, method: own, "data": {"image_size": 64, "manifest": f"/{batch}"}}

    of = {"simclr": {"projection_width": 128}, "byol": {"projection_width": 256}}
    grid = [(method, batch, epochs) for method in of for batch in (4, 8) for epochs in (1, 2, 3, 4, 5)]
    asked = {**plan("batch"), "values": {"train.batch_size": [4, 8], "train.epochs": [1, 2, 3, 4, 5]}}
    settings = [*(resolved(*where, of[where[0]]) for where in grid), {}]  # of one they are not there any more
    cells = [cell(batch, epochs, method=method) for method, batch, epochs in grid]
    ablated.write(tmp_path, asked, cells, BASELINE, "probe", False, settings)
    html = (tmp_path / "report.html").read_text()
    said = "train.base_learning_rate 0.032 or 0.064; train.warmup_epochs from 0.1 to 0.5; train.clip_norm not set or 1."
    assert f"Chosen for each training: {said}" in html
    alike = html[html.index("Every setting that all trainings have alike") :]
    for name in ("simclr.projection_width", "byol.projection_width", "train.optimizer", "train.betas", "image_size"):
        assert name in alike
    for name in ("learning_rate", "warmup", "clip_norm", "epochs", "batch_size", "seed", "manifest", "method"):
        assert name not in alike
    assert "Each training: 64 pixels a side." in html


def test_what_is_missing_and_whose_patient_is_unknown_is_remarked_on(tmp_path):
    missing = {
        "method": "mae",
        "row": 0.9,
        "column": 0.9,
        "seed": 1,
        "missing": DataError("None of /secret/A^B is there"),
    }
    html = page(tmp_path, plan("mask"), [cell(0.5, 0.5), missing], {**BASELINE, "unknown": 7})
    assert "MAE with 0.9, seed 1 is not scored, for want of images or files: --resume tries it again" in html
    assert "7 images of unknown patient count as patients of their own" in html
    assert "/secret" not in html


def test_nothing_beats_random_weights_is_said_and_failures_are_named(tmp_path):
    failed = {"method": "simclr", "row": 5.0, "column": 5.0, "seed": 0, "failed": "the loss is not finite <b>"}
    html = page(tmp_path, plan("temperature"), [cell(0.1, 0.1, 0.5), cell(1.0, 1.0, 0.51), failed], BASELINE)
    assert "which none of the settings beats" in html
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
