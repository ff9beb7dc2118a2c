"""From slices to volumes: by geometry, echo and time; what does not fit stays apart and says why."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medssl.data.keys import AS_THEY_ARE
from medssl.data.manifest import Manifest
from medssl.data.readers import read_image
from medssl.data.scan import scan
from medssl.errors import DataError

AXIAL = [1, 0, 0, 0, 1, 0]
ROWS, COLUMNS = 4, 5


def value_at(x, y, z):
    """A value that tells its place, in LPS mm."""
    return 500 + 3 * x + 5 * y + 7 * z


def write_slice(path, position, orientation=AXIAL, series="1.2.3", **elements):
    """A slice with pixels of 2 x 1 mm whose values follow their place."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
    ds.PatientID, ds.Modality, ds.StudyInstanceUID, ds.SeriesInstanceUID = "P1", "MR", "1.2", series
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.PixelSpacing, ds.ImagePositionPatient, ds.ImageOrientationPatient = [2, 1], list(position), list(orientation)
    ds.SliceThickness = 9  # not believed
    for name, value in elements.items():
        setattr(ds, name, value)
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    places = (
        np.array(position) + np.arange(ROWS)[:, None, None] * 2 * column + np.arange(COLUMNS)[None, :, None] * 1 * row
    )
    ds.PixelData = value_at(*np.moveaxis(places, -1, 0)).round().astype(np.int16).tobytes()
    ds["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def volumes(manifest):
    return [row for _, row in manifest.usable().table.iterrows() if row["ndim"] == 3]


def check_place(image):
    """Every voxel holds the value of the place that the affine gives it."""
    index = np.stack(np.meshgrid(*map(np.arange, image.array.shape[1:]), indexing="ij"), axis=-1)
    ras = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    np.testing.assert_allclose(image.array[0], value_at(-ras[..., 0], -ras[..., 1], ras[..., 2]), atol=0.51)


@pytest.mark.parametrize("case", ["R02", "R04", "R06", "R07", "R08"])
def test_series_that_people_reported_are_volumes_in_their_place(cases, case):
    facts = json.loads((cases / "expected.json").read_text())[case]
    found = scan([cases / case])
    (row,) = volumes(found)
    image = read_image(found, row)
    assert sorted(image.array.shape[1:]) == sorted(facts["shape_ijk"])
    inverse = np.linalg.inv(image.affine)
    for x, y, z, value in facts["world_checks_ras_mm"]:
        index = inverse @ [x, y, z, 1]
        assert np.allclose(index, np.rint(index), atol=0.01)
        assert image.array[0][tuple(np.rint(index[:3]).astype(int))] == pytest.approx(value)
    assert np.allclose(np.sort(image.spacing_mm), np.sort(facts["spacing_ijk_mm"]), atol=1e-3)
    assert (image.array.min(), image.array.max()) == (facts["min"], facts["max"])


def test_a_tilt_is_said_and_a_localizer_stays_apart(cases):
    tilted = volumes(scan([cases / "R04"]))[0]
    assert "gantry tilt: slices step 15.0 degrees" in tilted["remarks"]
    apart = scan([cases / "R06"]).table.query("ndim == 2")
    assert apart["remarks"].tolist() == ["no other slice of its series has its orientation and kind"]


def test_a_series_with_a_cut_off_slice_is_no_volume_with_a_hole(cases):
    found = scan([cases / "R18"])
    assert [row["path"] for row in volumes(found)] == ["whole/slice00.dcm"]
    broken = found.table[found.table["path"].str.startswith("broken/")]
    assert broken["status"].tolist() == ["ok", "ok", "ok", "unreadable", "ok"]
    assert set(broken["remarks"].dropna()) == {
        "4 slices of this series step unevenly (2 to 4 mm), as if 1 were missing: left as single slices"
    }


@pytest.mark.parametrize(
    ("orientation", "step"),
    [
        (AXIAL, [0, 0, 3]),
        ([0, 1, 0, 0, 0, -1], [2.5, 0, 0]),  # sagittal
        ([1, 0, 0, 0, 0, -1], [0, -4, 0]),  # coronal, positions against the normal
        ([0.8, 0.6, 0, -0.6, 0.8, 0], [0, 0, 1.5]),  # turned in the plane
        ([1, 0, 0, 0, 0.8, 0.6], [0, -1.2, 1.6]),  # oblique, along its normal
        (AXIAL, [0, 1, 4]),  # tilted
    ],
)
def test_voxels_lie_where_the_headers_say_and_files_may_have_any_order(tmp_path, orientation, step):
    for name, place in zip("dbeac", range(5), strict=True):
        write_slice(tmp_path / f"{name}.dcm", np.array([10, -20, 30]) + place * np.array(step), orientation)
    found = scan([tmp_path])
    (row,) = volumes(found)
    image = read_image(found, row)
    assert image.array.shape == (1, 5, ROWS, COLUMNS)
    assert image.array.dtype == np.int16
    assert image.spacing_mm == pytest.approx((np.linalg.norm(step), 2, 1))
    assert (row["slices"], row["slice_spacing_mm"]) == (5, pytest.approx(np.linalg.norm(step)))
    assert bool(image.remarks) == (step == [0, 1, 4])
    check_place(image)
    order = sorted(range(5), key=lambda k: k * (np.array(step) @ np.cross(orientation[:3], orientation[3:])))
    assert json.loads(row["planes"]) == [f"{'dbeac'[k]}.dcm" for k in order]


def test_simpleitk_reads_the_same_volume(tmp_path):
    files = [
        str(write_slice(tmp_path / f"{k}.dcm", [10, -20 - 1.2 * k, 30 + 1.6 * k], [1, 0, 0, 0, 0.8, 0.6]))
        for k in range(4)
    ]
    found = scan([tmp_path])
    image = read_image(found, volumes(found)[0])
    witness = sitk.ReadImage(files)
    np.testing.assert_array_equal(image.array[0], sitk.GetArrayFromImage(witness))
    corner = image.affine @ [3, 3, 4, 1]
    lps = witness.TransformIndexToPhysicalPoint((4, 3, 3))
    np.testing.assert_allclose(corner[:3], [-lps[0], -lps[1], lps[2]], atol=1e-4)


def test_echoes_and_time_points_are_volumes_of_their_own(tmp_path):
    for k in range(3):
        for echo in (1, 2):
            write_slice(tmp_path / f"echo{echo}-{k}.dcm", [0, 0, 2 * k], EchoTime=10 * echo, series="1.2.4")
        for time in (2, 1):
            write_slice(tmp_path / f"time{time}-{k}.dcm", [0, 0, 2 * k], InstanceNumber=10 * time + k, series="1.2.5")
    found = volumes(scan([tmp_path]))
    assert [json.loads(row["planes"]) for row in found] == [
        [f"{name}-{k}.dcm" for k in range(3)] for name in ("echo1", "echo2", "time1", "time2")
    ]
    assert [row["remarks"] for row in found[2:]] == [f"part {n} of 2: each position occurs 2 times" for n in (1, 2)]
    assert len({row["sample_id"] for row in found}) == 4


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([0, 2, 4, 8, 10], "5 slices of this series step unevenly (2 to 4 mm), as if 1 were missing"),
        ([0, 2, 4.5, 6.1], "4 slices of this series step unevenly (1.6 to 2.5 mm):"),
        ([0, 2, 2, 4], "4 slices of this series repeat a position:"),
        ([3, 3, 3], "3 slices of this series repeat a position:"),
    ],
)
def test_what_does_not_step_evenly_is_left_apart_and_says_why(tmp_path, places, said):
    for number, z in enumerate(places):
        write_slice(tmp_path / f"{number}.dcm", [0, 0, z])
    found = scan([tmp_path])
    assert not volumes(found)
    assert found.table["status"].eq("ok").all()
    assert all(remark.startswith(said) and "left as single slices" in remark for remark in found.table["remarks"])


