import stat

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil
from pydicom import uid
from typer.testing import CliRunner

from medssl.cli.main import build
from medssl.data.columns import KNOWN, iso_day
from medssl.data.keys import AS_THEY_ARE, Key, from_file, kept, once
from medssl.data.labels import join_labels
from medssl.data.manifest import Manifest
from medssl.data.privacy import Hiding, mark_of, shifted
from medssl.data.readers.parts.dicom_burned import burned_in
from medssl.data.readers.parts.said import said
from medssl.data.scan import scan
from medssl.errors import DataError, SettingsError

KEY = Key(b"a key of the tests, of 32 letters")


def dicom(path, patient="0012", study="1.2.3", kind=uid.DigitalXRayImageStorageForPresentation, **more):
    part = pydicom.Dataset()
    part.file_meta = pydicom.dataset.FileMetaDataset()
    part.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    part.file_meta.MediaStorageSOPClassUID = part.SOPClassUID = kind
    part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    part.PatientID, part.StudyInstanceUID, part.SeriesInstanceUID = patient, study, f"{study}.1"
    part.Modality, part.Rows, part.Columns = "DX", 4, 4
    part.SamplesPerPixel, part.PhotometricInterpretation, part.PixelRepresentation = 1, "MONOCHROME2", 0
    part.BitsAllocated, part.BitsStored, part.HighBit = 8, 8, 7
    part.PixelData = bytes(16)
    for name, value in more.items():
        setattr(part, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    part.save_as(path, enforce_file_format=True)
    return part


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    for k, patient in enumerate(["0012", "0012", "12", "3"]):
        study, told = f"1.2.{int(patient)}.{k + 1}", {"StudyDate": f"2020010{k + 1}", "InstitutionName": "Here"}
        dicom(folder / f"{k}.dcm", patient, study, **told)
    return folder


def test_ids_are_pseudonyms_and_leading_zeros_still_count(archive):
    table = scan([archive], key=KEY).table
    assert table["patient_id"].tolist() == [KEY.pseudonym("patient", p) for p in ("0012", "0012", "12", "3")]
    assert table["study_id"].nunique() == table["series_id"].nunique() == table["instance_id"].nunique() == 4
    assert table["site"].tolist() == [KEY.pseudonym("site", "Here")] * 4
    assert set(table["id_key"]) == {KEY.fingerprint}
    assert scan([archive], key=KEY, keep_institution=True).table["site"].tolist() == ["Here"] * 4


def test_without_a_key_no_two_manifests_match(archive):
    one, two = scan([archive]), scan([archive])
    assert not set(one.table["patient_id"]) & set(two.table["patient_id"])
    assert not set(one.table["sample_id"]) & set(two.table["sample_id"])
    assert one.table["patient_id"].nunique() == 3
    assert "match no other manifest" in one.remarks[0]


def test_nobody_to_protect_keeps_ids(archive):
    found = scan([archive], key=AS_THEY_ARE)
    assert found.table["patient_id"].tolist() == ["0012", "0012", "12", "3"]
    assert found.table["id_key"].isna().all()
    assert not any("pseudonym" in remark for remark in found.remarks)


@given(st.dictionaries(st.sampled_from(["patient_id", "PatientName", "note", "rows", "reason"]), st.text(max_size=9)))
def test_only_columns_come_through(row):
    hidden = Hiding(KEY)({**row, "path": "a.dcm"})
    assert set(hidden) <= {*KNOWN, "plane", "data_file", "remarks", "names_patient", "issuer"}


@pytest.mark.parametrize(
    ("path", "patient", "name", "told"),
    [
        ("a/0012345/1.dcm", "0012345", None, True),
        ("a/pat-0012345-x.dcm", "00-12345", None, True),
        ("Doe_Jane/1.dcm", "7", "DOE^Jane", True),
        ("a/doe/1.dcm", "7", "Doe^J", True),
        ("a/12/1.dcm", "12", "Li^Bo", False),
        ("series/1.dcm", "1", None, False),
        ("donedone/1.dcm", None, "Doe^Jane", False),
    ],
)
def test_paths_that_name_the_patient_are_counted(path, patient, name, told):
    row = {"path": path, "patient_id": patient, "patient_name": name}
    assert Hiding(KEY)(row)["names_patient"] is told


def test_the_scan_says_that_paths_name_patients_and_issuers_differ(tmp_path):
    dicom(tmp_path / "DOE" / "1.dcm", "77", PatientName="Doe^Jane", IssuerOfPatientID="A")
    dicom(tmp_path / "x" / "2.dcm", "77", PatientName="Doe^Jane", IssuerOfPatientID="B")
    found = scan([tmp_path], key=KEY)
    assert "1 paths name the patient: keep this manifest like the archive" in found.remarks
    assert "1 patient ids have more than one issuer and count as one person each" in found.remarks
    assert found.table["patient_id"].nunique() == 1
    assert not {"patient_name", "issuer"} & set(found.table.columns)


@given(st.dates(min_value=pd.Timestamp("1990-01-01").date()), st.dates(min_value=pd.Timestamp("1990-01-01").date()))
def test_shifted_dates_keep_the_days_between_them(one, other):
    moved = [pd.Timestamp(shifted(d.isoformat(), "p", KEY)).date() for d in (one, other)]
    assert moved[1] - moved[0] == other - one
    assert 1 <= (one - moved[0]).days <= 365
    assert shifted(one.isoformat(), None, KEY) is None


def test_dates_are_real_unless_they_are_to_be_shifted(archive):
    real = scan([archive], key=KEY)
    assert real.table["study_date"].tolist() == ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"]
    assert "study_date is real, see --shift-dates" in real.remarks
    moved = scan([archive], key=KEY, shift_dates=True).table
    days = (pd.to_datetime(real.table["study_date"]) - pd.to_datetime(moved["study_date"])).dt.days
    assert days[0] == days[1]
    assert days.nunique() == 3
    assert mark_of(moved["id_key"][0]) == (KEY.fingerprint, True)
    with pytest.raises(SettingsError, match="shifted by a key"):
        scan([archive], key=AS_THEY_ARE, shift_dates=True)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("20200229", "2020-02-29"),
        ("2020.02.29", "2020-02-29"),
        ("20190229", None),
        ("2020", None),
        ("Doe", None),
        ("", None),
    ],
)
def test_a_date_is_a_date(text, right):
    assert iso_day(text) == right


@pytest.mark.parametrize("key", [KEY, None])
def test_a_table_joins_by_real_ids_in_the_scan(archive, key):
    labels = archive.parent / "labels.csv"
    labels.write_text("patient_id,grade\n0012,a\n12,b\n0003,c\n")
    found = scan([archive], labels=labels, key=key)
    assert found.table["grade"].tolist()[:3] == ["a", "a", "b"]
    assert pd.isna(found.table["grade"][3])
    labels.write_text("StudyInstanceUID,grade\n1.2.12.2,a\n")
    assert scan([archive], labels=labels, key=key).table["grade"].tolist()[1] == "a"


def test_ids_in_a_table_become_the_pseudonyms_of_the_header(archive):
    labels = archive.parent / "labels.csv"
    labels.write_text("file,patient_id,study_date\n0.dcm,0012,2020-03-01\n3.dcm,0012,2020-03-01\n")
    found = scan([archive], labels=labels, key=KEY, shift_dates=True)
    right = KEY.pseudonym("patient", "0012")
    assert found.table["patient_id"].tolist()[::3] == [right, right]
    assert found.table["study_date"][0] == shifted("2020-03-01", right, KEY)
    assert "patient_id of labels.csv replaces that of the file in 1 images" in found.remarks


def test_a_later_join_needs_the_key_and_says_which(archive, tmp_path):
    secret, _ = kept(tmp_path / "site.key")
    scan([archive], key=tmp_path / "site.key").save(tmp_path / "m.csv")
    manifest = Manifest.load(tmp_path / "m.csv")
    labels = tmp_path / "labels.csv"
    labels.write_text("patient_id,grade\n0012,a\n")
    assert join_labels(manifest, labels, secret).table["grade"].tolist()[:2] == ["a", "a"]
    for other in (None, KEY):
        with pytest.raises(DataError, match=secret.fingerprint) as caught:
            join_labels(manifest, labels, other)
        assert "0012" not in str(caught.value)
    assert KEY.fingerprint in str(caught.value)
    labels.write_text("file,patient_id\narchive/0.dcm,0012\n")
    with pytest.raises(DataError, match="cannot be written as a pseudonym"):
        join_labels(manifest, labels)
    lost = scan([archive], key=once())
    labels.write_text("patient_id,grade\n0012,a\n")
    with pytest.raises(DataError, match="thrown away"):
        join_labels(lost, labels)


def test_a_table_of_pseudonyms_joins_without_the_key(archive, tmp_path):
    manifest = scan([archive], key=KEY)
    labels = tmp_path / "labels.csv"
    labels.write_text(f"patient_id,grade\n{manifest.table['patient_id'][2]},b\n")
    assert join_labels(manifest, labels).table["grade"].tolist()[2] == "b"


