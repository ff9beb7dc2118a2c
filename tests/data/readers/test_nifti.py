import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from medssl.data.readers import nifti
from medssl.errors import DataError

AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 9], [0, 0, 0, 1]])


def write(path, array, affine=AFFINE, unit="mm"):
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def test_values_stay_at_their_place_in_the_world(tmp_path):
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    image = nifti.read(write(tmp_path / "x.nii.gz", values))
    assert image.array.shape == (1, 4, 3, 2)
    assert image.array.dtype == np.int16
    for i, j, k in np.ndindex(2, 3, 4):
        index = np.linalg.inv(image.affine) @ AFFINE @ [i, j, k, 1]
        assert image.array[0][tuple(np.rint(index[:3]).astype(int))] == values[i, j, k]
    assert image.spacing_mm == (3.0, 2.0, 1.5)
    row = nifti.describe(tmp_path / "x.nii.gz")[0]
    assert (row["slices"], row["rows"], row["columns"]) == (4, 3, 2)
    assert (row["slice_spacing_mm"], row["row_spacing_mm"], row["column_spacing_mm"]) == (3.0, 2.0, 1.5)


@pytest.mark.parametrize(("name", "channels"), [("five_axes.nii", 2), ("four_axes.nii", 1)])
def test_idle_axes_are_no_space(cases, name, channels):
    facts = json.loads((cases / "expected.json").read_text())["R11"][name]
    image = nifti.read(cases / "R11" / name)
    assert nifti.describe(cases / "R11" / name)[0]["channels"] == channels == len(image.array)
    for channel in range(channels):
        for *point, value in facts[f"channel_{channel}"]["world_checks_ras_mm"]:
            index = np.rint((np.linalg.inv(image.affine) @ [*point, 1])[:3]).astype(int)
            assert image.array[channel][tuple(index)] == value


def test_sform_wins_and_the_difference_is_said(cases):
    facts = json.loads((cases / "expected.json").read_text())["R14"]
    image = nifti.read(cases / "R14" / "two_answers.nii")
    for *point, value in facts["world_checks_ras_mm"]:
        index = np.rint((np.linalg.inv(image.affine) @ [*point, 1])[:3]).astype(int)
        assert image.array[0][tuple(index)] == value
    for text in (image.remarks, nifti.describe(cases / "R14" / "two_answers.nii")[0]["remarks"]):
        assert all(word in " ".join(text) for word in ("sform", "qform"))


def test_one_slice_is_a_plane(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    image = nifti.read(write(tmp_path / "x.nii", values))
    assert image.array.shape == (1, 4, 3)
    assert (image.spacing_mm, image.affine) == ((2.0, 1.5), None)
    assert nifti.describe(tmp_path / "x.nii")[0]["ndim"] == 2


def test_place_and_unit_that_are_not_said_are_not_made_up(tmp_path):
    path = write(tmp_path / "x.nii", np.zeros((3, 3, 3), np.uint8), affine=None, unit="unknown")
    image = nifti.read(path)
    assert image.affine is None
    assert any("orientation unknown" in r for r in image.remarks)
    assert any("no unit" in r for r in image.remarks)
    micron = nifti.read(write(tmp_path / "y.nii", np.zeros((3, 3, 3), np.uint8), unit="micron"))
    assert micron.spacing_mm == pytest.approx((0.003, 0.002, 0.0015))
    assert micron.affine[2, 0] == pytest.approx(0.003)


def test_scaled_values(tmp_path):
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), AFFINE)
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "x.nii")
    assert nifti.read(tmp_path / "x.nii").array.ravel()[-1] == pytest.approx(7, abs=13.5)
    np.testing.assert_allclose(
        nifti.read(tmp_path / "x.nii").array[0].transpose(2, 1, 0), nib.load(tmp_path / "x.nii").get_fdata()
    )


def test_content_decides_not_the_name(tmp_path):
    path = write(tmp_path / "x.nii.gz", np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    other = path.rename(tmp_path / "scan")
    assert nifti.sniff(other, other.read_bytes()[:4096])
    assert nifti.read(other).array.sum() == 28
    assert not nifti.sniff(other, gzip.compress(b"some text" * 100))
    assert not nifti.sniff(other, b"\x1f\x8b" + b"\xff" * 50)
    assert not nifti.sniff(other, b"")


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_a_cut_off_file_is_refused(tmp_path, name):
    path = write(tmp_path / name, np.random.default_rng(0).integers(0, 255, (20, 20, 20), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-200])
    for use in (nifti.describe, nifti.read):
        with pytest.raises(DataError, match=name):
            use(path)


def test_impossible_dimensions_are_refused(tmp_path):
    path = write(tmp_path / "x.nii", np.zeros((3, 3, 3), np.uint8))
    data = bytearray(path.read_bytes())
    data[42:44] = (-5).to_bytes(2, "little", signed=True)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="impossible dimensions"):
        nifti.describe(path)


def test_real_volumes(real_data):
    path = real_data / "mri-hippocampus" / "images" / "hippocampus_001.nii.gz"
    image = nifti.read(path)
    assert image.array.shape == (1, 35, 51, 35)
    assert image.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("damage", ["qfac", "infinite", "flat"])
def test_a_damaged_place_is_unknown_and_the_voxels_are_read(tmp_path, damage):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    data = bytearray(nib.Nifti1Image(values, AFFINE).to_bytes())
    data[252:256] = np.array([1, 0] if damage == "qfac" else [0, 1], np.int16).tobytes()  # codes of qform and sform
    if damage == "qfac":
        data[76:80] = np.float32(4).tobytes()
    else:
        data[280:296] = np.array([np.inf if damage == "infinite" else 0, 0, 0, 0], np.float32).tobytes()
    (tmp_path / "x.nii").write_bytes(data)
    read = nifti.read(tmp_path / "x.nii")
    assert read.affine is None
    assert "sform and qform are damaged: orientation unknown" in read.remarks
    assert read.remarks == nifti.describe(tmp_path / "x.nii")[0]["remarks"]
    np.testing.assert_array_equal(read.array[0], values.transpose(2, 1, 0))


@pytest.mark.parametrize(("at", "value", "said"), [(72, 1, "truncated"), (70, 999, "type 999"), (70, 64, "truncated")])
def test_a_voxel_is_as_large_as_its_type_says(tmp_path, at, value, said):
    path = write(tmp_path / "x.nii", np.zeros((4, 4, 4), np.float32))
    data = bytearray(path.read_bytes())[: -4 if value == 1 else None]
    data[at : at + 2] = value.to_bytes(2, "little")  # 70 is the type, 72 the bits that repeat it
    path.write_bytes(data)
    for use in (nifti.describe, nifti.read):
        with pytest.raises(DataError, match=said) as caught:
            use(path)
        assert "\n" not in str(caught.value)
