import numpy as np
import pytest
from PIL import Image as Pil
from typer.testing import CliRunner

from medssl.cli.main import build
from medssl.data.scan import scan
from medssl.report.sheet import CAPTION, CELL, GAP


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    random = np.random.default_rng(0)
    for k in range(2):
        Pil.fromarray(random.integers(0, 256, (40, 50), dtype=np.uint8)).save(folder / f"smith-{k}.png")
    scan([folder]).save(tmp_path / "m.parquet")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(build(), ["show-augment", *map(str, arguments)])


@pytest.mark.parametrize("data", ["archive", "archive/smith-0.png", "m.parquet"])
def test_one_picture_is_written(archive, data):
    out = archive / "views.png"
    done = run(archive / data, "--modality", "oct", "-o", out, "--views", "7", "--set", "data.image_size=32")
    assert done.exit_code == 0, done.output
    assert f"wrote {out}" in done.output
    assert "7 strong views, seed 0" in done.output
    with Pil.open(out) as picture:
        assert picture.size == (GAP + 4 * (CELL + GAP), GAP + 2 * (CELL + CAPTION + GAP))
        assert picture.info == {}


def test_what_was_drawn_is_told_on_request(archive):
    arguments = [archive / "m.parquet", "--modality", "cxr", "--strength", "strong", "--views", "3"]
    quiet = run(*arguments, "-o", archive / "a.png", "--set", "data.image_size=32")
    verbose = run(*arguments, "-o", archive / "b.png", "--set", "data.image_size=32", "-v")
    assert "geometry.rotation_degrees" not in quiet.stdout
    assert sum(line.startswith("view ") for line in verbose.stdout.splitlines()) == 3
    assert "geometry.rotation_degrees" in verbose.stdout
    assert (archive / "a.png").read_bytes() == (archive / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 65, "no such file"),
        (["foreign.png"], 65, "can be read"),
        (["damaged.parquet"], 65, "Cannot read the table"),
        (["m.parquet", "--modality", "octt"], 2, "Did you mean 'oct'"),
        (["m.parquet", "--strength", "stronk"], 2, "Did you mean 'strong'"),
        (["m.parquet", "--row", "abc"], 2, "There is no image 'abc'"),
        (["m.parquet", "--views", "0"], 2, "--views"),
        (["m.parquet", "--set", "augment.tone.gama=1"], 2, "augment.tone.gama"),
        (["m.parquet", "--set", "augment.strong=3"], 2, "augment.strong"),
        (["m.parquet", "--set", "augment.blur=3"], 2, "augment.blur"),
        (["m.parquet", "--set", "augment=3"], 2, "augment"),
        (["m.parquet", "--set", "data=3"], 2, "data"),
        (["m.parquet", "--seed", "-1"], 2, "--seed"),
        (["m.parquet", "--set", "train.epochs=1"], 2, "train.epochs"),
        (["m.parquet", "-o", "none/a.png"], 74, "no such folder"),
        (["m.parquet", "-o", "mine.png"], 74, "--overwrite"),
        (["m.parquet", "-o", "a.jpg"], 2, ".png"),
        (["archive/smith-0.png", "-o", "archive/smith-0.png", "--overwrite"], 2, "which it is made of"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(archive, monkeypatch, arguments, code, said):
    monkeypatch.chdir(archive)
    (archive / "mine.png").write_text("mine")
    (archive / "foreign.png").write_text("no picture")
    (archive / "damaged.parquet").write_bytes((archive / "m.parquet").read_bytes()[:500])
    before = {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()}
    defaults = {"--modality": "oct", "-o": "out.png"}
    more = [word for name, value in defaults.items() if name not in arguments for word in (name, value)]
    done = run(*arguments, *more)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert "bug" not in done.output
    assert {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()} == before
