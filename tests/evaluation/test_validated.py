"""Scores on training patients: no test patient is looked at, and plain labels are found."""

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.errors import DataError
from medssl.evaluation import validated
from medssl.evaluation.cohort import LabelSpec
from medssl.evaluation.validated import validate

CPU, FINDING = torch.device("cpu"), LabelSpec("finding")


def test_only_images_that_the_run_saw_are_scored(run, here, monkeypatch):
    asked = {}
    real = validated.read_out

    def noted(features, words, patients, others):
        asked["patients"] = set(patients)
        return real(features, words, patients, others)

    monkeypatch.setattr(validated, "read_out", noted)
    found = validate(run, here, FINDING, CPU)
    seen = pd.read_parquet(run / "pretrained_on.parquet")
    assert found.images == len(seen) < 48
    assert asked["patients"] == set(seen["patient_key"])
    assert found.patients == seen["patient_key"].nunique()
    assert (found.positives, found.unknown) == (seen["patient_key"].str[-1].isin(list("13579")).sum(), 0)


def test_a_probe_finds_what_is_plain_and_not_what_is_noise():
    generator = np.random.default_rng(0)
    patients = np.repeat([f"p{k}" for k in range(20)], 2).astype(object)
    labels = (np.arange(40) // 2 % 2).astype(float)
    noise = generator.normal(size=(40, 4))
    assert validated._cross_validated(noise + 6 * labels[:, None], labels, patients, 0)[0] > 0.99
    own = np.repeat(np.eye(20), 2, axis=0)  # each patient has features of their own: nothing carries over
    assert validated._cross_validated(own, labels, patients, 0)[0] < 0.7


def test_the_baseline_is_another_network(run, here):
    scores = [validate(run, here, FINDING, CPU, baseline=baseline) for baseline in (None, "random")]
    assert scores[0].knn != scores[1].knn
    assert scores[0].images == scores[1].images


def test_too_few_patients_have_no_probe():
    labels, patients = np.array([0.0, 1.0]), np.array(["a", "b"], dtype=object)
    assert np.isnan(validated._cross_validated(np.eye(2), labels, patients, 0)).all()


def test_the_interval_of_a_probe_holds_its_score_and_narrows_with_patients():
    generator, widths = np.random.default_rng(1), []
    for count in (40, 640):
        labels = (np.arange(count) % 2).astype(float)
        patients = np.array([f"p{k}" for k in range(count)], dtype=object)
        features = generator.normal(size=(count, 3)) + labels[:, None]
        score, low, high = validated._cross_validated(features, labels, patients, 0)
        assert low < score < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2.5  # by 4 where both are wide


def test_images_of_one_patient_are_resampled_together():
    counts = validated._resampled(np.array(["b", "a", "b"], dtype=object))
    assert (counts[0] == counts[2]).all()
    assert (counts[0] + counts[1] == 2).all()  # two patients are drawn


def test_one_class_is_one_sentence(run, here, tmp_path):
    table = pd.read_parquet(here)
    table["path"] = [str(here.parent / path) for path in table["path"]]
    seen = pd.read_parquet(run / "pretrained_on.parquet")["sample_id"]
    table.loc[table["sample_id"].isin(seen), "finding"] = "no"
    table.to_parquet(tmp_path / "m.parquet")
    with pytest.raises(DataError, match="has 1 classes among"):
        validate(run, tmp_path / "m.parquet", FINDING, CPU)
