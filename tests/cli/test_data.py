"""`medssl data`: cards are listed and shown, a copy is adopted, a wrong folder or name is one sentence."""

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
    assert [line.split()[0] for line in listed.output.splitlines()] == cards.names()
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "oct-kremany"], 2, "oct-kermany"),
        (["adopt", "nothing-alike", "."], 2, "nothing-alike"),
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
