import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import safetensors.numpy
from PIL import Image as Pil
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from typer.testing import CliRunner

from medssl.cli.facts import lines
from medssl.cli.main import build
from medssl.data.keys import AS_THEY_ARE
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.report.inspect_manifest import places_drawn
from medssl.report.sheet import CAPTION, CELL, GAP

SECRETS = ["PAT-0000", "PAT-0001", "smith", "Jones"]


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "Jones"
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = ["file,patient_id,split,grade"]
    for k in range(30):
        Pil.fromarray(random.integers(0, 256, (40, 50), dtype=np.uint8)).save(folder / f"smith-{k:02}.png")
        rows.append(f"smith-{k:02}.png,PAT-{k % 2:04},{'test' if k % 2 else 'train'},2")
    (folder / "smith-bad.dcm").write_text("no DICOM")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    manifest = scan([folder], labels=tmp_path / "labels.csv", site="here", key=AS_THEY_ARE)
    table = manifest.table.assign(remarks="PAT-0000 was seen twice in smith-00.png", row_spacing_mm=0.5)
    table.loc[3, "row_spacing_mm"] = 0.25
    manifest.with_table(table).save(tmp_path / "m.parquet")
    return tmp_path


@pytest.fixture
def volume(tmp_path):
    values = np.zeros((6, 5, 40), np.int16)
    values[..., 39] = 100
    nib.save(nib.Nifti1Image(values, np.diag([-2.0, 1, 3, 1])), tmp_path / "smith.nii.gz")
    return tmp_path / "smith.nii.gz"


@pytest.fixture
def dicom(tmp_path):
    one = pydicom.Dataset()
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = SecondaryCaptureImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID = generate_uid(), generate_uid()
    one.PatientID, one.Modality, one.Rows, one.Columns = "Jones^Ann", "OT", 4, 6
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 12, 11
    one.PixelData = np.arange(24, dtype=np.uint16).tobytes()
    one.save_as(tmp_path / "smith.dcm", enforce_file_format=True)
    return one


@pytest.fixture
def trained(tmp_path):
    folder = tmp_path / "smith-run"
    folder.mkdir()
    (folder / "settings.yaml").write_text(
        "modality: oct\nmethod: mae\nbackbone: vit_nano\ndata: {manifest: /home/Jones/m.parquet}\n"
    )
    (folder / "metrics.jsonl").write_text(
        '{"kind": "step", "step": 10, "epoch": 0, "loss": 1.5}\n'
        '{"kind": "step", "step": 20, "epoch": 1, "loss": 0.75}\n'
        '{"kind": "monitor", "step": 20, "epoch": 1, "knn_auroc": 0.875}\n'
    )
    pd.DataFrame({"sample_id": ["a", "b"], "patient_key": ["PAT-0000", "PAT-0000"]}).to_parquet(
        folder / "pretrained_on.parquet"
    )
    samples = {
        name: np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32) for name in ("original", "view_0")
    }
    (folder / "samples.safetensors").write_bytes(safetensors.numpy.save(samples))
    return folder


def run(*arguments):
    return CliRunner().invoke(build(), ["inspect", *map(str, arguments)])


def facts(done):
    """Return the lines by name."""
    return {line[:15].strip(): line[15:] for line in done.stdout.splitlines() if line[:15].strip()}


def test_a_manifest_is_counted_and_drawn(archive):
    done = run(archive / "m.parquet", "-o", archive / "sheet.png")
    assert done.exit_code == 0, done.output
    told = facts(done)
    assert told["rows"] == "31"
    assert told["status"] == "ok: 30, unreadable: 1"
    assert told["reason"].startswith("1 x unreadable: ")
    assert told["split"] == "train: 15, test: 15"
    assert told["site"] == "here: 30"
    assert told["format"] == "raster: 30"
    assert told["bits"] == "8: 30"
    assert told["patients"] == "2"
    assert told["spacing, mm"] == "row 0.25 to 0.5"
    assert told["labels"] == "grade"
    assert told["remarks"].startswith("30 x p…")
    with Pil.open(archive / "sheet.png") as picture:
        assert picture.size == (GAP + 6 * (CELL + GAP), GAP + 4 * (CELL + CAPTION + GAP))


