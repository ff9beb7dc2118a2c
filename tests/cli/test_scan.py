import numpy as np
import pytest
from PIL import Image as Pil
from typer.testing import CliRunner

from medssl import discovery
from medssl.cli.main import build
from medssl.data.manifest import Manifest


@pytest.fixture
def archive(tmp_path):
    for k in range(3):
        Pil.fromarray(np.full((8, 8), k, np.uint8)).save(tmp_path / f"{k}.png")
    (tmp_path / "bad.dcm").write_text("no DICOM \x1b[2J")
    (tmp_path / "labels.csv").write_text("file,patient_id,label\n0.png,P0,NO\n1.png,P1,AMD\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(build(), ["scan", *map(str, arguments)])


@pytest.mark.parametrize("name", ["m.parquet", "m.csv"])
def test_a_manifest_is_written_and_summed_up(archive, tmp_path, name):
    out = tmp_path / "out" / name
    done = run(archive, "--labels", archive / "labels.csv", "-o", out, "--site", "here")
    assert done.exit_code == 0, done.output
    for said in [
        "3 images in 3 files (3 ok, 1 unreadable, 1 skipped)",
        "2 patients (1 image without one), 1 site",
        "named .dcm, but its content",
        "1 of 3 images has no row in labels.csv",
        f"next: medssl pretrain --modality [{' or '.join(discovery.names('modalities'))}] --method mae --data {out}",
    ]:
        assert said in done.output
    manifest = Manifest.load(out)
    assert manifest.table["label"].dropna().tolist() == ["NO", "AMD"]
    assert set(manifest.table["site"]) == {"here"}


def test_where_keeps_some(archive, tmp_path):
    done = run(archive, "--where", "path != '0.png'", "-o", tmp_path / "m.parquet")
    assert done.exit_code == 0, done.output
    assert len(Manifest.load(tmp_path / "m.parquet").usable()) == 2


def test_a_label_table_is_never_replaced_by_the_manifest(archive):
    before = (archive / "labels.csv").read_text()
    done = run(archive, "--labels", archive / "labels.csv", "-o", archive / "labels.csv", "--overwrite")
    assert done.exit_code == 2
    assert "which it is made of" in done.output
    assert (archive / "labels.csv").read_text() == before


def test_words_of_split_that_no_command_knows_are_refused_with_their_row(archive, tmp_path):
    (archive / "labels.csv").write_text("file,split\n0.png,train\n1.png,Test\n")
    done = run(archive, "--labels", archive / "labels.csv", "-o", tmp_path / "m.parquet")
    assert done.exit_code == 65
    assert "'Test' in column 'split', row 2 below the header" in done.output
    assert "labels.csv" in done.output


def test_a_manifest_is_not_written_over_unless_asked(archive, tmp_path):
    out = tmp_path / "out" / "m.csv"
    assert run(archive, "-o", out).exit_code == 0
    out.write_text("worked on by hand")
    done = run(archive, "-o", out)
    assert done.exit_code == 74
    assert "--overwrite" in done.output
    assert out.read_text() == "worked on by hand"
    assert run(archive, "-o", out, "--overwrite").exit_code == 0
    assert len(Manifest.load(out).usable()) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 65, "no such"),
        ([".", "--where", "nothing == 1"], 2, "no column 'nothing'"),
        ([".", "-o", "m.xlsx"], 2, ".parquet or .csv"),
        ([".", "--labels", "none.csv"], 65, "none.csv"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(archive, monkeypatch, arguments, code, said):
    monkeypatch.chdir(archive)
    before = sorted(archive.iterdir())
    done = run(*arguments)
    assert done.exit_code == code
    assert said in done.output
    assert "Traceback" not in done.output
    assert sorted(archive.iterdir()) == before


def test_an_update_keeps_options_labels_and_splits(archive, tmp_path):
    out = tmp_path / "m.parquet"
    assert (
        run(archive, "--labels", archive / "labels.csv", "-o", out, "--site", "here", "--key", tmp_path / "k").exit_code
        == 0
    )
    manifest = Manifest.load(out)
    manifest.with_table(manifest.table.assign(split="train", grade="high")).save(out)
    Pil.fromarray(np.full((8, 8), 9, np.uint8)).save(archive / "new.png")
    (archive / "2.png").unlink()
    done = run(archive, "-o", out, "--update")
    assert done.exit_code == 0, done.output
    assert "1 are new" in done.output
    assert "1 are gone" in done.output
    table = Manifest.load(out).table.set_index("path")
    assert table["label"].dropna().tolist() == ["NO", "AMD"]
    assert set(table["site"]) == {"here"}
    assert "2.png" not in table.index
    assert table.loc["0.png", ["split", "grade"]].tolist() == ["train", "high"]
    assert table.loc["new.png", ["split", "grade"]].isna().all()


def test_an_update_without_the_label_table_says_so(archive, tmp_path):
    out = tmp_path / "m.parquet"
    assert run(archive, "--labels", archive / "labels.csv", "-o", out).exit_code == 0
    (archive / "labels.csv").unlink()
    done = run(archive, "-o", out, "--update")
    assert done.exit_code == 65
    assert "label table that was joined before" in done.output


def test_parts_of_a_scan_are_joined(archive, tmp_path):
    out = tmp_path / "m.csv"
    for part in ("1/2", "2/2"):
        done = run(archive, "-o", out, "--shard", part, "--key", tmp_path / "k")
        assert done.exit_code == 0, done.output
    assert not out.exists()
    assert run(archive, "-o", out, "--key", tmp_path / "k").exit_code == 0
    assert len(Manifest.load(out).usable()) == 3


def test_an_update_whose_ids_would_be_others_is_refused(archive, tmp_path):
    out = tmp_path / "m.parquet"
    assert run(archive, "-o", out).exit_code == 0
    was = out.read_bytes()
    done = run(archive, "-o", out, "--update")
    assert done.exit_code == 65
    assert "a key that was thrown away" in done.output
    assert run(archive, "-o", out, "--overwrite", "--key", tmp_path / "k").exit_code == 0
    done = run(archive, "-o", out, "--update", "--key", tmp_path / "another")
    assert "another key" in done.output
    assert out.read_bytes() != was


def test_parts_need_a_key(archive, tmp_path):
    done = run(archive, "-o", tmp_path / "m.csv", "--shard", "1/2")
    assert done.exit_code == 2
    assert "--key FILE" in done.output


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b"])
def test_a_part_that_is_none_is_refused(archive, tmp_path, shard):
    done = run(archive, "-o", tmp_path / "m.csv", "--shard", shard, "--key", tmp_path / "k")
    assert done.exit_code == 2
    assert "3/8" in done.output
