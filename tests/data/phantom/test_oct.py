"""The synthetic OCT cohort: reproducible, balanced, written once, and not given away by trivial statistics."""

import zlib

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medssl import discovery, files
from medssl.data.phantom import oct as phantom
from medssl.data.writers import ophthalmic
from medssl.errors import DataError, SettingsError
from medssl.evaluation.shortcut import _deflated


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> phantom.Cohort:
    return phantom.generate(tmp_path_factory.mktemp("phantom"), patients=7)


def test_it_is_found_by_its_name():
    assert "oct" in discovery.names("data.phantom")
    assert discovery.load("data.phantom", "oct") is phantom


def test_an_image_depends_on_its_own_row_only():
    scheme = phantom.plan(0, "device-a", patients=2)
    together = phantom.draw_bscans("device-a", scheme)
    alone = phantom.draw_bscans("device-a", [scheme[5]])
    backwards = phantom.draw_bscans("device-a", scheme[::-1])
    assert np.array_equal(alone[0], together[5])
    assert np.array_equal(backwards[::-1], together)


def test_each_lesion_is_given_to_the_frames_of_its_label(monkeypatch):
    scheme, given = phantom.plan(0, "device-a", patients=3), {}
    for name, none in (("add_drusen", None), ("add_fluid", (np.zeros((len(scheme), 0)),) * 5)):
        monkeypatch.setattr(phantom.lesions, name, lambda r, c, p, n=name, none=none: given.update({n: p}) or none)
    phantom.draw_bscans("device-a", scheme)
    assert given["add_drusen"].tolist() == [b.label == "drusen" for b in scheme]
    assert given["add_fluid"].tolist() == [b.label == "fluid" for b in scheme]


def test_images_differ_between_seeds_devices_patients_and_frames():
    scheme = phantom.plan(0, "device-a", patients=2)
    pictures = [*phantom.draw_bscans("device-a", scheme), *phantom.draw_bscans("device-a", scheme[:1], seed=1)]
    assert len({p.tobytes() for p in pictures}) == len(pictures)
    assert phantom.draw_bscans("device-b", scheme[:1]).shape != pictures[0][None].shape


@pytest.mark.parametrize("device", ["device-a", "device-b"])
@pytest.mark.parametrize("seed", [0, 5])
def test_prevalence_is_one_half_in_each_device_and_split(device, seed):
    table = pd.DataFrame(phantom.plan(seed, device, patients=60))
    for _, part in table.groupby("split"):
        shares = part["label"].value_counts(normalize=True)
        assert shares.to_dict() == {"normal": 0.5, "drusen": 0.25, "fluid": 0.25}
    assert table[table["split"] == "test"]["patient"].nunique() == 18


def test_lesions_cluster_in_patients_but_not_in_whole_patients():
    table = pd.DataFrame(phantom.plan(0, "device-a", patients=30))
    diseased = table.assign(disease=table["label"] != "normal").groupby("patient")["disease"].mean()
    assert diseased.value_counts().to_dict() == {0.0: 10, 0.5: 6, 0.75: 8, 1.0: 6}


def test_a_patient_is_the_same_in_a_smaller_cohort():
    assert phantom.plan(0, "device-a", patients=4) == phantom.plan(0, "device-a", patients=50)[: 4 * phantom.FRAMES]


def test_six_patients_have_every_label_in_both_splits():
    table = pd.DataFrame(phantom.plan(0, "device-a", patients=6))
    assert len(table.drop_duplicates(["split", "label"])) == 6


def test_labels_match_the_files(cohort):
    for site, folder in cohort.sites.items():
        labels = pd.read_csv(cohort.labels[site], dtype={"frame": int})
        assert list(labels) == ["file", "frame", "label", "disease", "patient_id", "site", "split"]
        assert ((labels["label"] == "normal") == (labels["disease"] == "no")).all()
        assert set(labels["file"]) == {p.name for p in folder.glob("*.dcm")}
        for name, rows in labels.groupby("file"):
            header = pydicom.dcmread(folder / name, stop_before_pixels=True)
            assert rows["frame"].tolist() == list(range(header.NumberOfFrames))
            assert set(rows["patient_id"]) == {header.PatientID}
            assert header.ManufacturerModelName == site == rows["site"].iloc[0]
    assert set(pd.read_csv(cohort.labels["device-a"])["split"]) == {"train", "test"}
    assert set(pd.read_csv(cohort.labels["device-b"])["split"]) == {"test"}