def test_images_are_drawn_evenly_and_by_the_seed(archive):
    table = Manifest.load(archive / "m.parquet").table
    places = places_drawn(table, 0)
    assert len(set(places)) == 24
    assert all(table["status"].iloc[place] == "ok" for place in places)
    stretches = np.array_split(np.flatnonzero(table["status"] == "ok"), 24)
    assert all(place in stretch for place, stretch in zip(places, stretches, strict=True))
    assert places == places_drawn(table, 0) != places_drawn(table, 1)


def test_a_picture_of_the_sheet_is_that_of_its_row(archive):
    Pil.fromarray(np.tile(np.repeat([0, 255], 25).astype(np.uint8), (40, 1))).save(archive / "Jones" / "smith-00.png")
    table = Manifest.load(archive / "m.parquet").table
    seed = next(seed for seed in range(99) if places_drawn(table, seed)[0] == 0)
    run(archive / "m.parquet", "-o", archive / "sheet.png", "--seed", seed)
    with Pil.open(archive / "sheet.png") as picture:
        cell = np.asarray(picture)[GAP + CAPTION : GAP + CAPTION + CELL, GAP : GAP + CELL, 0]
    left, top = (CELL - 200) // 2, (CELL - 160) // 2
    assert (cell[top : top + 160, left : left + 100] == 0).all()
    assert (cell[top : top + 160, left + 100 : left + 200] == 255).all()


def test_identifiers_are_masked_in_output_and_sheet_unless_asked_for(archive):
    masked = run(archive / "m.parquet", "-o", archive / "a.png")
    shown = run(archive / "m.parquet", "-o", archive / "b.png", "--ids")
    said = masked.stdout.replace(str(archive / "a.png"), "")
    for secret in SECRETS:
        assert secret not in said
        assert secret.encode() not in (archive / "a.png").read_bytes()
    for secret in ("PAT-0000: 15 images", "smith-", "PAT-0001"):
        assert secret in shown.stdout
    assert (archive / "a.png").read_bytes() == (archive / "b.png").read_bytes()


