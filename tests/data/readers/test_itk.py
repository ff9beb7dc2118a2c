import gzip
import math
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data.readers import itk, nifti, read_file
from medssl.data.scan import scan
from medssl.errors import DataError

ENDINGS = ["nrrd", "nhdr", "mha", "mhd"]
OBLIQUE = tuple(np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0].ravel())
META = "ObjectType = Image\nNDims = 3\n{}DimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n{}\n"
VOXELS = bytes(range(24))


def volume(dtype, *, channels=0, direction=OBLIQUE):
    shape = (4, 3, 5, channels) if channels else (4, 3, 5)
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    image = sitk.GetImageFromArray(values, isVector=bool(channels))
    image.SetSpacing((0.7, 1.3, 2.9))
    image.SetOrigin((-11.5, 40.25, 7.0))
    image.SetDirection(direction)
    return image


def written(folder, text, voxels=VOXELS, name="x.any"):
    path = folder / name
    path.write_bytes(text.encode() + voxels)
    return path


def refused(path, match):
    for use in (itk.describe, itk.read):
        with pytest.raises(DataError, match=match) as caught:
            use(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_arrays_and_places_are_those_of_the_nifti(tmp_path, ending, dtype, packed):
    image = volume(dtype)
    sitk.WriteImage(image, str(tmp_path / f"x.{ending}"), packed)
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    ours, witness = itk.read(tmp_path / f"x.{ending}"), nifti.read(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(ours.array, witness.array)
    assert ours.array.dtype == witness.array.dtype
    np.testing.assert_allclose(ours.affine, witness.affine, atol=1e-5)
    np.testing.assert_allclose(ours.spacing_mm, (2.9, 1.3, 0.7), atol=1e-12)
    row = itk.describe(tmp_path / f"x.{ending}")[0]
    assert (row["slices"], row["rows"], row["columns"], row["bits"]) == (4, 3, 5, int(dtype[1]) * 8)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_third_witness_is_nibabel(tmp_path, ending):
    image = volume("i2")
    sitk.WriteImage(image, str(tmp_path / "x.nii"))
    sitk.WriteImage(image, str(tmp_path / f"x.{ending}"))
    witness, ours = nib.load(tmp_path / "x.nii"), itk.read(tmp_path / f"x.{ending}")
    for i, j, k in np.ndindex(witness.shape):
        index = np.linalg.inv(ours.affine) @ witness.affine @ [i, j, k, 1]
        assert ours.array[0][tuple(np.rint(index[:3]).astype(int))] == witness.dataobj[i, j, k]


@pytest.mark.parametrize("ending", ENDINGS)
def test_components_are_channels(tmp_path, ending):
    image = volume("u1", channels=3)
    path = tmp_path / f"x.{ending}"
    sitk.WriteImage(image, str(path))
    ours = itk.read(path)
    np.testing.assert_array_equal(ours.array, np.moveaxis(sitk.GetArrayFromImage(image), -1, 0))
    assert itk.describe(path)[0]["channels"] == 3
    assert ours.affine is not None


@pytest.mark.parametrize("ending", ENDINGS)
def test_planes(tmp_path, ending):
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 2.0))
    sitk.WriteImage(image, str(tmp_path / f"x.{ending}"))
    ours = itk.read(tmp_path / f"x.{ending}")
    np.testing.assert_array_equal(ours.array, values[None])
    assert (ours.spacing_mm, ours.affine) == ((2.0, 0.5), None)
    row = itk.describe(tmp_path / f"x.{ending}")[0]
    assert (row["ndim"], row["row_spacing_mm"], row["column_spacing_mm"]) == (2, 2.0, 0.5)
    one = sitk.JoinSeries([image])
    sitk.WriteImage(one, str(tmp_path / f"y.{ending}"))
    assert itk.read(tmp_path / f"y.{ending}").array.shape == (1, 3, 4)