def test_files_hold_the_pictures_of_the_plan_and_say_that_they_are_synthetic(cohort):
    dataset = pydicom.dcmread(cohort.sites["device-a"] / "A0003.dcm")
    scheme = [b for b in phantom.plan(0, "device-a", 3) if b.patient == 2]
    assert np.array_equal(dataset.pixel_array, phantom.draw_bscans("device-a", scheme))
    assert dataset.QualityControlSubject == "YES"
    assert dataset.Manufacturer == "medssl phantom"
    assert "Synthetic" in dataset.InstitutionName
    assert "Synthetic" in str(dataset.PatientName)
    for folder in cohort.sites.values():
        files.verify_folder(folder)


def test_it_is_written_once(tmp_path):
    events = []
    phantom.generate(tmp_path, patients=2, progress=lambda kind, event: events.append((kind, event)))
    file = tmp_path / "device-a" / "A0001.dcm"
    before = file.stat()
    assert events[-1] == ("phantom", {"done": 3, "total": 3, "site": "device-b"})
    phantom.generate(tmp_path, patients=2)
    assert file.stat().st_ino == before.st_ino
    old = file.read_bytes()
    phantom.generate(tmp_path, patients=2, seed=1)
    assert file.read_bytes() != old


def test_another_version_is_written_anew(tmp_path, monkeypatch):
    phantom.generate(tmp_path, patients=1)
    before = (tmp_path / "device-a" / "A0001.dcm").stat().st_ino
    monkeypatch.setattr(phantom, "VERSION", "older")
    assert phantom.generate(tmp_path, patients=1).version == "older"
    assert (tmp_path / "device-a" / "A0001.dcm").stat().st_ino != before


def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch):
    def fail(path, volume):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ophthalmic, "write", fail)
    with pytest.raises(files.StorageError, match="disk is full"):
        phantom.generate(tmp_path, patients=1)
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "device-a").mkdir()
    (tmp_path / "device-a" / "scan.dcm").write_bytes(b"precious")
    with pytest.raises(DataError, match="no phantom"):
        phantom.generate(tmp_path, patients=1)
    assert (tmp_path / "device-a" / "scan.dcm").read_bytes() == b"precious"


@pytest.mark.parametrize("patients", [0, -3, 10_000])
def test_numbers_of_patients_out_of_range_are_refused(tmp_path, patients):
    with pytest.raises(SettingsError, match=str(patients)):
        phantom.generate(tmp_path / "x", patients=patients)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("device", ["device-a", "device-b"])
def test_a_lesion_changes_no_grey_value_and_not_how_well_a_picture_compresses(device):
    """The same frames with and without lesions, so that few are enough, as they are and packed for a network."""
    scheme = phantom.plan(3, device, patients=60)[::2]
    grey, size = {}, {}
    for label in ("normal", "drusen", "fluid"):
        pictures = phantom.draw_bscans(device, [b._replace(label=label) for b in scheme], seed=3)
        packed = [np.asarray(Image.fromarray(p).resize((64, 64), Image.Resampling.BILINEAR))[None] for p in pictures]
        grey[label] = np.sort(pictures.reshape(len(pictures), -1), axis=1)
        size[label] = [[len(zlib.compress(p.tobytes())) for p in pictures], [_deflated(p) for p in packed]]
    np.testing.assert_array_equal(grey["normal"], grey["drusen"])
    np.testing.assert_array_equal(grey["normal"], grey["fluid"])
    disease = np.repeat([0, 1, 1], len(scheme))
    for sizes in np.concatenate([np.array(size[label]) for label in ("normal", "drusen", "fluid")], axis=1):
        assert 0.42 < roc_auc_score(disease, sizes) < 0.6
