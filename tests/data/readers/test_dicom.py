import json

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    generate_uid,
)

from medssl.data.readers import dicom, read_file, read_image
from medssl.data.scan import scan
from medssl.errors import DataError


@pytest.fixture
def expected(cases):
    return json.loads((cases / "expected.json").read_text())


def write(path, array, **elements):
    """A single-frame or multi-frame file with the given elements."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", generate_uid()
    ds.PatientID, ds.Modality = "P1", "CR"
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * array.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(array.dtype.kind == "i")
    if array.ndim == 3:
        ds.NumberOfFrames = len(array)
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    ds.save_as(path, enforce_file_format=True)
    return path


def check_plane(array, facts):
    rows, columns = facts["shape_rows_columns"]
    assert array.shape[-2:] == (rows, columns)
    for row, column, value in facts["pixel_checks"]:
        assert np.array_equal(array[:, row, column], np.atleast_1d(value))


def check_volume(image, facts, tolerance=1e-3):
    inverse = np.linalg.inv(image.affine)
    for x, y, z, value in facts["world_checks_ras_mm"]:
        index = inverse @ [x, y, z, 1]
        assert np.allclose(index, np.rint(index), atol=0.01)
        assert image.array[0][tuple(np.rint(index[:3]).astype(int))] == pytest.approx(value)
    spacing = np.sort(facts["spacing_ijk_mm"])
    assert np.allclose(np.sort(image.spacing_mm), spacing, atol=tolerance)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("R01", "jpeg2000_lossless.dcm"),
        ("R03", "twenty_more.dcm"),
        ("R03", "odd_count.dcm"),
        ("R12", "implicit_bare"),
        ("R12", "explicit_bare.dcm"),
        ("R16", "one_slice.dcm"),
        ("R16", "radiograph.dcm"),
        ("R16", "unknown.dcm"),
    ],
)
def test_planes_have_their_values_and_spacing(cases, expected, case, name):
    facts, image = expected[case][name], read_file(cases / case / name)
    check_plane(image.array, facts)
    assert image.spacing_mm == (
        tuple(facts["spacing_rows_columns_mm"]) if facts.get("spacing_rows_columns_mm") else None
    )
    row = dicom.describe(cases / case / name)[0]
    assert (row["row_spacing_mm"], row["column_spacing_mm"]) == (image.spacing_mm or (None, None))
    if "flag_any" in facts:
        assert any(word in " ".join(image.remarks).lower() for word in facts["flag_any"])


def test_a_video_syntax_is_named_at_scan_time(cases):
    row = scan([cases / "R01"]).table.set_index("path").loc["mpeg4.dcm"]
    assert row["status"] == "unreadable"
    assert "1.2.840.10008.1.2.4.102" in row["reason"]
    with pytest.raises(DataError, match=r"1\.2\.840\.10008\.1\.2\.4\.102.*mpeg4\.dcm"):
        read_file(cases / "R01" / "mpeg4.dcm")


def test_a_palette_becomes_colour(cases, expected):
    image = read_file(cases / "R13" / "palette.dcm")
    assert image.array.shape[0] == 3
    check_plane(image.array, expected["R13"])


def test_twelve_signed_bits_without_sign_extension(cases):
    planes = [read_file(path).array for path in sorted((cases / "R15").glob("*.dcm"))]
    assert (min(p.min() for p in planes), max(p.max() for p in planes)) == (-180, 179)


def test_values_at_the_limits_of_the_type(cases):
    planes = [read_file(path).array for path in sorted((cases / "R05").rglob("*.dcm"))]
    assert max(p.max() for p in planes) == 178476
    low = [read_file(path).array for path in sorted((cases / "R05" / "int16_limits").glob("*.dcm"))]
    assert (min(p.min() for p in low), max(p.max() for p in low)) == (-32768, 32767)
    assert low[0].dtype == np.int16


def test_an_enhanced_object_is_one_volume_in_place(cases, expected):
    path = cases / "R09" / "enhanced_ct.dcm"
    row = dicom.describe(path)[0]
    assert (row["ndim"], row["slices"], row["rows"], row["columns"]) == (3, 5, 10, 12)
    assert row["slice_spacing_mm"] == pytest.approx(2.5, abs=1e-4)
    image = dicom.read(path)
    assert image.array.shape == (1, 5, 10, 12)
    check_volume(image, expected["R09"])


def test_three_orientations_in_one_file_are_no_volume(cases):
    path = cases / "R10" / "three_planes.dcm"
    rows = dicom.describe(path)
    assert [row["frame"] for row in rows] == list(range(6))
    assert "3 orientations" in rows[0]["remarks"][0]
    with pytest.raises(DataError, match="3 orientations"):
        dicom.read(path)
    assert [dicom.read(path, k).array[0, 0, 0] for k in range(6)] == [120 * k * (k + 1) - 10 * k for k in range(6)]


def test_monochrome1_is_inverted_and_says_so(tmp_path):
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100
    path = write(tmp_path / "x", stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    image = dicom.read(path)
    np.testing.assert_array_equal(image.array[0], 4095 - stored)
    assert image.provenance["inverted"]
    assert "MONOCHROME1" in image.provenance["inversion"]
    assert any("MONOCHROME1" in r for r in dicom.describe(path)[0]["remarks"])


def test_rescale_is_applied_and_gives_the_unit(tmp_path):
    stored = np.arange(12, dtype=np.int16).reshape(3, 4)
    path = write(tmp_path / "x", stored, Modality="CT", RescaleSlope=2, RescaleIntercept=-1024)
    image = dicom.read(path)
    np.testing.assert_array_equal(image.array[0], stored * 2 - 1024)
    assert image.units == "HU"
    fraction = dicom.read(write(tmp_path / "y", stored, RescaleSlope=0.5, RescaleIntercept=0))
    assert fraction.array.dtype == np.float32
    assert fraction.array[0, 0, 1] == 0.5


def test_b_scans_are_rows_of_their_own(tmp_path):
    cube = np.random.default_rng(0).integers(0, 255, (3, 8, 6), dtype=np.uint8)
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.004, 0.012]
    shared.PixelMeasuresSequence = [measures]
    opt = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.5.4", "Modality": "OPT", "ImageLaterality": "R"}
    path = write(tmp_path / "cube", cube, SharedFunctionalGroupsSequence=[shared], **opt)
    rows = dicom.describe(path)
    assert [(r["frame"], r["ndim"], r["laterality"]) for r in rows] == [(0, 2, "R"), (1, 2, "R"), (2, 2, "R")]
    for frame in range(3):
        image = dicom.read(path, frame)
        np.testing.assert_array_equal(image.array[0], cube[frame])
        assert image.array.dtype == np.uint8
        assert image.spacing_mm == (0.004, 0.012)
    with pytest.raises(DataError, match="no frame 3"):
        dicom.read(path, 3)


def test_a_deflated_file_is_read(tmp_path):
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100
    dataset = pydicom.dcmread(write(tmp_path / "plain", stored, RescaleSlope=2, RescaleIntercept=-7))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated", enforce_file_format=True)
    assert dicom.describe(tmp_path / "deflated")[0]["status"] == "ok"
    np.testing.assert_array_equal(dicom.read(tmp_path / "deflated").array[0], 2 * stored.astype(int) - 7)


def test_a_file_that_is_implicit_whatever_its_syntax_says(tmp_path):
    """The header says JPEG, which is always explicit; the data set is implicit, as some converters write it."""
    stored = np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)
    dataset = pydicom.dcmread(write(tmp_path / "plain", stored))
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(stored, lossless=True)])
    dataset["PixelData"].is_undefined_length = True
    meta, path = dataset.file_meta, tmp_path / "x"
    meta.TransferSyntaxUID = JPEGLosslessSV1
    del dataset.file_meta, dataset.preamble
    pydicom.dcmwrite(tmp_path / "bare", dataset, implicit_vr=True, little_endian=True)
    with path.open("wb") as handle:
        handle.write(bytes(128) + b"DICM")
        write_file_meta_info(handle, meta, enforce_standard=False)
        handle.write((tmp_path / "bare").read_bytes())
    assert dicom.describe(path)[0]["status"] == "ok"
    np.testing.assert_array_equal(dicom.read(path).array[0], stored)
    path.write_bytes(path.read_bytes()[:-60])
    assert "truncated" in dicom.describe(path)[0]["reason"]


def test_a_bare_big_endian_file_is_read(tmp_path):
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100
    dataset = pydicom.dcmread(write(tmp_path / "plain", stored, PixelSpacing=[0.7, 0.5]))
    dataset["PixelData"].value = stored.astype(">u2").tobytes()
    del dataset.file_meta, dataset.preamble
    pydicom.dcmwrite(tmp_path / "x", dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    assert (tmp_path / "x").read_bytes()[:2] == b"\0\x08"
    row = scan([tmp_path / "x"]).table.iloc[0]
    assert (row["status"], row["row_spacing_mm"], row["remarks"]) == (
        "ok", 0.7, "no preamble and no file meta information",
    )  # fmt: skip
    np.testing.assert_array_equal(read_file(tmp_path / "x").array[0], stored)


def enhanced(path, order, step=2.5):
    """Write frames of one orientation in the given order, each with a rescale of its own; return real values."""
    stored = np.random.default_rng(1).integers(0, 4000, (len(order), 4, 5), dtype=np.uint16)
    measures, orientation, shared, frames = Dataset(), Dataset(), Dataset(), []
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.5], 9
    orientation.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    for place in order:
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [10 - step * place, 20, 30]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = place + 1, -10 * place, "US"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        frames.append(frame)
    sequences = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}
    write(path, stored, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", Modality="MR", **sequences)
    return np.stack([stored[order.index(k)].astype(float) * (k + 1) - 10 * k for k in range(len(order))])


def test_frames_are_sorted_along_their_normal_as_slices_of_files_are(tmp_path):
    real = enhanced(tmp_path / "x", [2, 0, 3, 1])
    image = dicom.read(tmp_path / "x")
    np.testing.assert_array_equal(image.array[0], real)  # the normal of these planes is -x: places grow along it
    expected = [[2.5, 0, 0, -10], [0, 0, -0.5, -20], [0, -0.7, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine, expected, atol=1e-9)
    assert image.spacing_mm == pytest.approx((2.5, 0.7, 0.5))


def test_a_lost_end_of_the_frames_costs_no_frame(tmp_path):
    """The closing delimiter of compressed frames is cut off; every frame is there."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 8, 8), dtype=np.uint8)
    ultrasound = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "Modality": "US"}
    dataset = pydicom.dcmread(write(tmp_path / "plain", frames, **ultrasound))
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(frame, lossless=True) for frame in frames])
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-8])
    assert len(dicom.describe(tmp_path / "x")) == 3
    for number in range(3):
        np.testing.assert_array_equal(dicom.read(tmp_path / "x", number).array[0], frames[number])