def test_the_slices_of_a_volume(volume, tmp_path):
    done = run(volume, "-o", tmp_path / "s.png")
    assert done.exit_code == 0, done.output
    told = facts(done)
    assert told["shape"] == "40 x 5 x 6 (slices, rows, columns), 1 channel"
    assert told["spacing"] == "slices 3 mm, rows 1 mm, columns 2 mm"
    assert told["orientation"] == "slices to S, rows to A, columns to L"
    assert told["type"] == "int16, 16 bits stored"
    assert told["values"] == "0 to 100"
    assert told["units"] == "unknown"
    assert "smith" not in done.stdout
    with Pil.open(tmp_path / "s.png") as picture:
        assert picture.size == (GAP + 4 * (CELL + GAP), GAP + 4 * (CELL + CAPTION + GAP))
        last = np.asarray(picture)[-(CELL // 2) - GAP, -(CELL // 2) - GAP]
        first = np.asarray(picture)[GAP + CAPTION + CELL // 2, GAP + CELL // 2]
    assert (first.tolist(), last.tolist()) == ([0] * 3, [255] * 3)
    assert str(volume) in run(volume, "--ids").stdout


def test_a_dicom_file_names_nobody_unless_asked_to(dicom, tmp_path):
    ids = [dicom.PatientID, dicom.StudyInstanceUID, dicom.SeriesInstanceUID, dicom.SOPInstanceUID]
    masked, shown = run(tmp_path / "smith.dcm", "-o", tmp_path / "s.png"), run(tmp_path / "smith.dcm", "--ids")
    assert (masked.exit_code, shown.exit_code) == (0, 0), masked.output + shown.output
    for secret in [*ids, "smith"]:
        assert secret not in masked.stdout
        assert secret.encode() not in (tmp_path / "s.png").read_bytes()
        assert secret in shown.stdout
    assert facts(masked)["type"] == "uint16, 12 bits stored, MONOCHROME2"
    assert facts(masked)["values"] == "0 to 23"
    assert facts(masked)["spacing"] == "unknown"


def test_colour_keeps_its_values(tmp_path):
    Pil.new("RGB", (8, 8), (10, 200, 30)).save(tmp_path / "c.png")
    assert run(tmp_path / "c.png", "-o", tmp_path / "s.png").exit_code == 0
    with Pil.open(tmp_path / "s.png") as picture:
        assert picture.getpixel((GAP + CELL // 2, GAP + CAPTION + CELL // 2)) == (10, 200, 30)


def test_a_run_that_is_not_finished(trained, tmp_path):
    done = run(trained, "-o", tmp_path / "s.png")
    assert done.exit_code == 0, done.output
    told = facts(done)
    assert told["state"].startswith("not finished")
    assert told["method"] == "mae (MAE)"
    assert told["trained on"] == "2 images, 1 patient"
    assert told["last loss"] == "0.75 at step 20"
    assert told["kNN AUROC"] == "0.875 at step 20"
    assert "settings.yaml" in done.stdout
    for secret in SECRETS:
        assert secret not in done.stdout
    assert "/home/Jones/m.parquet" in run(trained, "--ids").stdout
    with Pil.open(tmp_path / "s.png") as picture:
        assert picture.size[0] == GAP + 4 * (CELL + GAP)


def test_a_run_without_pictures_has_no_sheet(trained, tmp_path):
    (trained / "samples.safetensors").unlink()
    done = run(trained, "-o", tmp_path / "s.png")
    assert done.exit_code == 0
    assert "no sheet: the run kept no pictures" in done.stdout
    assert not (tmp_path / "s.png").exists()


def test_nothing_is_written_without_a_place(archive):
    before = sorted(archive.rglob("*"))
    done = run(archive / "m.parquet")
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert sorted(archive.rglob("*")) == before


def test_narrow_terminals_and_control_characters():
    wrapped = lines([("remarks", "one two three four five \x1b[2J")], width=35)
    assert wrapped == ["remarks        one two three four", " " * 15 + "five ?[2J"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.png"], 65, "no such file"),
        (["foreign.png"], 65, "no image"),
        (["Jones"], 65, "medssl scan"),
        (["sweep"], 65, "medssl report"),
        (["damaged.parquet"], 65, "Cannot read the table"),
        (["labels.csv"], 65, "not a manifest"),
        (["gone.parquet"], 65, "can be read"),
        (["broken"], 65, "settings.yaml"),
        (["m.parquet", "-o", "none/a.png"], 74, "no such folder"),
        (["m.parquet", "-o", "mine.png"], 74, "--overwrite"),
        (["m.parquet", "-o", "a.txt"], 2, ".png"),
        (["Jones/smith-00.png", "-o", "Jones/smith-00.png", "--overwrite"], 2, "which it is made of"),
        (["m.parquet", "--seed", "-1"], 2, "--seed"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(archive, monkeypatch, arguments, code, said):
    monkeypatch.chdir(archive)
    (archive / "mine.png").write_text("mine")
    (archive / "foreign.png").write_text("no picture")
    (archive / "damaged.parquet").write_bytes((archive / "m.parquet").read_bytes()[:500])
    (archive / "sweep" / "cells").mkdir(parents=True)
    (archive / "broken").mkdir()
    (archive / "broken" / "settings.yaml").write_text("[1, 2]")
    manifest = Manifest.load(archive / "m.parquet")
    manifest.with_table(manifest.table.assign(path="gone/" + manifest.table["path"])).save(archive / "gone.parquet")
    before = {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()}
    done = run(*arguments, *([] if "-o" in arguments else ["-o", "out.png"]))
    assert done.exit_code == code, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert "bug" not in done.output
    assert {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()} == before


def test_a_condition_chooses_rows_of_a_manifest_and_of_nothing_else(tmp_path):
    for number in range(3):
        Pil.fromarray(np.full((8, 8 + number), number, np.uint8)).save(tmp_path / f"{number}.png")
    scan([tmp_path]).save(tmp_path / "m.parquet")
    shown = CliRunner().invoke(build(), ["inspect", str(tmp_path / "m.parquet"), "--where", "columns >= 9"])
    assert shown.exit_code == 0, shown.output
    assert "2 planes" in shown.output
    refused = CliRunner().invoke(build(), ["inspect", str(tmp_path / "0.png"), "--where", "columns >= 9"])
    assert refused.exit_code == 2
    hostile = CliRunner().invoke(build(), ["inspect", str(tmp_path / "m.parquet"), "--where", "columns.to_csv('x')"])
    assert hostile.exit_code == 2
