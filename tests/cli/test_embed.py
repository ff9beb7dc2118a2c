"""`medssl embed`: features and maps of a run, as a user has them."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from medssl import backbones
from medssl.backbones.weights import export, load_backbone
from medssl.cli.main import build
from tests.evaluation.conftest import TINY, write_cohort, write_run


def run(*arguments):
    return CliRunner().invoke(build(), ["embed", "--device", "cpu", *map(str, arguments)])


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed")
    first = write_cohort(folder / "a", patients=10, model="one", note="free text")
    table = pd.read_parquet(first)
    later = table.index >= 10
    table.loc[later, ["site", "model"]] = "there", "two"
    table.loc[table.index % 4 == 3, "finding"] = None
    table.to_parquet(first)
    made = write_run(folder / "run", first)
    settings = made / "settings.yaml"
    settings.write_text(settings.read_text().replace("train:", "train:\n  epochs: 3\n  keep_epochs: [1]"))
    torch.manual_seed(5)
    other = backbones.build("vit_nano", in_channels=1, image_size=16, overrides=TINY)
    export(other, made / "snapshots" / "epoch-1", {})
    return made, first


def test_features_and_a_page_of_maps(here, tmp_path):
    out = tmp_path / "f.parquet"
    done = run(*here, "-o", out, "--map", "--label", "finding")
    assert done.exit_code == 0, done.output
    assert "20 images, 16 features each" in done.output
    assert np.stack(pd.read_parquet(out)["features"]).shape == (20, 16)
    page = (tmp_path / "f.html").read_text()
    for said in ("coloured by finding", "coloured by site or device", "t-SNE", "random weights", "16 x 16 pixels"):
        assert said in page
    assert "finding, by images of other sites" in page
    assert page.count(";--f0:") == 2 * 2 * 20  # two maps by two colours
    assert page.count('class="still"') == 2 * 2 * 2
    assert page.count('name="over-pca"') == 3
    assert 'aria-label="epoch 1" checked' in page
    assert 'aria-label="epoch 3">' in page
    assert page.partition("Where the features come from")[2].count("<dt>epoch</dt><dd>3</dd>") == 1
    assert not [secret for secret in ("free text", "p3-0", str(tmp_path), "<script") if secret in page]
    assert run(*here, "-o", out, "--map").exit_code == 74


def test_a_run_without_snapshots_says_how_to_keep_them(here, tmp_path):
    plain = shutil.copytree(here[0], tmp_path / "plain")
    shutil.rmtree(plain / "snapshots")
    settings = plain / "settings.yaml"
    settings.write_text(settings.read_text().replace("  keep_epochs: [1]\n", ""))
    done = run(plain, here[1], "-o", tmp_path / "f.parquet", "--map")
    assert done.exit_code == 0, done.output
    assert "train.keep_epochs" in (tmp_path / "f.html").read_text()


@pytest.mark.parametrize("baseline", ["random", "pixels"])
def test_a_baseline_has_its_own_page(here, tmp_path, baseline):
    done = run(*here, "-o", tmp_path / "f.parquet", "--map", "--baseline", baseline)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "f.html").read_text()
    assert "A baseline is not trained" in page
    assert page.count(f'class="num">{"random weights" if baseline == "random" else "16 x 16 pixels"}</th>') == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-o", "f.csv"], 2, "written as .parquet"),
        (["-o", "f.parquet", "--label", "fnding"], 2, "Did you mean 'finding'"),
        (["-o", "f.parquet", "--baseline", "nothing"], 2, "Unknown baseline"),
        (["-o", "f.parquet", "--device", "tpu"], 2, "Expected device"),
        (["-o", "f.parquet", "--checkpoint", "first"], 2, "'last' or 'best'"),
        (["-o", "f.parquet", "--checkpoint", "best"], 65, "no best checkpoint"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(here, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    done = run(*here, *arguments)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_column_of_free_text_colours_no_map(here, tmp_path):
    table = pd.read_parquet(here[1])
    table = pd.concat([table.assign(sample_id=table["sample_id"] + str(k)) for k in range(3)])
    table["note"] = [f"said {k}" for k in range(len(table))]
    table.to_parquet(here[1].parent / "more.parquet")
    done = run(here[0], here[1].parent / "more.parquet", "-o", tmp_path / "f.parquet", "--map", "--label", "note")
    assert done.exit_code == 2
    assert "60 different words" in done.stderr


def test_weights_on_the_way_are_named_by_their_epoch(here, tmp_path):
    done = run(f"{here[0]}@1", here[1], "-o", tmp_path / "f.parquet", "--map")
    assert done.exit_code == 0, done.output
    assert "no weights before these" in (tmp_path / "f.html").read_text()
    done = run(f"{here[0]}@2", here[1], "-o", tmp_path / "g.parquet")
    assert done.exit_code == 65
    assert "no weights of epoch 2. It kept those after epoch 1 (" in done.stderr


def test_a_damaged_epoch_is_refused_before_anything_is_written(here, tmp_path):
    folder = shutil.copytree(here[0], tmp_path / "run")
    (folder / "snapshots" / "epoch-1" / "model.safetensors").unlink()
    (tmp_path / "out").mkdir()
    command = (folder, here[1], "-o", tmp_path / "out" / "f.parquet", "--map")
    for _ in range(2):
        done = run(*command)
        assert done.exit_code == 65, done.output
        assert "epoch-1" in done.stderr
        assert list((tmp_path / "out").iterdir()) == []
    done = run(*command, "--baseline", "pixels")  # whose page shows no training
    assert done.exit_code == 0, done.output


def test_the_best_weights_are_compared_with_earlier_ones_alone(here, tmp_path):
    folder = shutil.copytree(here[0], tmp_path / "run")
    for epoch, seed in ((2, 6), (3, 7)):
        torch.manual_seed(seed)
        other = backbones.build("vit_nano", in_channels=1, image_size=16, overrides=TINY)
        export(other, folder / "snapshots" / f"epoch-{epoch}", {})
    card = {"training": {"epochs": 3, "steps": 30}, "chosen": {"step": 20}}
    export(load_backbone(folder / "backbone"), folder / "backbone-best", card)
    done = run(folder, here[1], "-o", tmp_path / "f.parquet", "--map", "--checkpoint", "best")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "f.html").read_text()
    assert [page.count(f'id="over-pca-{k}" aria-label="epoch {k + 1}"') for k in range(3)] == [1, 1, 0]


def test_one_image_is_told_as_one(here, tmp_path):
    first = pd.read_parquet(here[1])["sample_id"].iloc[0]
    done = run(*here, "-o", tmp_path / "f.parquet", "--where", f"sample_id == '{first}'")
    assert done.exit_code == 0, done.output
    assert "1 image, 16 features each" in done.output


def test_a_run_that_is_none(here, tmp_path):
    done = run(tmp_path / "nowhere", here[1], "-o", tmp_path / "f.parquet")
    assert done.exit_code == 65
    assert "There is no such run folder" in done.stderr
