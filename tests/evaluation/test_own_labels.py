"""The labels of another place: its patients are parted, learnt from and tested apart from those in distribution."""

import numpy as np
import pytest

from medssl.data.joining import join
from medssl.data.manifest import Manifest
from medssl.data.splits import held_out, patient_keys
from medssl.errors import DataError, SettingsError
from medssl.evaluation.sweep import sweep
from medssl.report.answers import in_patients, verdicts
from medssl.report.build import report
from medssl.report.sweep_folder import Sweep


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, make_cohort):
    """A place where the bright square means the opposite: what is learnt there is not what is learnt here."""
    path = make_cohort(tmp_path_factory.mktemp("far"), patients=10, seed=3, site="far")
    manifest = Manifest.load(path)
    turned = manifest.table.assign(finding=manifest.table["finding"].map({"yes": "no", "no": "yes"}))
    manifest.with_table(turned).save(path.with_name("far.parquet"))
    return path.with_name("far.parquet")


@pytest.fixture(scope="module")
def done(arguments, elsewhere, tmp_path_factory):
    asked = {**arguments, "ood": [elsewhere], "ood_labels": True, "fractions": [12, 100]}
    return sweep(**asked, out=tmp_path_factory.mktemp("sweeps") / "own")


def test_the_three_test_sets_are_kept_apart(done, elsewhere):
    table = done.predictions
    domains = dict(table[["test_set", "domain"]].drop_duplicates().itertuples(index=False, name=None))
    assert domains == {"id": "id", "far": "ood", "own:far": "own"}
    far = Manifest.load(elsewhere)
    held = set(patient_keys(far.table[held_out(far)]))
    for name in ("far", "own:far"):
        assert set(table["patient_id"][table["test_set"] == name]) == held


def test_what_is_learnt_there_is_not_what_is_learnt_here(done):
    scores = {
        (row["test_set"], row["arm"]): row["value"]
        for row in done.results["scores"]
        if row["metric"] == "auroc" and row["fraction"] == 100
    }
    for arm in ("pixels", "mae"):
        assert min(scores["id", arm], scores["own:far", arm]) > 0.8
        assert scores["far", arm] < 0.2


def test_fractions_of_less_than_a_patient_are_left_out_and_said(done):
    fractions = done.predictions.groupby("test_set")["fraction"].unique().map(sorted).to_dict()
    assert fractions == {"id": [12, 100], "far": [12, 100], "own:far": [100]}
    assert any("Of 'far' 12 % of the labels would be no patient" in text for text in done.results["remarks"])
    training = [row for row in done.results["counts"] if row["set"] == "training: far"]
    assert {row["fraction"] for row in training} == {100}


def test_patients_are_counted_among_those_of_the_place(done):
    counts = {row["set"]: row["patients"] for row in done.results["counts"] if row.get("fraction") in (None, 100)}
    assert counts["training: far"] != counts["training"]
    row = {"value": 100, "test_set": "own:far", "domain": "own"}
    assert f"of {counts['training: far']} patients" in in_patients(row, Sweep.read(done.folder))


def test_a_verdict_names_whose_labels_were_learnt_from(done):
    own = [row for row in done.results["verdicts"] if row["domain"] == "own"]
    assert own
    assert all(row["sentence"].startswith("At another place (far), with 100 % of its own labels,") for row in own)
    page = report(done.folder).read_text()
    assert "With labels of its own: far" in page
    others = verdicts(Sweep.read(done.folder), primary=False)
    assert any("the same comparison with labels of another place, on its patients" in row["place"] for row in others)


def test_a_run_over_both_places_can_be_tested_at_both(arguments, here, elsewhere, make_run, tmp_path):
    joined = join([Manifest.load(here), Manifest.load(elsewhere)])
    joined.save(tmp_path / "both.parquet")
    run = make_run(tmp_path / "both", tmp_path / "both.parquet")
    asked = {**arguments, "arms": [run], "ood": [elsewhere], "fractions": [100], "draws": 1}
    with pytest.raises(DataError, match=r"pretrained on images of the test set 'far'.*--ood-labels"):
        sweep(**asked, out=tmp_path / "refused")
    tested = sweep(**asked, ood_labels=True, out=tmp_path / "tested")
    assert np.isfinite(tested.predictions["score"]).all()


def test_without_another_place_there_are_no_labels_of_it(arguments, tmp_path):
    with pytest.raises(SettingsError, match="Add --ood MANIFEST"):
        sweep(**{**arguments, "ood": []}, ood_labels=True, out=tmp_path / "none")
