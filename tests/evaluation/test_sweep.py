import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from medssl import files
from medssl.cli.main import build
from medssl.data.manifest import Manifest
from medssl.errors import DataError, SettingsError, StoppedError, StorageError
from medssl.evaluation import cells, computing, learners, predictions
from medssl.evaluation.sweep import sweep
from medssl.settings import load_yaml

ARMS = {"mae", "scratch", "random", "pixels", "shortcut"}
COLUMNS = ["test_set", "arm", "fraction", "draw", "seed", "sample_id"]


def scores_of(table: pd.DataFrame) -> pd.Series:
    return table.set_index(COLUMNS)["score"].sort_index()


def part_of(finished) -> pd.Series:
    """The scores of the finished sweep that a short one has too."""
    return scores_of(finished.predictions.query("fraction == 100 and draw == 0"))


@pytest.fixture
def short(arguments):
    """The first draw of all labels alone."""
    return {**arguments, "fractions": [100], "draws": 1}


@pytest.fixture
def computed(monkeypatch):
    """The cells that are computed while the test runs."""
    cells = []
    real = computing._rows
    monkeypatch.setattr(computing, "_rows", lambda cell, *rest: cells.append(cell) or real(cell, *rest))
    return cells


def test_every_arm_predicts_every_test_image_of_every_cell(finished):
    table = finished.predictions
    assert set(table["arm"]) == ARMS
    assert finished.cells == 20
    sizes = table.groupby(["arm", "fraction", "draw", "test_set"]).size()
    assert sizes.xs("elsewhere", level="test_set").eq(16).all()
    assert sizes.xs("id", level="test_set").nunique() == 1
    assert len(sizes) == 5 * 2 * 2 * 2
    assert table["score"].between(0, 1).all()
    assert set(table["domain"][table["test_set"] == "elsewhere"]) == {"ood"}


def test_the_results_follow_from_the_predictions_and_the_facts_alone(finished, tmp_path):
    for name in ("predictions.parquet", "facts.json"):
        shutil.copy(finished.folder / name, tmp_path)
    done = CliRunner().invoke(build(), ["report", str(tmp_path), "--anew"])
    assert done.exit_code == 0, done.output
    assert files.read_json(tmp_path / "results.json") == finished.results
    assert (tmp_path / "report.html").is_file()
    for content, said in (("[]", "a list"), ("{}", "lack label, remarks")):
        (tmp_path / "facts.json").write_text(content)
        done = CliRunner().invoke(build(), ["report", str(tmp_path), "--anew"])
        assert (done.exit_code, said in done.output) == (65, True), done.output


def test_the_table_on_disk_is_the_table(finished):
    loaded = predictions.load(finished.folder / "predictions.parquet")
    pd.testing.assert_series_equal(scores_of(loaded), scores_of(finished.predictions))
    assert loaded.attrs == {"positive": "yes", "negative": "no"}


def test_a_label_that_can_be_seen_is_found(finished):
    table = finished.predictions.query("arm == 'pixels' and fraction == 100 and draw == 0")
    for _, rows in table.groupby("test_set"):
        assert roc_auc_score(rows["label"], rows["score"]) > 0.9


def test_scratch_has_initial_weights_of_its_own_in_each_draw(finished):
    table = finished.predictions.query("arm == 'scratch' and fraction == 100")
    assert sorted(table[["draw", "seed"]].drop_duplicates().itertuples(index=False, name=None)) == [(0, 0), (1, 1)]
    first, second = (table[table["draw"] == draw]["score"].to_numpy() for draw in (0, 1))
    assert np.abs(first - second).max() > 1e-6


def test_all_labels_are_searched_once_and_trained_twice(finished):
    records = [files.read_json(path) for path in (finished.folder / "cells").glob("*.json")]
    scratch = [record for record in records if record["arm"] == "scratch"]
    everything = [record["choice"] for record in scratch if record["fraction"] == 100]
    assert everything[0] == everything[1]
    assert len(list((finished.folder / "searches").glob("*.json"))) == 3  # 25 % twice, 100 % once