def test_an_identifier_that_is_a_hash_is_kept_in_silence(tmp_path):
    """Some anonymisers write hexadecimal UIDs; pydicom warns of them, and warnings are errors in this suite."""
    with pydicom.config.disable_value_validation():
        path = write(tmp_path / "x", np.zeros((8, 8), np.uint8), SeriesInstanceUID="05fa52f0e599f17b8186ff18fcdf2b")
    (row,) = dicom.describe(path)
    assert (row["status"], row["series_id"]) == ("ok", "05fa52f0e599f17b8186ff18fcdf2b")
    dicom.read(path)


def test_values_at_the_upper_end_of_their_cells_are_refused(tmp_path):
    """pydicom and GDCM would read 320 where DCMTK reads 20: a header that breaks the standard is no ground to guess."""
    stored = (np.arange(12, dtype=np.uint16).reshape(3, 4) * 20) << 4
    path = write(tmp_path / "x", stored, BitsStored=12, HighBit=15)
    assert "HighBit is 15 for 12 stored bits" in dicom.describe(path)[0]["reason"]
    with pytest.raises(DataError, match="HighBit is 15 for 12 stored bits"):
        dicom.read(path)


def test_the_reason_of_a_decoder_is_told(tmp_path):
    dataset = pydicom.dcmread(write(tmp_path / "plain", np.zeros((8, 8), np.uint8)))
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    with pytest.raises(DataError, match=r"1\.2\.840\.10008\.1\.2\.4\.90.*: imagecodecs: .*failed"):
        dicom.read(tmp_path / "x")


