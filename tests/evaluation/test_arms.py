import json
import shutil

import pandas as pd
import pytest

from medssl.errors import DataError, SettingsError
from medssl.evaluation.arms import BUILT_IN, Recipe, open_arms, open_run


@pytest.fixture(scope="module")
def runs(here, make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    return {
        "a": make_run(folder / "a", here, seed=0),
        "b": make_run(folder / "b", here, seed=1),
        "c": make_run(folder / "c", here, seed=0, method="simclr"),
    }


def test_a_run_knows_how_it_sees_an_image(runs):
    run = open_run(runs["b"])
    assert run.recipe == Recipe("oct", 16)
    assert (run.name, run.seed, len(run.weights_hash)) == ("b", 1, 64)
    assert run.weights_hash != open_run(runs["a"]).weights_hash


def test_weights_kept_on_the_way_are_named_by_their_epoch(runs, tmp_path):
    folder = shutil.copytree(runs["a"], tmp_path / "a")
    settings = (folder / "settings.yaml").read_text()
    (folder / "settings.yaml").write_text(settings.replace("train:", "train:\n  keep_epochs: [2, 5]"))
    shutil.copytree(runs["b"] / "backbone", folder / "snapshots" / "epoch-2")
    log = [{"kind": "step", "step": 12 * n, "seconds": 60.0 * n} for n in (1, 2, 50)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    kept, end = (arm.runs[0] for arm in open_arms([f"early={folder}@2", f"late={folder}"], "last"))
    assert (kept.name, kept.weights_hash) == ("a@2", open_run(runs["b"]).weights_hash)
    assert (kept.minutes(), end.minutes()) == (1.0, 50.0)  # 100 epochs of 6 steps, logged every 12
    assert open_run(kept.argument) == kept
    assert [arm.name for arm in open_arms([f"{folder}@2", str(folder)], "last")] == ["mae@2", "mae"]
    with pytest.raises(SettingsError, match="'x' mixes weights of different epochs"):
        open_arms([f"x={folder}@2,{runs['b']}"], "last")


@pytest.mark.parametrize(
    ("epoch", "said"),
    [
        (
            "3",
            r"no weights of epoch 3\. It kept those after epochs 2, 5 and 9 \(.*\)\. Use one of those, or .*epoch 100",
        ),
        ("100", r"Epoch 100 is its last: .*a alone takes these weights"),
        ("101", "trained for epochs 1 to 100"),
        ("0", "trained for epochs 1 to 100"),
        ("best", r"number of an epoch behind the @, but got 'best'.*--checkpoint best"),
        ("", r"but got ''.*It kept those after epochs 2, 5 and 9"),
        ("-1", "but got '-1'"),
    ],
)
def test_weights_that_were_not_kept_are_told_from_those_that_were(runs, tmp_path, epoch, said):
    folder = shutil.copytree(runs["a"], tmp_path / "a")
    for kept in (9, 2, 5):
        shutil.copytree(runs["b"] / "backbone", folder / "snapshots" / f"epoch-{kept}")
    with pytest.raises(DataError, match=said):
        open_run(f"{folder}@{epoch}")


def test_a_run_that_kept_none_says_how_to_keep_them(runs, tmp_path):
    with pytest.raises(DataError, match=r"It kept none on the way .*Pretrain anew with --set train.keep_epochs=\[3\]"):
        open_arms([f"early={runs['a']}@3"], "last")
    with pytest.raises(DataError, match="no such run folder"):
        open_run(f"{tmp_path}/nowhere@best")


def test_plain_runs_that_differ_by_their_seed_only_are_one_arm(runs):
    arms = open_arms([runs["a"], runs["c"], runs["b"]], "last")
    assert [(arm.name, [run.name for run in arm.runs]) for arm in arms] == [("mae", ["a", "b"]), ("simclr", ["c"])]


def test_names_can_be_given(runs):
    arms = open_arms([f"ours={runs['a']},{runs['b']}", str(runs["c"])], "last")
    assert [(arm.name, len(arm.runs)) for arm in arms] == [("ours", 2), ("simclr", 1)]
    assert [arm.name for arm in open_arms({"x": [runs["a"]]}, "last")] == ["x"]


def test_two_arms_of_one_method_get_names_of_their_own(runs, here, make_run, tmp_path):
    other = make_run(tmp_path / "d", here)
    settings = (other / "settings.yaml").read_text().replace("holdout: 0.3", "holdout: 0.2")
    (other / "settings.yaml").write_text(settings)
    assert [arm.name for arm in open_arms([runs["a"], other], "last")] == ["mae", "mae-vit_nano"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_names_are_taken(runs, name):
    with pytest.raises(SettingsError, match=f"'{name}' is built in"):
        open_arms([f"{name}={runs['a']}"], "last")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no arm"),
        (["x={a}", "x={b}"], "'x' is given twice"),
        (["x="], "'x' names no run"),
        (["x={a},{a}"], "have the seed 0"),
        (["={a}"], "no name"),
    ],
)
def test_arms_that_make_no_sense_are_refused(runs, arguments, said):
    with pytest.raises(SettingsError, match=said):
        open_arms([argument.format(**runs) for argument in arguments], "last")


def test_an_unknown_checkpoint_is_refused(runs):
    with pytest.raises(SettingsError, match="'last' or 'best', but got 'newest'"):
        open_arms([runs["a"]], "newest")


def test_what_is_no_finished_run_is_refused(runs, tmp_path):
    with pytest.raises(DataError, match="no such run folder"):
        open_run(tmp_path / "nothing")
    with pytest.raises(DataError, match="not a pretraining run"):
        open_run(tmp_path)
    unfinished = shutil.copytree(runs["a"], tmp_path / "unfinished")
    (unfinished / "provenance.json").write_text(json.dumps({"finished": None}))
    with pytest.raises(DataError, match=r"unfinished.*--resume -o"):
        open_run(unfinished)


def test_damaged_weights_are_refused(runs, tmp_path):
    damaged = shutil.copytree(runs["a"], tmp_path / "damaged")
    weights = damaged / "backbone" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged"):
        open_run(damaged)


def test_the_best_checkpoint_needs_to_be_there_and_says_its_labels(runs, tmp_path):
    with pytest.raises(DataError, match="no best checkpoint"):
        open_run(runs["a"], "best")
    both = shutil.copytree(runs["a"], tmp_path / "both")
    shutil.copytree(runs["b"] / "backbone", both / "backbone-best")
    run = open_run(both, "best")
    assert run.weights_hash == open_run(runs["b"]).weights_hash
    assert run.monitored_labels() == 34


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("provenance.json", "[]"),
        ("settings.yaml", "[1]"),
        ("backbone/MANIFEST.json", "[]"),
        ("backbone/MANIFEST.json", '{"config.json": 3}'),
    ],
)
def test_damaged_files_of_a_run_are_one_sentence(runs, tmp_path, name, content):
    damaged = shutil.copytree(runs["a"], tmp_path / "damaged")
    (damaged / name).write_text(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        open_run(damaged)


@pytest.mark.parametrize(
    ("kept", "put", "said"),
    [
        ("seed: 0", "seed: abc", "'train.seed'"),
        ("image_size: 16", "image_size: [16]", "'data.image_size'"),
        ("holdout: 0.3", "holdout: most", "'data.holdout'"),
        ("modality: oct", "modality: xray", "modality 'xray'"),
        ("method: mae", "method: 3", "'method'"),
        ("train:", "train: 3\nother:", "'train' is a group"),
    ],
)
def test_settings_of_a_run_of_the_wrong_kind_are_one_sentence(runs, tmp_path, kept, put, said):
    damaged = shutil.copytree(runs["a"], tmp_path / "damaged")
    text = (damaged / "settings.yaml").read_text()
    assert kept in text
    (damaged / "settings.yaml").write_text(text.replace(kept, put))
    with pytest.raises(DataError, match=rf"{said}.*settings\.yaml"):
        open_run(damaged)


def test_a_damaged_list_of_images_is_refused(runs, tmp_path):
    copy = shutil.copytree(runs["a"], tmp_path / "copy")
    pd.DataFrame({"patient_key": ["x"]}).to_parquet(copy / "pretrained_on.parquet")
    with pytest.raises(DataError, match="no column sample_id, pixel_hash"):
        open_run(copy).pretrained_on()
    (copy / "pretrained_on.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="Not a Parquet table"):
        open_run(copy).pretrained_on()


def test_a_run_without_its_list_of_images_is_refused(runs, tmp_path):
    copy = shutil.copytree(runs["a"], tmp_path / "copy")
    (copy / "pretrained_on.parquet").unlink()
    with pytest.raises(DataError, match="does not say which images"):
        open_run(copy).pretrained_on()