def test_a_copy_is_skipped_by_name_and_no_second_time_point(tmp_path):
    for k in range(3):
        path = write_slice(tmp_path / f"{k}.dcm", [0, 0, 2 * k])
        (tmp_path / f"copy-{k}.dcm").write_bytes(path.read_bytes())
    found = scan([tmp_path])
    assert [json.loads(row["planes"]) for row in volumes(found)] == [[f"{k}.dcm" for k in range(3)]]
    copies = found.table[found.table["status"] == "skipped"]
    assert copies["reason"].tolist() == [f"a copy of {k}.dcm: the same SOPInstanceUID" for k in range(3)]


def test_each_slice_has_a_rescale_of_its_own(tmp_path):
    for k in range(3):
        write_slice(
            tmp_path / f"{k}.dcm", [0, 0, 2 * k], RescaleSlope=0.5 * (k + 1), RescaleIntercept=-10, Modality="PT"
        )
    found = scan([tmp_path])
    image = read_image(found, volumes(found)[0])
    assert image.array.dtype == np.float32
    for k in range(3):
        stored = pydicom.dcmread(tmp_path / f"{k}.dcm").pixel_array
        np.testing.assert_array_equal(image.array[0, k], stored * 0.5 * (k + 1) - 10)


def test_slices_on_request_and_through_a_saved_manifest(tmp_path):
    for k in range(3):
        write_slice(tmp_path / "archive" / "series" / f"{k}.dcm", [0, 0, 2 * k])
    apart = scan([tmp_path / "archive"], stack=False)
    assert apart.table["ndim"].tolist() == [2, 2, 2]
    assert apart.remarks[1:] == ("3 slices of 1 DICOM series are images of their own, not volumes",)
    (tmp_path / "labels.csv").write_text("series_id,disease\n1.2.3,yes\n")
    found = scan([tmp_path / "archive"], labels=tmp_path / "labels.csv")
    (tmp_path / "elsewhere").mkdir()
    found.save(tmp_path / "elsewhere" / "manifest.parquet")
    again = Manifest.load(tmp_path / "elsewhere" / "manifest.parquet")
    (row,) = volumes(again)
    assert row["disease"] == "yes"
    check_place(read_image(again, row))
    (tmp_path / "archive" / "series" / "1.dcm").unlink()
    with pytest.raises(DataError, match=r"slice of this volume is not there: 1\.dcm.*Scan the folder again"):
        read_image(again, row)


