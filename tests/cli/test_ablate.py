"""`medssl ablate`: which trainings there are, one small ablation whole and resumed, and wrong arguments."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pil
from typer.testing import CliRunner

import medssl
from medssl import api
from medssl.ablation import Ablation
from medssl.cli.main import build
from medssl.errors import DataError, MedsslError, SettingsError, StoppedError
from medssl.evaluation.cohort import LabelSpec
from medssl.settings import dump_yaml, load_yaml, parse_overrides
from medssl.training import source
from medssl.transfer.features import NotFiniteError
from tests.evaluation.conftest import write_cohort

TINY = [
    "data.image_size=16", "vit.width=16", "vit.depth=1", "vit.heads=2", "vit.patch_size=8", "train.batch_size=8",
    "train.epochs=1", "train.workers=0", "train.device=cpu", "mae.decoder_width=32", "mae.decoder_depth=1",
    "mae.decoder_heads=2",
]  # fmt: skip
SETS = [word for value in TINY for word in ("--set", value)]


def run(*arguments):
    return CliRunner().invoke(build(), ["ablate", *map(str, arguments)])


def made(what, **others):
    return Ablation(what, Path("out"), "oct", LabelSpec("disease"), **others)


def test_pairs_leave_all_other_operations_out():
    cells = {(cell.row, cell.column): cell for cell in made("augmentations").cells()}
    assert len(cells) == 10  # four operations alone and six pairs
    off = cells["geometry", "blur"].settings["augment"]
    assert off == {"tone": False, "speckle": False}
    assert cells["tone", "tone"].settings["augment"] == dict.fromkeys(("geometry", "blur", "speckle"), False)


def test_batches_cross_epochs_and_methods_and_seeds():
    cells = made("batch", values={"train.epochs": [2, 1], "train.batch_size": [8]}, seeds=2).cells()
    assert [(cell.method, cell.row, cell.column, cell.seed) for cell in cells] == [
        (method, 8, epochs, seed) for method in ("simclr", "byol") for epochs in (1, 2) for seed in (0, 1)
    ]
    assert cells[0].settings == {"train": {"batch_size": 8, "epochs": 1, "seed": 0}}
    assert len({cell.name for cell in cells}) == len(cells)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("ablate"), patients=16)


def asked(data, out, *more):
    fixed = ["mask", "--modality", "oct", "--backbone", "vit_nano", "--data", data, "--label", "finding", *SETS]
    values = [] if "--values" in more else ["--values", "mae.mask_ratio=0.5,0.75"]
    return [*fixed, *values, "--device", "cpu", "-o", out, *more]


def test_an_ablation_stopped_goes_on_with_the_cells_that_are_missing(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    trained = []
    real = api.pretrain

    def counted(*arguments, **named):
        if not named["dry_run"]:
            trained.append(named["out"].name)
            if len(trained) == 2:
                raise StoppedError("Stopped")
        return real(*arguments, **named)

    monkeypatch.setattr(api, "pretrain", counted)
    stopped = run(*asked(data, out))
    assert stopped.exit_code == 75
    assert "Repeat the command with --resume." in stopped.stderr
    assert run(*asked(data, out)).exit_code == 74
    other = run(*asked(data, out, "--resume", "--seeds", 2))
    assert other.exit_code == 2
    assert "begun with seeds=1" in other.stderr
    done = run(*asked(data, out, "--resume"))
    assert done.exit_code == 0, done.output
    assert trained == ["mae-0.5-0", "mae-0.75-0", "mae-0.75-0"]
    scores = [json.loads(path.read_text()) for path in sorted((out / "cells").iterdir())]
    assert [one["row"] for one in scores] == [0.5, 0.75]
    assert all(0 <= one["probe"] <= 1 for one in scores)
    page = (out / "report.html").read_text()
    assert "How much to hide" in page
    assert str(data.parent) not in page
    assert "images belong to the test part and are left out" in page


def test_a_dry_run_lists_the_trainings_and_counts_them(data, tmp_path):
    for values, said in (("0.5", "mae-0.5-0\n1 training\n"), ("0.5,0.75", "mae-0.5-0\nmae-0.75-0\n2 trainings\n")):
        done = run(*asked(data, tmp_path / "out", "--values", f"mae.mask_ratio={values}", "--dry-run"))
        assert done.exit_code == 0, done.output
        assert done.stdout.endswith(said)
    assert not (tmp_path / "out").exists()


def test_what_diverges_stays_a_result_and_what_lacked_its_images_is_done_again(data, tmp_path, monkeypatch):
    out, trained, absent = tmp_path / "out", [], [True]
    real = api.pretrain

    def troubled(*arguments, **named):
        if not named["dry_run"]:
            trained.append(named["out"].name)
            if named["out"].name == "mae-0.75-0":
                raise MedsslError("The loss is not finite")
            if named["out"].name == "mae-0.25-0" and absent[0]:
                raise DataError("None of the files is there", where="/archive/A^B", fix="Put them back")
        return real(*arguments, **named)

    monkeypatch.setattr(api, "pretrain", troubled)
    asked_for = asked(data, out, "--values", "mae.mask_ratio=0.25,0.5,0.75")
    first = run(*asked_for)
    assert first.exit_code == 65
    assert (
        "1 of 3 trainings lacks images or files; the first: None of the files is there (/archive/A^B)" in first.stderr
    )
    assert "Put them back. Repeat the command with --resume." in first.stderr
    page = (out / "report.html").read_text()
    assert "MAE with 0.75, seed 0 failed: The loss is not finite" in page
    assert "MAE with 0.25, seed 0 is not scored" in page
    assert "A^B" not in page
    absent[0] = False
    trained.clear()
    second = run(*asked_for, "--resume")
    assert second.exit_code == 0, second.output
    assert trained == ["mae-0.25-0"]
    page = (out / "report.html").read_text()
    assert "MAE with 0.75, seed 0 failed: The loss is not finite" in page
    assert "is not scored" not in page


def test_a_machine_or_data_that_are_not_there_any_more_are_seen_before_anything_is_kept(data, tmp_path, monkeypatch):
    ablation = replace(made("mask", data=data), folder=tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ablation.yaml").write_text(dump_yaml(ablation.plan()))

    def refusing(*arguments, **named):
        raise SettingsError("torch sees no GPU")

    with pytest.raises(SettingsError, match="sees no GPU"):
        ablation.run(refusing, resume=True, device="cpu")
    assert ablation.scores.empty


@pytest.mark.parametrize("trouble", [SettingsError("No patch is left"), NotFiniteError("Features are not finite")])
def test_refused_settings_and_broken_features_are_results(tmp_path, monkeypatch, trouble):
    ablation = replace(made("mask"), folder=tmp_path)

    def fail(*arguments, **named):
        raise trouble

    if isinstance(trouble, NotFiniteError):
        monkeypatch.setattr("medssl.ablation.validate", fail)
        monkeypatch.setattr(Ablation, "_manifest", lambda self: tmp_path)
    pretrain = fail if isinstance(trouble, SettingsError) else lambda *arguments, **named: None
    cell = ablation.cells()[0]
    assert ablation._cell(pretrain, cell, torch.device("cpu"), None)["failed"] == trouble.what
    assert list(ablation.scores["failed"]) == [trouble.what]


@pytest.mark.parametrize(
    "text", ["{}", '{"x": 1}', "[1]", "{", '{"method": "mae", "row": 0.6, "column": 0.6, "seed": 0, "probe": 0.5}',
             '{"method": "mae", "row": 0.5, "column": 0.5, "seed": 0, "failed": "The loss is not finite"}'],
)  # fmt: skip
def test_a_damaged_cell_is_named_before_anything_is_trained(tmp_path, text):
    ablation = replace(made("mask"), folder=tmp_path / "out")
    path = tmp_path / "out" / "cells" / "mae-0.6-0.json"
    path.parent.mkdir(parents=True)
    (tmp_path / "out" / "ablation.yaml").write_text(dump_yaml(ablation.plan()))
    path.write_text(text)

    def unwanted(*arguments, **named):
        pytest.fail("a training was begun")

    with pytest.raises(DataError, match=r"Delete the file\. Repeat the command with --resume") as caught:
        ablation.run(unwanted, resume=True, device="cpu")
    assert caught.value.where == path
    with pytest.raises(DataError, match="Delete the file"):
        ablation.scores  # noqa: B018  (which reads)


def test_too_few_patients_for_a_probe_leave_its_scores_undefined(tmp_path):
    finding = ["yes" if patient == 3 else "no" for patient in range(16) for _ in range(2)]
    data, out = write_cohort(tmp_path / "data", patients=16, finding=finding), tmp_path / "out"
    arguments = asked(data, out, "--values", "mae.mask_ratio=0.5", "--set", "data.holdout=0")
    first = run(*arguments)
    assert first.exit_code == 0, first.output
    assert "too few patients of a class" in (out / "report.html").read_text()
    kept = json.loads((out / "cells" / "mae-0.5-0.json").read_text())
    assert kept["probe"] is None
    before = (out / "report.html").read_text()
    assert run(*arguments, "--resume").exit_code == 0
    assert (out / "report.html").read_text() == before
    ablation = replace(made("mask", values={"mae.mask_ratio": [0.5]}), folder=out)
    assert np.isnan(ablation.scores["probe"]).all()
    assert np.isnan(ablation.baseline["probe"])


OWN = "like: oct\nsize: 16\ntitle: OCT of ours\naugment: {blur: false}\n"


def test_a_folder_and_a_modality_of_ones_own_are_taken_as_pretrain_takes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_CACHE_DIR", str(tmp_path / "cache"))
    images, random = tmp_path / "images", np.random.default_rng(0)
    images.mkdir()
    for k in range(24):
        side = (16, 20)[k % 2]
        Pil.fromarray(random.integers(0, 255, (side, 16), dtype=np.uint8)).save(images / f"{k}.png")
    (tmp_path / "mine.yaml").write_text(OWN)
    scans, real = [], source.scan
    monkeypatch.setattr(source, "scan", lambda *given, **named: scans.append(given) or real(*given, **named))
    settings = {**dict(word.split("=") for word in TINY if "image_size" not in word), "data.holdout": 0}
    settings = parse_overrides([f"{name}={value}" for name, value in settings.items()])
    done = medssl.ablate(
        "mask", tmp_path / "mine.yaml", data=images, label="rows", positive=["20"], backbone="vit_nano",
        settings=settings, values={"mae.mask_ratio": [0.5]}, out=tmp_path / "out", device="cpu",
    )  # fmt: skip
    assert len(scans) == 1
    assert sorted(path.name for path in images.iterdir()) == sorted(f"{k}.png" for k in range(24))
    assert list(done.scores["row"]) == [0.5]
    assert set(done.scores["images"]) == {24}
    assert done.baseline["unknown"] == 24
    kept = load_yaml(tmp_path / "out" / "runs" / "mae-0.5-0" / "settings.yaml")
    assert (kept["modality"], kept["data"]["image_size"]) == ("mine", 16)
    page = done.report.read_text()
    assert "OCT of ours" in page
    assert "no patient was kept for tests" in page
    (tmp_path / "mine.yaml").write_text(OWN.replace("blur: false", "tone: false"))
    with pytest.raises(SettingsError, match="begun with own_modality"):
        medssl.ablate(
            "mask", tmp_path / "mine.yaml", data=images, label="rows", positive=["20"], backbone="vit_nano",
            settings=settings, values={"mae.mask_ratio": [0.5]}, out=tmp_path / "out", resume=True,
        )  # fmt: skip


def test_a_folder_that_cannot_be_used_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "images").mkdir()
    Pil.new("L", (16, 16)).save(tmp_path / "images" / "1.png")
    with pytest.raises(DataError, match="1 of 1 image has no patient_id") as caught:
        medssl.ablate("mask", "oct", data=tmp_path / "images", label="rows", out=tmp_path / "out")
    assert caught.value.where == tmp_path / "images"
    assert not (tmp_path / "out").exists()


def test_pairs_are_of_the_operations_that_ones_own_modality_has():
    cells = made("augmentations", own_modality={"like": "oct", "augment": {"blur": False}}).cells()
    assert len(cells) == 6
    assert not any("blur" in (cell.row, cell.column) for cell in cells)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"values": {"mae.mask_ratio": ["half"]}}, "Expected a list of numbers"),
        ({"values": {"mae.mask_ratio": []}}, "Expected a list of numbers"),
        ({"values": {"mae.mask_ratio": 0.5}}, r"Expected a list of numbers for mae.mask_ratio, but got 0.5 \(values\)"),
        ({"values": {"mae.mask_ratio": "0.5"}}, "but got '0.5'"),
        ({"data": "nowhere.parquet"}, "a column as label"),
        ({"settings": {"mae.mask_ratio": 0.5}}, r"\(settings\). Give its values as values"),
        ({"seeds": 0}, "one seed or more"),
        ({"score": "auc"}, "probe or knn"),
        ({"settings": {"train.seed": 3}}, "trainings a cell by seeds"),
        ({"settings": {"train": {"seed": 3}}}, "trainings a cell by seeds"),
    ],
)
def test_the_function_refuses_wrong_arguments(tmp_path, more, said):
    with pytest.raises(SettingsError, match=said) as caught:
        medssl.ablate("mask", "oct", out=tmp_path / "out", **more)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("what", "arguments", "code", "said"),
    [
        ("msk", [], 2, "Did you mean 'mask'"),
        ("mask", ["--set", "mae.mask_ratio=0.5"], 2, "what this ablation varies"),
        ("augmentations", ["--set", "augment.blur=false"], 2, "what this ablation varies"),
        ("mask", ["--values", "mae.mask_ratoi=0.5"], 2, "Did you mean 'mae.mask_ratio'"),
        ("mask", ["--values", "mae.mask_ratio=half"], 2, "NAME=V,V"),
        ("batch", ["--values", "train.batch_size=8.5"], 2, "Expected whole numbers for train.batch_size, but got 8.5"),
        ("batch", ["--values", "train.epochs=inf"], 2, "Expected whole numbers for train.epochs, but got inf"),
        ("mask", ["--values", "mae.mask_ratio=1.5"], 2, "less than 1"),
        ("mask", ["--score", "accuracy"], 2, "probe or knn"),
        ("mask", ["--modality", "otc"], 2, "Did you mean 'oct'"),
        ("mask", ["--data", "nowhere.parquet", "--label", "d"], 65, "no such file or folder"),
        ("mask", ["--data", "nowhere.parquet"], 2, "needs a label"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_leave_nothing(tmp_path, monkeypatch, what, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDSSL_CACHE_DIR", str(tmp_path.parent / "cache"))
    done = run(what, "--modality", "oct", "-o", "out", *arguments)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []
