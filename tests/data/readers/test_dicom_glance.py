"""A header at a glance says what pydicom says, on every file there is, or nothing."""

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medssl.data.readers import HEAD_BYTES, dicom
from medssl.data.readers.parts import dicom_alike, dicom_glance
from medssl.data.readers.parts.dicom_walk import OddError
from medssl.errors import DataError

MUTATIONS = int(os.environ.get("MEDSSL_FUZZ", "2000"))


def slice_of(number: int = 0, **elements) -> Dataset:
    """A CT slice with sequences, a private group and text."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{10 ** (number % 4)}.{number}"
    ds.Modality, ds.Manufacturer, ds.InstitutionName = "CT", "Müller & Söhne", "Klinik\\Zweite"
    ds.ManufacturerModelName, ds.PatientID, ds.PatientName = " Phantom  2 ", "P1", f"Doe^{'x' * (number % 3)}"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.3.9"
    inner = Dataset()
    inner.PurposeOfReferenceCodeSequence = [reference]
    ds.ReferencedStudySequence, ds.ReferencedImageSequence = [reference], [inner, inner]
    ds.add_new((0x0009, 0x0010), "LO", "PRIVATE")
    ds.add_new((0x0009, 0x1001), "UN", b"\x01\x02" * (number % 2 * 50))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2", "1.2.7", "1.2.8"
    ds.EchoTime, ds.AcquisitionNumber, ds.InstanceNumber = "2.50", "01", number
    ds.ImagePositionPatient = [f"{-12.5 * number:.3f}", "1e1", str(number)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", 2, 3
    ds.PixelSpacing, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = [0.5, 0.25], 16, 12, 11, 0
    ds.PixelData = bytes(12)
    ds["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def written(ds: Dataset, path: Path, syntax=ExplicitVRLittleEndian, *, undefined: bool = False) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    if undefined:
        for element in ds.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True)
    return path


def glanced(path: Path):
    """The rows of a glance."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return dicom.glance(path, handle, os.pread(handle, HEAD_BYTES, 0), path.stat().st_size)
    finally:
        os.close(handle)