@pytest.mark.parametrize("cell", ["not json", "{}", "[]", '["a.dcm"]', '["a.dcm", 3]'])
def test_a_damaged_list_of_slices_is_told_with_its_row(tmp_path, cell):
    for k in range(3):
        write_slice(tmp_path / f"{k}.dcm", [0, 0, 2 * k])
    found = scan([tmp_path])
    found.with_table(found.table.assign(planes=cell)).save(tmp_path / "manifest.csv")
    with pytest.raises(DataError, match=r"column 'planes' is no JSON list.*row 1 below the header"):
        Manifest.load(tmp_path / "manifest.csv")


def test_slices_that_changed_after_the_scan_are_refused(tmp_path):
    for k in range(3):
        write_slice(tmp_path / f"{k}.dcm", [0, 0, 2 * k])
    found = scan([tmp_path])
    write_slice(tmp_path / "1.dcm", [0, 0, 8])
    with pytest.raises(DataError, match="have changed their order"):
        read_image(found, volumes(found)[0])


@pytest.mark.parametrize("word", ["MOSAIC", "VFRAME"])
def test_mosaics_are_no_slices_and_say_so(tmp_path, word):
    """Each is a sheet of slices: their corners, which even step evenly, are those of the sheets."""
    for number in range(3):
        place = (0, 0, 2 * number)
        write_slice(tmp_path / f"{number}", place, ImageType=["ORIGINAL", "PRIMARY", "M", word])
    found = scan([tmp_path]).usable()
    table = found.table
    assert table["ndim"].tolist() == [2, 2, 2]
    assert not any("DICOM series are images of their own" in remark for remark in found.remarks)
    assert table["remarks"].str.contains("a mosaic: many slices side by side").all()


def test_series_of_real_scanners(real_data):
    found = scan([real_data / "dicom-samples"])
    stacks = {row["path"]: row for row in volumes(found) if isinstance(row["planes"], str)}
    assert {path: (row["slices"], round(row["slice_spacing_mm"], 2)) for path, row in stacks.items()} == {
        "ge-ct-tilt-vargap/001.dcm": (14, 4.22),
        "ge-ct-tilt-vargap/015.dcm": (14, 7.38),
        "philips-ct-tilt-phantom/001.dcm": (8, 2.5),
    }
    assert all("gantry tilt: slices step 18.5 degrees" in row["remarks"] for row in stacks.values())
    missing = found.table[found.table["path"].str.startswith("philips-ct-missing")]
    assert set(missing["remarks"]) == {
        "8 slices of this series step unevenly (5 to 10 mm), as if 1 were missing: left as single slices"
    }
    image = read_image(found, stacks["philips-ct-tilt-phantom/001.dcm"])
    assert (image.array.shape, image.units) == ((1, 8, 512, 512), "HU")


def test_a_volume_stands_in_the_place_of_its_first_file_and_is_named_after_its_first_slice(tmp_path):
    for name, z in (("a", 4), ("c", 2), ("e", 0)):
        write_slice(tmp_path / f"{name}.dcm", [0, 0, z], PatientID=name)
    for name in ("b", "d"):
        (tmp_path / f"{name}.txt").write_text("x")
    table = scan([tmp_path], key=AS_THEY_ARE).table
    assert table["path"].tolist() == ["e.dcm", "b.txt", "d.txt"]
    assert table["patient_id"][0] == "e"