def test_random_is_the_best_of_three_by_validation(finished):
    records = [files.read_json(path) for path in (finished.folder / "cells").glob("*.json")]
    random = [record["choice"] for record in records if record["arm"] == "random"]
    assert {choice["of"] for choice in random} == {3}
    assert all(choice["chosen"] in (0, 1, 2) for choice in random)


def test_the_results_say_what_a_reader_must_know(finished):
    results = files.read_json(finished.folder / "results.json")
    assert results == finished.results
    assert results["label"] == {"column": "finding", "positive": "yes", "negative": "no"}
    assert results["validation"].startswith("inside the fraction")
    assert results["primary"].items() >= {"a": "mae", "b": "scratch", "fraction": 25, "test_set": "id"}.items()
    assert set(results["arms"]) == ARMS
    assert results["arms"]["mae"]["seeds"] == [0]
    assert results["synthetic"] is False
    assert len(results["scores"]) == 5 * 2 * 2 * 5  # arms, fractions, test sets, metrics
    assert next(verdict for verdict in results["verdicts"] if verdict["primary"])["a"] == "mae"
    assert any("All draws of 100 %" in remark for remark in results["remarks"])


def test_counts_are_those_of_the_draws(finished, here):
    counts = pd.DataFrame(finished.results["counts"])
    training = counts[counts["set"] == "training"]
    assert (training["images"] == 2 * training["patients"]).all()
    everyone = Manifest.load(here).table["patient_id"].nunique()
    held = int(counts.loc[counts["set"] == "test: id", "patients"].iloc[0])
    assert set(training.loc[training["fraction"] == 100, "patients"]) == {everyone - held}


def test_the_map_has_every_test_image_of_two_arms(finished):
    table = pd.read_parquet(finished.folder / "embeddings.parquet")
    assert list(table.columns) == ["arm", "sample_id", "x", "y", "label", "site", "test_set"]
    assert table.groupby("arm").size().to_dict() == dict.fromkeys(["mae", "random"], table["sample_id"].nunique())
    assert set(table["site"]) == {"here", "there"}


def test_the_plan_stands_before_the_first_cell(arguments, tmp_path):
    out = tmp_path / "sweep"

    def stop(kind, values):
        if kind == "cell":
            assert load_yaml(out / "settings.yaml")["primary"]["a"] == "mae"
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        sweep(**arguments, out=out, progress=stop)


def test_a_dry_run_writes_nothing(arguments, tmp_path):
    planned = sweep(**arguments, out=tmp_path / "sweep", dry_run=True)
    assert planned.cells == 20
    assert not planned.results
    assert not (tmp_path / "sweep").exists()


def test_stopped_by_a_signal_it_goes_on_and_gives_the_same(short, finished, tmp_path, computed):
    out = tmp_path / "sweep"

    def terminate(kind, values):
        if kind == "cell" and values["done"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="SIGTERM") as caught:
        sweep(**short, out=out, progress=terminate)
    assert caught.value.exit_code == 75
    kept = len(computed)
    assert kept in (2, 3)
    events = []
    done = sweep(**short, out=out, resume=True, progress=lambda kind, values: events.append((kind, values)))
    assert len(computed) == 5
    first = next(values for kind, values in events if kind == "cell")
    assert (first["done"], first["total"]) == (kept, 5)
    pd.testing.assert_series_equal(scores_of(done.predictions), part_of(finished))


def test_a_signal_during_a_training_does_not_wait_for_its_end(short, tmp_path, computed):
    out, budget = tmp_path / "sweep", {"steps": 100_000, "patience": 100_000, "warmup_steps": 1}

    def terminate(kind, values):
        if kind == "cell" and values["arm"] == "scratch":
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()

    with pytest.raises(StoppedError):
        sweep(**{**short, "budget": budget}, out=out, progress=terminate)
    assert [cell.arm for cell in computed] == ["mae"]