def test_what_a_header_does_not_state_is_unknown(tmp_path):
    for text in (
        META.format("", "LOCAL"),
        NRRD.format(""),
        META.format("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "LOCAL"),
    ):
        image = itk.read(written(tmp_path, text))
        assert image.affine is None
        assert all(math.isnan(s) for s in image.spacing_mm)
        assert any("orientation unknown" in r for r in image.remarks)
    for key in ("elementspacing", "ELEMENTSPACING", "ElementSpacingX", "Elementspacing"):  # ITK does not know them
        image = itk.read(written(tmp_path, META.format(f"{key} = 1 2 3\n", "LOCAL")))
        assert all(math.isnan(s) for s in image.spacing_mm)
    for key in ("ElementSpacing", "ElementSize"):
        image = itk.read(written(tmp_path, META.format(f"{key} = 1 2 3\n", "LOCAL")))
        assert (image.spacing_mm, image.affine) == ((3.0, 2.0, 1.0), None)
        assert any("no unit" in r for r in image.remarks)
    image = itk.read(written(tmp_path, NRRD.format("spacings: 0.5 nan 2\n")))
    np.testing.assert_array_equal(image.spacing_mm, (2.0, math.nan, 0.5))
    matrix = "ElementSpacing = 1 2 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    image = itk.read(written(tmp_path, META.format(matrix, "LOCAL")))
    np.testing.assert_array_equal(image.affine[:3, 3], 0)
    assert any("no position" in r for r in image.remarks)


@pytest.mark.parametrize(("space", "signs"), [("RAS", (1, 1, 1)), ("LAS", (-1, 1, 1)), ("LPS", (-1, -1, 1))])
def test_spaces_of_nrrd(tmp_path, space, signs):
    place = "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
    image = itk.read(written(tmp_path, NRRD.format(f"space: {space}\n{place}")))
    expected = np.diag([*signs, 1]) @ np.array([[0, 0, 1, 5], [0, 2, 0, 6], [3, 0, 0, 7], [0, 0, 0, 1]])
    np.testing.assert_allclose(image.affine, expected)
    assert itk.read(written(tmp_path, NRRD.format(f"space: scanner-xyz\n{place}"))).affine is None


@pytest.mark.parametrize(("word", "factor"), [("um", 0.001), ("cm", 10), ("parsec", math.nan)])
def test_units_of_length(tmp_path, word, factor):
    place = "space: RAS\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
    place += "space units:" + f' "{word}"' * 3 + "\n"
    for text in (NRRD.format(place), META.format(f"DistanceUnits = {word}\nElementSpacing = 1 2 3\n", "LOCAL")):
        image = itk.read(written(tmp_path, text))
        np.testing.assert_allclose(image.spacing_mm, np.array([3, 2, 1]) * factor)
        assert image.affine is None or image.affine[0, 3] == pytest.approx(5 * factor)
        assert any("unit of length is not known" in r for r in image.remarks) == (word == "parsec")


def test_a_vector_axis_may_be_last(tmp_path):
    text = NRRD.format("kinds: domain domain vector\nspacings: 2 3 nan\n").replace("2 3 4", "3 4 2")
    image = itk.read(written(tmp_path, text))
    np.testing.assert_array_equal(image.array.ravel(), np.arange(24))
    assert (image.array.shape, image.spacing_mm) == ((2, 4, 3), (3.0, 2.0))


def test_content_decides_not_the_name(tmp_path):
    path = written(tmp_path, META.format("", "LOCAL"), name="scan")
    np.testing.assert_array_equal(read_file(path).array.ravel(), np.arange(24))
    for head in (b"NRRD", b"NRRD0009\n", b"ObjectType = Scene\nNDims = 3\n", b"ObjectType = Image\n", b"NDims\n"):
        assert not itk.sniff(path, head)


@pytest.mark.parametrize(
    "name", ["../x.raw", "/etc/hostname", "..\\x.raw", "C:\\x.raw", "sub/../../x.raw", "\\\\host\\x"]
)
def test_nothing_outside_the_folder_of_the_header_is_read(tmp_path, name):
    (tmp_path / "x.raw").write_bytes(VOXELS)
    (tmp_path / "a").mkdir()
    refused(written(tmp_path / "a", META.format("", name), b""), "outside its own folder")
    refused(written(tmp_path / "a", NRRD.format(f"data file: {name}\n"), b""), "outside its own folder")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("gone.raw", "not there"),
        ("x%02d.raw 1 3 1", "several"),
        ("LIST", "several"),
        ("short.raw", "truncated: 4 bytes"),
    ],
)
def test_data_files_that_cannot_be_used(tmp_path, name, match):
    (tmp_path / "short.raw").write_bytes(VOXELS[:-4])
    refused(written(tmp_path, META.format("", name), b""), match)
    refused(written(tmp_path, NRRD.format(f"data file: {name}\n"), b""), match)


def test_a_data_file_is_named_once(tmp_path):
    (tmp_path / "x.raw").write_bytes(VOXELS)
    refused(written(tmp_path, NRRD.format("data file: x.raw\ndatafile: ../y\n"), b""), "twice")
    refused(written(tmp_path, META.format("Comment = ElementDataFile = ../y\n", "x.raw"), b""), "twice")