def described(path: Path):
    """The rows by pydicom, or the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return dicom.describe(path)
        except DataError as error:
            return str(error)


def agrees(path: Path) -> bool:
    """Compare a glance, and a second one that may follow the first, with pydicom; return whether there was one."""
    found = glanced(path)
    for rows in (found, glanced(path) if found else None):
        assert rows is None or rows == described(path), path
    return found is not None


def test_all_files_of_pydicom_agree():
    paths = [Path(path) for path in get_testdata_files() if Path(path).is_file()]
    dicoms = [path for path in paths if dicom.sniff(path, path.read_bytes()[:HEAD_BYTES])]
    seen = sum(map(agrees, dicoms))
    assert len(dicoms) > 60
    assert seen > len(dicoms) // 3


def test_all_real_files_agree(real_data):
    paths = [path for path in sorted(real_data.glob("dicom-samples/**/*")) if path.is_file()]
    assert sum(agrees(path) for path in paths if dicom.sniff(path, path.read_bytes()[:HEAD_BYTES])) > 10


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_series_agrees_slice_by_slice(tmp_path, syntax, undefined):
    for number in range(60):
        path = written(slice_of(number), tmp_path / f"{number}.dcm", syntax, undefined=undefined)
        assert agrees(path)


@pytest.mark.parametrize(
    "elements",
    [
        {"InstanceNumber": None}, {"PatientID": ""}, {"InstanceNumber": -3}, {"ImagePositionPatient": [1, 2]},
        {"ImagePositionPatient": None}, {"EchoTime": [1, 2]}, {"ImageType": "ONE"}, {"PixelSpacing": [0, 1]},
        {"PixelSpacing": 3}, {"NumberOfFrames": 1}, {"Modality": "MR"}, {"PhotometricInterpretation": "MONOCHROME1"},
        {"SpecificCharacterSet": "ISO_IR 192"}, {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}, {"Rows": 40},
        {"Rows": 0}, {"DiffusionBValue": 0.1}, {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, {"Laterality": "L"},
        {"PatientID": "x" * 200}, {"TemporalPositionIdentifier": 4}, {"AcquisitionNumber": ""},
    ],
    ids=str,
)  # fmt: skip
def test_values_of_all_sorts_agree(tmp_path, elements):
    for number in (1, 2, 10):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = written(slice_of(number, **elements), tmp_path / f"{number}.dcm")
        assert agrees(path)


def test_a_header_longer_than_the_window_is_walked_to_its_end(tmp_path):
    for size in (3000, 8000, 8192, 30_000, 200_000):
        ds = slice_of(1)
        ds.add_new((0x0029, 0x0010), "LO", "PRIVATE")
        ds.add_new((0x0029, 0x1010), "OB", bytes(size))
        ds.StudyComments = "x" * 5000
        long = slice_of(2)
        long.ReferencedImageSequence = [slice_of(number) for number in range(40)]
        del ds.PixelData
        for item in long.ReferencedImageSequence:
            del item.PixelData, item.SpecificCharacterSet
        ds.PixelData = bytes(12)
        ds["PixelData"].VR = "OW"
        assert agrees(written(ds, tmp_path / "a.dcm"))
        assert agrees(written(long, tmp_path / "b.dcm", undefined=True))


@pytest.mark.parametrize("cut", [1, 11, 13, 25, 200, 900])
def test_a_cut_off_file_agrees(tmp_path, cut):
    path = written(slice_of(1), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-cut])
    agrees(path)
    found = described(path)
    assert isinstance(found, str) or found[0]["status"] == "unreadable"


def test_odd_files_are_left_to_pydicom(tmp_path):
    for number, syntax in enumerate((ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)):
        assert not agrees(written(slice_of(1), tmp_path / f"{number}.dcm", syntax))
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(written(slice_of(1), tmp_path / "a.dcm").read_bytes()[132:])
    assert not agrees(bare)
    shared = slice_of(1)
    shared.SharedFunctionalGroupsSequence = [Dataset()]
    assert not agrees(written(shared, tmp_path / "b.dcm"))


def test_a_question_that_nobody_foresaw_is_odd(tmp_path):
    path = written(slice_of(1), tmp_path / "a.dcm")
    handle = os.open(path, os.O_RDONLY)
    header = dicom_glance.glimpse(handle, os.pread(handle, HEAD_BYTES, 0), path.stat().st_size).header()
    os.close(handle)
    assert header.dataset.get("Rows") == header.dataset.Rows == 2
    assert "Rows" in header.dataset
    assert header.dataset.get("Laterality", "none") == "none"
    with pytest.raises(OddError):
        header.dataset.get("PatientBirthDate")
    with pytest.raises(AttributeError):
        _ = header.dataset.Laterality


def test_values_equal_those_of_pydicom(tmp_path):
    path = written(slice_of(3), tmp_path / "a.dcm")
    theirs = pydicom.dcmread(path)
    data = path.read_bytes()
    handle = os.open(path, os.O_RDONLY)
    ours = dicom_glance.glimpse(handle, data[:HEAD_BYTES], len(data)).header().dataset
    os.close(handle)
    for name in dicom_glance.WANTED:
        value, want = ours.get(name), theirs.get(name)
        assert (list(value) == list(want)) if isinstance(value, tuple) else (value == want), name


def test_damaged_headers_agree(tmp_path):
    random = np.random.default_rng(int(os.environ.get("MEDSSL_FUZZ_SEED", "0")))
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian] * 2
    sources = [written(slice_of(n), tmp_path / f"{n}.dcm", syntaxes[n], undefined=n > 1) for n in range(4)]
    path, glances = tmp_path / "damaged.dcm", 0
    for number in range(MUTATIONS):
        data = bytearray(sources[number % 4].read_bytes())
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(128, len(data)))
            kind = random.integers(0, 4)
            if kind == 0:
                data[at] = int(random.integers(0, 256))
            elif kind == 1:
                data[at : at + 4] = random.bytes(int(random.integers(0, 8)))
            elif kind == 2:
                data[at] ^= 1 << int(random.integers(0, 8))
            else:
                data[at:at] = data[max(0, at - 60) : at]
        path.write_bytes(data)
        glances += agrees(path)
    assert glances > MUTATIONS // 20


def test_what_is_remembered_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_alike, "_MOST_KEPT", 5)
    for number in range(30):
        assert agrees(written(slice_of(number, PatientID=f"P{number}"), tmp_path / f"{number}.dcm"))
    assert len(dicom_alike._kept) <= 5


def test_numbers_that_are_not_plain_are_left_to_pydicom():
    assert dicom_glance.APART["ImagePositionPatient"](b"1\\2\\nan") is None
    assert dicom_glance.APART["ImagePositionPatient"](b"1\\2\\1e999") is None
    assert dicom_glance.APART["ImagePositionPatient"](b"1_0\\2\\3") is None
    assert dicom_glance.APART["SOPInstanceUID"](b"1.2\\3") is None
    assert dicom_glance.APART["InstanceNumber"](b"12a ") is None