@pytest.mark.parametrize("spacing", [[0, 0.5], [-1, 1], ["nan", 1]])
def test_an_impossible_spacing_is_unknown(tmp_path, spacing):
    with pydicom.config.disable_value_validation():
        path = write(tmp_path / "x", np.zeros((4, 4), np.uint8), PixelSpacing=spacing)
    assert dicom.read(path).spacing_mm is None
    assert "spacing unknown" in " ".join(dicom.describe(path)[0]["remarks"])


@pytest.mark.parametrize("cut", [10, 60, 131, 140, 200, 300, -1, -20])
def test_a_cut_off_file_is_never_ok(tmp_path, cut):
    path = write(tmp_path / "x.dcm", np.full((16, 16), 7, np.uint8))
    path.write_bytes(path.read_bytes()[:cut])
    whole = write(tmp_path / "whole.dcm", np.full((16, 16), 7, np.uint8))
    states = scan([tmp_path]).table.set_index("path")["status"]
    assert states[whole.name] == "ok"
    assert states["x.dcm"] != "ok"


def test_every_encoding_of_one_object_has_the_same_pixels(real_data):
    files = sorted((real_data / "dicom-samples" / "encapsulated-multiframe").glob("*.dcm"))
    hashes = {path.name: dicom.read(path).pixel_hash() for path in files}
    lossless = {h for name, h in hashes.items() if ".81." not in name and ".51." not in name}
    assert len(files) == 9
    assert len(lossless) == 1