def test_a_data_file_is_no_row_of_its_own(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("x.img", "sub/y.raw"):
        (tmp_path / name).write_bytes(VOXELS)
    written(tmp_path, META.format("", "x.img"), b"", name="x.mhd")
    written(tmp_path, NRRD.format("data file: sub/y.raw\n"), b"", name="y.nhdr")
    table = scan([tmp_path]).table.set_index("path")
    assert table["status"].to_dict() == {"sub/y.raw": "skipped", "x.img": "skipped", "x.mhd": "ok", "y.nhdr": "ok"}
    assert table.loc["x.img", "reason"] == "the voxels of x.mhd"
    assert table.loc["sub/y.raw", "reason"] == "the voxels of y.nhdr"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_a_cut_off_file_is_refused(tmp_path, ending, packed):
    path = tmp_path / f"x.{ending}"
    sitk.WriteImage(
        sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype("u1")), str(path), packed
    )
    path.write_bytes(path.read_bytes()[:-200])
    refused(path, "truncated")


def test_more_than_the_file_can_hold_is_refused_before_it_is_allocated(tmp_path):
    huge = "2000000000 1000000 4"
    for text in (META.format("", "LOCAL").replace("2 3 4", huge), NRRD.format("").replace("2 3 4", huge)):
        refused(written(tmp_path, text), "truncated")
    bomb = zlib.compress(bytes(10**6))
    text = META.format("CompressedData = True\n", "LOCAL")
    refused(written(tmp_path, text.replace("2 3 4", huge), bomb), "more than .* packed bytes can hold")
    text = NRRD.format("").replace("raw", "gzip")
    refused(written(tmp_path, text.replace("2 3 4", huge), gzip.compress(bytes(10**6))), "packed bytes can hold")
    noise = np.random.default_rng(0).bytes(10**5)
    refused(written(tmp_path, text.replace("2 3 4", "100 1000 2"), gzip.compress(noise)), "truncated: 100000 bytes")
    members = written(tmp_path, text.replace("2 3 4", "100 1000 2"), gzip.compress(noise) + gzip.compress(noise))
    assert itk.read(members).array.tobytes() == noise * 2
    lying = META.format("CompressedData = True\nCompressedDataSize = 100\n", "LOCAL").replace("2 3 4", "100 100 100")
    with pytest.raises(DataError, match="truncated"):
        itk.read(written(tmp_path, lying, zlib.compress(bytes(10**5)) + bytes(10**4)))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (NRRD.format("").replace("2 3 4", "0 3 4"), "cannot be parsed"),
        (NRRD.format("").replace("raw", "bzip2"), "'bzip2' is not supported"),
        (NRRD.format("").replace("raw", "ascii"), "'ascii' is not supported"),
        (NRRD.format("")[:-1], "no end"),
        (NRRD.format("").replace("uchar", "quark"), "cannot be parsed"),
        (META.format("", "LOCAL").replace("2 3 4", "-2 3 4"), "impossible dimensions"),
        (META.format("", "LOCAL").replace("2 3 4", "0 3 4"), "impossible dimensions|cannot be parsed"),
        (META.format("", "LOCAL").replace(" MET_UCHAR", ""), "cannot be parsed"),
        (META.format("TransformMatrix = 0 0 0 0 0 0 0 0 0\n", "LOCAL"), "make no volume"),
        (META.format("ElementSpacing = 1 2 0\n", "LOCAL"), "make no volume"),
        (META.format("ElementSpacing = 1 -2 3\n", "LOCAL"), "make no volume"),
        (META.format("BinaryData = False\n", "LOCAL"), "as text"),
        (META.format("", "LOCAL").split("ElementData")[0], "names no ElementDataFile"),
        (META.format("", "LOCAL").replace("= 3", "= 4").replace("2 3 4", "2 3 4 1"), "4 axes"),
        (META.format("", "LOCAL").replace("= 3", "= 999999993"), "no number of axes"),
        (META.format("Name = " + "x" * 300 + "\n", "LOCAL"), "longer than 250"),
        (META.format("Offset = 1 2\n", "LOCAL"), "Offset that is not 3 numbers"),
        (META.format("DimSize = 1 1 1\n", "LOCAL"), "twice"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path, text, match):
    refused(written(tmp_path, text, VOXELS.replace(b"\n", b"\0")), match)


def test_intensities_are_as_stored_and_said(tmp_path):
    image = itk.read(written(tmp_path, META.format("ElementToIntensityFunctionSlope = 2\n", "LOCAL")))
    np.testing.assert_array_equal(image.array.ravel(), np.arange(24))
    assert any("not applied" in r for r in image.remarks)


@pytest.mark.parametrize("ending", ["nrrd", "mhd"])
def test_real_volumes(real_data, tmp_path, ending):
    for source in sorted((real_data / "mri-hippocampus" / "images").glob("*.nii.gz"))[:3]:
        sitk.WriteImage(sitk.ReadImage(str(source)), str(tmp_path / f"x.{ending}"), True)
        ours, witness = itk.read(tmp_path / f"x.{ending}"), nifti.read(source)
        np.testing.assert_array_equal(ours.array, witness.array)
        np.testing.assert_allclose(ours.affine, witness.affine, atol=1e-5)
