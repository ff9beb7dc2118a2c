"""`medssl data`: cards are listed and shown, a copy is adopted, a wrong folder or name is one sentence."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medssl.cli.main import build
from medssl.data import cards
from medssl.data.manifest import Manifest


def run(*arguments):
    return CliRunner().invoke(build(), ["data", *map(str, arguments)])


@pytest.fixture
def copy(tmp_path):
    """A small copy of the Kermany OCT images, named as they are published."""
    for word in ("NORMAL", "DME"):
        (tmp_path / "copy" / "train" / word).mkdir(parents=True)
        for patient in (11, 12):
            image = Image.fromarray(np.full((8, 8), patient, np.uint8))
            image.save(tmp_path / "copy" / "train" / word / f"{word}-{patient}-1.jpeg")
    return tmp_path / "copy"


def test_every_card_is_listed_and_can_be_shown():
    listed = run("list")
    assert listed.exit_code == 0
    lines = listed.output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == cards.names()
    assert max(map(len, lines)) <= 80
    said = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines[1:]}
    assert said["msd-spleen"] == ["ct", "open", "fetch, adopt"]
    assert said["chexpert"] == ["cxr", "registration", "adopt"]
    assert said["camelyon17"] == ["histology", "open", "-"]
    shown = run("show", "oct-kermany")
    assert shown.exit_code == 0
    assert {"licence", "title"} <= {line.partition(":")[0] for line in shown.output.splitlines()}


def test_a_copy_becomes_a_manifest_and_the_next_command_is_named(copy, tmp_path):
    done = run("adopt", "oct-kermany", copy, "-o", tmp_path / "m.parquet")
    assert done.exit_code == 0, done.output
    assert f"next: medssl pretrain --modality oct --method mae --data {tmp_path / 'm.parquet'}" in done.output
    manifest = Manifest.load(tmp_path / "m.parquet")
    assert len(manifest.usable()) == 4


def test_a_manifest_is_not_written_over_unless_asked(copy, tmp_path):
    out = tmp_path / "m.parquet"
    out.write_text("something else")
    assert run("adopt", "oct-kermany", copy, "-o", out).exit_code == 74
    assert out.read_text() == "something else"
    assert run("adopt", "oct-kermany", copy, "-o", out, "--overwrite").exit_code == 0


def test_a_set_is_fetched_with_its_licence_and_citation(tmp_path, site, monkeypatch):
    site.body = b"numbers"
    entry = cards.Download(url=site.url, md5=hashlib.md5(site.body).hexdigest())
    known = cards.load("octmnist").model_copy(update={"files": {"octmnist.npz": entry}})
    monkeypatch.setattr(cards, "load", lambda name: known)
    monkeypatch.chdir(tmp_path)
    done = run("fetch", "octmnist")
    assert done.exit_code == 0, done.output
    assert "wrote octmnist/octmnist.npz" in done.output
    assert "licence: CC BY 4.0" in done.output
    assert "downloading, MB 1/1" in done.output
    assert (tmp_path / "octmnist" / "octmnist.npz").read_bytes() == b"numbers"
    site.body = b"others"
    done = run("fetch", "octmnist", "-o", "again")
    assert done.exit_code == 65
    assert "octmnist.npz.wrong" in done.output
    site.status = 503
    assert run("fetch", "octmnist", "-o", "busy").exit_code == 74


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "oct-kremany"], 2, "oct-kermany"),
        (["adopt", "nothing-alike", "."], 2, "nothing-alike"),
        (["fetch", "chexprt"], 2, "chexpert"),
        (["fetch", "chexpert"], 65, "it is given after registration. See https://stanfordmlgroup"),
        (["fetch", "octmnist", "--file", "octmnist_225.npz"], 2, "octmnist_224.npz"),
        (["adopt", "oct-kermany", "nowhere"], 65, "nowhere"),
        (["adopt", "oct-kermany", "."], 65, "no files"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_is_split_by_patient_and_says_how(copy, tmp_path):
    assert run("adopt", "oct-kermany", copy, "-o", tmp_path / "m.parquet").exit_code == 0
    done = run("split", tmp_path / "m.parquet", "-o", tmp_path / "s.parquet", "--test", "0.5", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert (
        "split by patient: test 0.5, seed 3; train 1 patient with 2 images, test 1 patient with 2 images" in done.output
    )
    assert Manifest.load(tmp_path / "s.parquet").table["split"].value_counts().to_dict() == {"train": 2, "test": 2}
    again = run("split", tmp_path / "s.parquet", "-o", tmp_path / "t.csv")
    assert again.exit_code == 65
    assert "has a split already" in again.output
    over = run("split", tmp_path / "s.parquet", "-o", tmp_path / "t.csv", "--again", "--test", "0.5")
    assert over.exit_code == 0
    assert "a .csv has no place" in over.output
    assert run("split", tmp_path / "m.parquet", "-o", tmp_path / "m.parquet").exit_code == 2
    few = run("split", tmp_path / "m.parquet", "-o", tmp_path / "u.parquet", "--where", "patient_id == '11'")
    assert few.exit_code == 65
    assert "1 patient" in few.output