def test_real_objects_of_several_vendors_decode(real_data):
    found = scan([real_data / "dicom-samples"])
    usable = found.usable().table.drop_duplicates(["series_id"])
    for _, row in usable.iterrows():
        image = read_image(found, row)
        assert image.array.shape[-2:] == (row["rows"], row["columns"])


def test_the_picture_in_dicom_is_the_picture_in_png(real_data):
    folder = real_data / "oct-spectralis-raw"
    as_dicom, as_png = read_file(folder / "a-line-opt.dcm").array, read_file(folder / "a-line.png").array
    assert as_dicom.shape == as_png.shape == (1, 496, 768)
    assert np.abs(as_dicom.astype(int) - as_png).max() <= 1
    circles = [dicom.read(folder / "a-circles-opt-rle.dcm", k).pixel_hash() for k in range(2)]
    assert circles == [dicom.read(folder / "a-circles-opt.dcm", k).pixel_hash() for k in range(2)]


@pytest.mark.parametrize(
    ("elements", "day"),
    [
        ({"StudyDate": "20200229", "AcquisitionDate": "20200301"}, "2020-02-29"),
        ({"StudyDate": "", "AcquisitionDate": "20200301"}, "2020-03-01"),
        ({"SeriesDate": "20200304"}, None),
        ({}, None),
    ],
)
def test_the_day_of_the_study_is_a_day_or_unknown(tmp_path, elements, day):
    path = write(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8), **elements)
    assert dicom.describe(path)[0]["study_date"] == day


def test_a_value_that_breaks_the_standard_counts_once_however_often_it_is_looked_at(tmp_path):
    path = write(tmp_path / "a.dcm", np.zeros((4, 4), np.uint8), PatientName="A", SpecificCharacterSet="ISO_IR 100")
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO-IR 100"))
    assert dicom.describe(path)[0]["remarks"] == ["1 header value breaks the DICOM standard"]