def test_killed_at_any_cell_it_goes_on_and_gives_the_same(arguments, finished, tmp_path, computed):
    out = shutil.copytree(finished.folder, tmp_path / "sweep")
    (out / "results.json").unlink()
    cells = sorted((out / "cells").glob("*.parquet"))
    cells[0].unlink()  # never written
    cells[1].with_suffix(".json").unlink()  # killed between its two files
    cells[2].write_bytes(b"torn")  # damaged later
    (out / "cells" / ".x.parquet.1.part").write_bytes(b"rest")
    done = sweep(**arguments, out=out, resume=True)
    assert {cell.key for cell in computed} == {path.stem for path in cells[:3]}
    pd.testing.assert_series_equal(scores_of(done.predictions), scores_of(finished.predictions))
    assert done.results == {**finished.results, "seconds": done.results["seconds"]}


def test_a_real_kill_loses_no_finished_cell(short, finished, tmp_path, computed):
    out = tmp_path / "sweep"
    texts = {"arms": [str(short["arms"][0])], "manifest": str(short["manifest"]), "ood": [str(short["ood"][0])]}
    code = "import json, sys; from medssl.evaluation.sweep import sweep; sweep(**json.loads(sys.argv[1]))"
    call = [sys.executable, "-c", code, json.dumps({**short, **texts, "out": str(out)})]
    process = subprocess.Popen(call, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 200
    while len(list(out.glob("cells/*.json"))) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = len(list(out.glob("cells/*.json")))
    assert not (out / "results.json").exists()
    assert 1 <= kept < 5
    done = sweep(**short, out=out, resume=True)
    assert len(computed) == 5 - kept
    np.testing.assert_allclose(scores_of(done.predictions), part_of(finished), atol=1e-5)


def test_a_folder_with_something_in_it_is_refused_without_resume(arguments, finished):
    with pytest.raises(StorageError, match="--resume"):
        sweep(**arguments, out=finished.folder)


def test_another_seed_computes_other_cells(arguments, finished, tmp_path, computed):
    out = shutil.copytree(finished.folder, tmp_path / "sweep")
    (out / "results.json").unlink()
    text = (out / "settings.yaml").read_text()
    (out / "settings.yaml").write_text(text.replace("\nseed: 0\n", "\nseed: 1\n"))
    done = sweep(**{**arguments, "seed": 1}, out=out, resume=True)
    assert len(computed) == done.cells


def test_fine_tuning_trains_the_pretrained_network(short, tmp_path):
    done = sweep(**{**short, "mode": "finetune"}, out=tmp_path / "sweep")
    records = [files.read_json(path) for path in (done.folder / "cells").glob("*.json")]
    chosen = {record["arm"]: record["choice"] for record in records}
    assert set(done.predictions["mode"]) == {"finetune"}
    assert len(chosen["mae"]["tried"]) == len(chosen["scratch"]["tried"]) == 2
    assert "C" in chosen["pixels"]


def test_two_seeds_of_an_arm_are_two_runs(arguments, here, run, make_run, tmp_path):
    second = make_run(tmp_path / "second", here, seed=7)
    done = sweep(
        **{**arguments, "arms": {"ours": [run, second]}, "fractions": [100], "draws": 1, "ood": []}, out=tmp_path / "s"
    )
    ours = done.predictions[done.predictions["arm"] == "ours"]
    assert set(ours[["run", "seed"]].itertuples(index=False, name=None)) == {("first", 0), ("second", 7)}


def test_pretraining_on_test_patients_is_an_error_that_names_the_run(arguments, here, make_run, tmp_path):
    leaky = make_run(tmp_path / "leaky", here, everything=True)
    with pytest.raises(DataError, match=r"'leaky' was pretrained on images of the test set 'id'.*here/p"):
        sweep(**{**arguments, "arms": [leaky]}, out=tmp_path / "sweep")


@pytest.fixture
def leaking(make_cohort, make_run, tmp_path):
    """A published split with two patients on both sides, and a run over other people."""
    path = make_cohort(tmp_path / "leaking", patients=16, site="here")
    loaded = Manifest.load(path)
    patient = loaded.table["patient_id"].str[1:].astype(int)
    split = np.where(patient >= 10, "test", "train")
    crossing = (patient.isin([10, 11])) & loaded.table["path"].str.contains("-1.png")
    split = np.where(crossing, "train", split)
    loaded.with_table(loaded.table.assign(split=split)).save(path)
    elsewhere = make_cohort(tmp_path / "unseen", patients=4, seed=5, site="third")
    return path, make_run(tmp_path / "run", elsewhere, everything=True)


def test_a_split_that_shares_patients_is_an_error_unless_the_training_rows_are_dropped(arguments, leaking, tmp_path):
    path, run = leaking
    changed = {**arguments, "arms": [run], "manifest": path, "fractions": [100], "draws": 1, "ood": []}
    with pytest.raises(DataError, match=r"2 patients in more than one part.*--drop-overlap train"):
        sweep(**changed, out=tmp_path / "sweep", resume=True)
    done = sweep(**changed, drop_overlap="train", out=tmp_path / "dropped")
    counts = {row["set"]: row for row in done.results["counts"]}
    assert counts["test: id"]["images"] == 10
    assert counts["training"]["patients"] == 10
    assert any("2 training images of 2 patients were left out" in remark for remark in done.results["remarks"])


def test_an_image_of_the_other_place_in_training_is_found_by_its_pixels(arguments, here, make_cohort, tmp_path):
    twin = make_cohort(tmp_path / "twin", seed=0, site="twin")  # the same pictures under another name
    with pytest.raises(DataError, match=r"equal pixels"):
        sweep(**{**arguments, "ood": [twin]}, out=tmp_path / "sweep")


def test_another_place_without_patients_is_named(arguments, make_cohort, tmp_path):
    path = make_cohort(tmp_path / "nobody", patients=8, seed=3, site="nobody")
    loaded = Manifest.load(path)
    loaded.with_table(loaded.table.assign(patient_id=None)).save(tmp_path / "nobody" / "strangers.parquet")
    with pytest.raises(DataError, match=r"16 of 16 images have no patient_id.*\(strangers\)"):
        sweep(**{**arguments, "ood": [tmp_path / "nobody" / "strangers.parquet"]}, out=tmp_path / "sweep", dry_run=True)


@pytest.mark.parametrize("content", [b"", b"[]", b"\x93NUMPY"])
def test_damaged_features_are_computed_again(arguments, finished, tmp_path, computed, content):
    out = shutil.copytree(finished.folder, tmp_path / "sweep")
    (out / "results.json").unlink()
    for path in [*(out / "features").iterdir(), *(out / "cells").glob("*.json")]:
        path.write_bytes(content)
    done = sweep(**arguments, out=out, resume=True)
    pd.testing.assert_series_equal(scores_of(done.predictions), scores_of(finished.predictions))


def test_rows_of_the_other_place_that_are_a_test_part_are_used_alone(arguments, make_cohort, tmp_path):
    path = make_cohort(tmp_path / "other", patients=8, seed=3, site="other")
    loaded = Manifest.load(path)
    part = np.where(loaded.table["patient_id"].isin(["p0", "p1", "p2"]), "test", "train")
    loaded.with_table(loaded.table.assign(split=part)).save(path)
    done = sweep(**{**arguments, "ood": [path], "fractions": [100], "draws": 1}, out=tmp_path / "sweep")
    assert {row["set"]: row["images"] for row in done.results["counts"]}["test: cohort"] == 6


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"label": "findng"}, SettingsError, "Unknown label column 'findng'.*Did you mean 'finding'"),
        ({"fractions": [1, 100]}, DataError, "1 % of .* patients"),
        ({"positive": ["maybe"]}, SettingsError, "'maybe' does not occur"),
        ({"positive": ["maybe"], "dry_run": True}, SettingsError, "'maybe' does not occur"),
        ({"positive": ["yes", "no"]}, SettingsError, "Every word of the label is in one class: no, yes"),
        ({"device": "gpu"}, SettingsError, "Unknown device 'gpu'"),
    ],
)
def test_bad_input_is_said_in_one_sentence(arguments, tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        sweep(**{**arguments, **changes}, out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_one_class_in_the_test_part_is_an_error(arguments, make_cohort, make_run, tmp_path):
    path = make_cohort(tmp_path / "one", patients=12)
    loaded = Manifest.load(path)
    split = np.where(loaded.table["patient_id"].isin(["p0", "p2", "p4"]), "test", "train")
    loaded.with_table(loaded.table.assign(split=split)).save(path)
    run = make_run(tmp_path / "run", path)
    with pytest.raises(DataError, match=r"test set 'id' there is only 'no'.*'finding'"):
        sweep(**{**arguments, "arms": [run], "manifest": path}, out=tmp_path / "sweep")


def test_few_patients_are_said_in_the_remarks(arguments, tmp_path):
    done = sweep(**{**arguments, "fractions": [10, 100], "draws": 1}, out=tmp_path / "sweep")
    assert any("At 10 % the patients of some draw are too few" in remark for remark in done.results["remarks"])


def test_images_without_a_patient_are_left_out_and_counted(short, here, make_cohort, tmp_path):
    data, elsewhere = make_cohort(tmp_path / "some"), make_cohort(tmp_path / "there", patients=8, seed=1, site="there")
    for path in (data, elsewhere):
        table = Manifest.load(path)
        patients = table.table["patient_id"].where(table.table.index > 1)
        table.with_table(table.table.assign(patient_id=patients)).save(path)
    done = sweep(**{**short, "manifest": data, "ood": [elsewhere]}, out=tmp_path / "sweep")
    for name, count in (("cohort", 48), ("cohort", 16)):
        said = f"2 of {count} images of '{name}' have no patient_id"
        assert any(said in remark for remark in done.results["remarks"]), said
    ids = set(Manifest.load(data).table["sample_id"].iloc[:2])
    assert not ids & set(done.predictions["sample_id"])


def test_the_best_checkpoint_says_what_it_cost(arguments, here, make_run, tmp_path):
    run = make_run(tmp_path / "run", here)
    shutil.copytree(run / "backbone", run / "backbone-best")
    changed = {**arguments, "arms": [run], "checkpoint": "best", "fractions": [100], "draws": 1, "ood": []}
    done = sweep(**changed, out=tmp_path / "sweep")
    assert any("online kNN with 34 labels" in remark for remark in done.results["remarks"])


def test_what_another_code_computed_is_never_used(arguments, finished, tmp_path, computed, monkeypatch):
    """Cells, features and searches are all named by the format of the code that made them."""
    out = shutil.copytree(finished.folder, tmp_path / "sweep")
    (out / "results.json").unlink()
    kept = {folder: set((out / folder).iterdir()) for folder in ("cells", "features", "searches")}
    for module in (cells, learners):
        monkeypatch.setattr(module, "FORMAT", cells.FORMAT + 1)
    done = sweep(**arguments, out=out, resume=True)
    assert len(computed) == done.cells
    for folder, before in kept.items():
        made = set((out / folder).iterdir()) - before
        assert len(made) == len(before), folder


def test_a_condition_leaves_images_out_of_every_part_and_place(arguments, tmp_path):
    short = {**arguments, "fractions": [100], "draws": 1}
    whole, some = (
        sweep(**short, where=where, out=tmp_path / name)
        for name, where in (("whole", None), ("some", "path.str.endswith('-0.png')"))
    )
    assert some.settings.where == "path.str.endswith('-0.png')"
    for one, other in zip(whole.results["counts"], some.results["counts"], strict=True):
        assert (other["patients"], 2 * other["images"]) == (one["patients"], one["images"])
    with pytest.raises(DataError, match=r"None of .* images meets"):
        sweep(**short, where="rows > 1000", out=tmp_path / "none")
