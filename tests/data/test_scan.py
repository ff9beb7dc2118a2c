import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from medssl.data.keys import AS_THEY_ARE
from medssl.data.manifest import Manifest
from medssl.data.readers import raster, read_file, read_image
from medssl.data.scan import keep, scan
from medssl.data.summary import summary
from medssl.errors import DataError


@pytest.fixture
def picture(tmp_path):
    def write(name: str, seed: int = 0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pil.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 12), dtype=np.uint8)).save(path)
        return path

    return write


def states(manifest: Manifest) -> dict:
    return dict(zip(manifest.table["path"], manifest.table["status"]))


def test_every_file_has_a_row_and_a_bad_one_ends_nothing(tmp_path, picture):
    picture("a.png")
    picture("sub/b.png")
    (tmp_path / "cut.png").write_bytes(picture("whole.png").read_bytes()[:-60])
    (tmp_path / "wrong.dcm").write_text("this is text\n" * 50)
    (tmp_path / "empty.nii").write_bytes(b"")
    (tmp_path / "header.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    found = scan([tmp_path])
    ok = {"a.png", "whole.png", "sub/b.png"}
    bad = {"cut.png", "wrong.dcm", "empty.nii", "header.dcm", "dangling.png"}
    skipped = {"notes.txt", "pipe.png"}
    expected = dict.fromkeys(ok, "ok") | dict.fromkeys(bad, "unreadable") | dict.fromkeys(skipped, "skipped")
    assert states(found) == expected
    assert found.table.loc[found.table["status"] != "ok", "reason"].notna().all()
    assert found.table["sample_id"].is_unique


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights_is_named(tmp_path, picture):
    picture("a.png")
    picture("b.png").chmod(0)
    assert states(scan([tmp_path]))["b.png"] == "unreadable"


def test_nothing_to_read_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    for name, said in [("missing", "no such"), ("empty", "no files"), ("texts", "None of 1 files")]:
        with pytest.raises(DataError, match=said):
            scan([tmp_path / name])


def test_ids_depend_on_the_path_below_the_folder_only(tmp_path, picture):
    picture("one/x/a.png")
    picture("two/x/a.png")
    one, two = (scan([tmp_path / name], key=AS_THEY_ARE) for name in ("one", "two"))
    assert one.table["sample_id"].tolist() == two.table["sample_id"].tolist()
    both = scan([tmp_path / "one", tmp_path / "two", tmp_path / "one" / "x"])
    assert len(both) == both.table["sample_id"].nunique() == 2


def test_a_label_table_names_the_files(tmp_path, picture):
    picture("img/a.png")
    picture("img/b.png")
    (tmp_path / "labels.csv").write_text("file,label\nimg/a.png,1\nimg/z.png,0\n")
    found = scan([tmp_path / "labels.csv"])
    assert states(found) == {"img/a.png": "ok", "img/z.png": "unreadable"}
    assert str(tmp_path / "img" / "z.png") in found.table["reason"][1]
    assert found.usable().table["label"].tolist() == ["1"]


def test_a_manifest_is_returned_as_it_is(tmp_path, picture):
    picture("a.png")
    first = scan([tmp_path])
    first.save(tmp_path / "manifest.parquet")
    again = scan([tmp_path / "manifest.parquet"])
    assert again.content_hash() == first.content_hash()


def test_site_and_image_is_patient(tmp_path, picture):
    picture("a.png")
    picture("b.png")
    found = scan([tmp_path], site="here", image_is_patient=True)
    assert found.table["site"].tolist() == ["here", "here"]
    assert found.table["patient_id"].tolist() == found.table["sample_id"].tolist()
    assert "2 of 2 images had no patient_id and are taken as one patient each" in found.remarks
    assert "2 of 2 images have no patient_id" in " ".join(scan([tmp_path]).remarks)


def test_keep_leaves_the_reasons_in(tmp_path, picture):
    picture("a.png")
    picture("b.png")
    (tmp_path / "notes.txt").write_text("x")
    kept = keep(scan([tmp_path]), "path == 'a.png'")
    assert states(kept) == {"a.png": "ok", "notes.txt": "skipped"}
    assert "1 of 2 images meet" in kept.remarks[-1]
    with pytest.raises(DataError, match="None of 2"):
        keep(scan([tmp_path]), "rows > 999")


def test_progress_counts_to_the_end(tmp_path, picture):
    picture("a.png")
    events = []
    scan([tmp_path], progress=lambda kind, values: events.append((kind, values["done"], values["total"])))
    assert events == [("scan", 0, 1), ("scan", 1, 1)]


def test_read_image_says_what_is_wrong_with_a_row(tmp_path, picture):
    path = picture("a.png")
    (tmp_path / "notes.txt").write_text("x")
    found = scan([tmp_path])
    assert read_image(found, found.table.iloc[0]).array.shape == (1, 16, 12)
    with pytest.raises(DataError, match=r"skipped: not an image.*notes\.txt"):
        read_image(found, found.table.iloc[1])
    path.unlink()
    with pytest.raises(DataError, match="not there"):
        read_image(found, found.table.iloc[0])
    with pytest.raises(DataError, match="no image format"):
        read_file(tmp_path / "notes.txt")


def test_leftovers_of_a_mac_are_skipped(cases):
    found = scan([cases / "R08"])
    assert found.usable().table["ndim"].tolist() == [3, 2, 2, 2]
    assert found.table["status"].value_counts().to_dict() == {"ok": 4, "skipped": 6}


def test_objects_without_pixels_are_skipped_by_name(cases):
    found = scan([cases / "R02"]).table.set_index("path")
    assert found.loc[["DICOMDIR", "findings.dcm", "plan.dcm"], "status"].tolist() == ["skipped"] * 3
    assert "DICOMDIR" in found.loc["DICOMDIR", "reason"]
    assert "Structure Set" in found.loc["plan.dcm", "reason"]
    assert found[found["status"] == "ok"]["slices"].tolist() == [4]


def test_a_cut_off_slice_is_named_and_the_rest_reads(cases):
    found = scan([cases / "R18"])
    bad = found.table[found.table["status"] == "unreadable"]
    assert bad["path"].tolist() == ["broken/slice03.dcm"]
    assert "truncated" in bad["reason"].iloc[0]
    assert "100 of 240 bytes" in bad["reason"].iloc[0]
    assert len(found.usable()) == 5
    assert any("4 slices of 1 DICOM series" in remark for remark in found.remarks)


def test_the_scan_imports_no_heavy_library(cases, tmp_path):
    import subprocess

    code = (
        "import sys, pathlib; from medssl.data.scan import scan; scan([pathlib.Path(sys.argv[1])]); "
        "print([m for m in ('highdicom', 'torch', 'monai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cases / "R09")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_real_set_with_its_table(real_data):
    folder = real_data / "oct-octdl"
    found = scan([folder], labels=folder / "labels.csv")
    usable = found.usable().table
    assert len(usable) == 1995
    assert usable["patient_id"].nunique() == 726
    assert usable["label"].value_counts()["NO"] == 327
    assert [remark.split(" ", 1)[0] for remark in found.remarks] == ["identifiers"]


@pytest.mark.parametrize(("name", "head"), [("x.fda", b"FOCT"), ("y", b"CMDb")])
def test_vendor_files_are_listed_with_what_to_do(tmp_path, picture, name, head):
    picture("good.png")
    (tmp_path / name).write_bytes(head + bytes(50))
    row = scan([tmp_path]).table.set_index("path").loc[name]
    assert row["status"] == "unreadable"
    assert "export it as DICOM" in row["reason"]


def test_the_published_split_of_the_x_rays_is_remarked(real_data):
    folder = real_data / "cxr-pneumonia-kermany"
    text = "\n".join(summary(scan([folder], labels=folder / "labels.csv")))
    assert "170 patients in more than one part" in text
    assert "3103 patients" in text


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_a_name_that_is_not_utf8_is_a_row_with_a_reason(tmp_path, picture):
    picture("good.png")
    bad = [os.fsencode(tmp_path) + name for name in (b"/bad\xff.png", b"/worse\xfe.png")]
    for name in bad:
        os.link(tmp_path / "good.png", name)
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xf6lder"))
    folder.mkdir()
    os.link(tmp_path / "good.png", folder / "inside.png")
    told = []
    manifest = scan([tmp_path], progress=lambda kind, values: told.append(values["path"]))
    assert states(manifest) == {
        "good.png": "ok",
        "bad\\xff.png": "unreadable",
        "worse\\xfe.png": "unreadable",
        "f\\xf6lder/inside.png": "unreadable",
    }
    assert set(manifest.table["reason"].dropna()) == {"its name is not UTF-8; rename it"}
    assert manifest.table["sample_id"].is_unique
    for name in ("m.parquet", "m.csv"):
        manifest.save(tmp_path / "out" / name)
        assert len(Manifest.load(tmp_path / "out" / name)) == 4
    assert all(text.isprintable() for text in told)
    with pytest.raises(DataError, match=r"folder's name is not UTF-8.*f\\xf6lder"):
        scan([folder]).save(tmp_path / "out" / "other.parquet")


def test_a_file_that_crashes_its_reader_is_named_and_the_scan_goes_on(tmp_path, picture, monkeypatch):
    for name in ("a.png", "killer.png", "z.png"):
        picture(name)
    describe = raster.describe
    monkeypatch.setattr(raster, "describe", lambda path: os.abort() if path.name == "killer.png" else describe(path))
    manifest = scan([tmp_path])
    assert states(manifest) == {"a.png": "ok", "killer.png": "unreadable", "z.png": "ok"}
    assert manifest.table["reason"].dropna().tolist() == ["reading it ends the reader (SIGABRT)"]


def test_a_table_that_is_not_joined_is_told_how(tmp_path, picture):
    picture("a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    row = scan([tmp_path]).table.set_index("path").loc["labels.csv"]
    assert (row["status"], row["reason"]) == ("skipped", "a table, not an image: --labels joins it")


def test_pseudonyms_are_told_of_where_there_can_be_some(tmp_path, picture):
    picture("a.png")
    assert not any("pseudonyms" in remark for remark in scan([tmp_path]).remarks)
    (tmp_path / "labels.csv").write_text("file,patient_id\na.png,P1\n")
    assert any("pseudonyms" in remark for remark in scan([tmp_path], labels=tmp_path / "labels.csv").remarks)


def test_our_own_files_among_images_are_no_rows(tmp_path, picture):
    picture("a.png")
    (tmp_path / "from-pacs.json").write_text("{}")
    (tmp_path / ".lock").touch()
    (tmp_path / ".medssl-store").mkdir()
    (tmp_path / ".medssl-store" / "x.npy").touch()
    assert states(scan([tmp_path])) == {"a.png": "ok"}