SECONDARY = uid.SecondaryCaptureImageStorage


@pytest.mark.parametrize(
    ("kind", "more", "right"),
    [
        (uid.DigitalXRayImageStorageForPresentation, {}, None),
        (uid.ComputedRadiographyImageStorage, {"ImageType": ["DERIVED", "PRIMARY"]}, None),
        (uid.MRImageStorage, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, None),
        (uid.CTImageStorage, {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen"),
        (uid.DigitalXRayImageStorageForPresentation, {"BurnedInAnnotation": "YES"}, "yes"),
        (uid.DigitalXRayImageStorageForPresentation, {"ConversionType": "SD"}, "screen"),
        (uid.EnhancedMRImageStorage, {"ConversionType": ""}, None),
        (SECONDARY, {}, "screen"),
        (SECONDARY, {"BurnedInAnnotation": "NO"}, "no"),
        (uid.MultiFrameTrueColorSecondaryCaptureImageStorage, {}, "screen"),
        (uid.UltrasoundImageStorage, {}, None),
    ],
)
def test_what_may_show_a_name_is_left_out(tmp_path, kind, more, right):
    assert burned_in(dicom(tmp_path / "a" / "0.dcm", kind=kind, **more)) == right
    dicom(tmp_path / "a" / "1.dcm")
    found = scan([tmp_path / "a"], key=KEY)
    assert found.table["status"].tolist() == ["skipped" if right in ("yes", "screen") else "ok", "ok"]
    if right in ("yes", "screen"):
        assert "--burned-in keep" in found.table["reason"][0]
        both = scan([tmp_path / "a"], key=KEY, burned_in="keep")
        assert both.table["status"].tolist() == ["ok", "ok"]
        assert both.table["burned_in"][0] == right
        assert any("may have text burned in are kept" in remark for remark in both.remarks)


def test_no_real_radiograph_is_lost(real_data):
    table = scan([real_data / "dicom-samples"], key=KEY).table
    assert not table["burned_in"].isin(["yes", "screen"]).any()
    assert not table["reason"].fillna("").str.contains("burned").any()


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("could not convert string to float: 'Doe^Jane'", "could not convert string to float: …"),
        ("image file is truncated (12 bytes not processed)", "image file is truncated (12 bytes not processed)"),
        ("Unknown VR Jane at 0x10", "Unknown … at 0x10"),
        ("Doe", "ValueError"),
        ("", "ValueError"),
    ],
)
def test_what_a_library_says_is_told_without_what_it_quotes(text, right):
    assert said(ValueError(text)) == right


def run(*arguments):
    return CliRunner().invoke(build(), ["scan", *map(str, arguments)])


def test_the_command_makes_a_key_and_says_so(archive, tmp_path):
    done = run(archive, "--key", tmp_path / "k", "-o", tmp_path / "m.parquet")
    assert done.exit_code == 0, done.output
    assert f"made the key {tmp_path / 'k'}" in done.output
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    key = from_file(tmp_path / "k")
    first = Manifest.load(tmp_path / "m.parquet")
    assert first.table["patient_id"][0] == key.pseudonym("patient", "0012")
    again = run(archive, "--key", tmp_path / "k", "-o", tmp_path / "m.csv")
    assert "made the key" not in again.output
    assert Manifest.load(tmp_path / "m.csv").table["patient_id"].equals(first.table["patient_id"])
    (tmp_path / "labels.csv").write_text("patient_id,grade\n0012,a\n")
    later = ("-o", tmp_path / "joined.parquet", "--labels", tmp_path / "labels.csv")
    assert run(tmp_path / "m.parquet", "--key", tmp_path / "k", *later).exit_code == 0
    assert Manifest.load(tmp_path / "joined.parquet").table["grade"].tolist()[:2] == ["a", "a"]
    (tmp_path / "k").chmod(0o644)
    refused = run(archive, "--key", tmp_path / "k", "-o", tmp_path / "n.parquet")
    assert refused.exit_code == 65
    assert "chmod 600" in refused.output


def test_pictures_have_a_key_too_and_ids_of_their_own(tmp_path):
    Pil.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    one, two = (scan([tmp_path], key=KEY, image_is_patient=True).table for _ in range(2))
    assert one["sample_id"].tolist() == two["sample_id"].tolist()
    assert one["id_key"].tolist() == [KEY.fingerprint]
    assert one["sample_id"].tolist() != scan([tmp_path], key=AS_THEY_ARE).table["sample_id"].tolist()
