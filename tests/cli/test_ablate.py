"""`medssl ablate`: which trainings there are, one small ablation whole and resumed, and wrong arguments."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medssl import api
from medssl.ablation import Ablation
from medssl.cli.main import build
from medssl.errors import MedsslError, StoppedError
from medssl.evaluation.cohort import LabelSpec
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
    return [*fixed, "--values", "mae.mask_ratio=0.5,0.75", "--device", "cpu", "-o", out, *more]


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
    assert f"Go on with: --resume -o {out}." in stopped.stderr
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


def test_a_training_that_diverges_is_a_result(data, tmp_path, monkeypatch):
    real = api.pretrain

    def diverging(*arguments, **named):
        if not named["dry_run"] and named["out"].name == "mae-0.75-0":
            raise MedsslError("The loss is not finite")
        return real(*arguments, **named)

    monkeypatch.setattr(api, "pretrain", diverging)
    done = run(*asked(data, tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "MAE with 0.75, seed 0 failed: The loss is not finite" in (tmp_path / "out" / "report.html").read_text()


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
