"""Every reader, ours or a third party's, keeps the contract."""

import inspect
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from medssl import discovery
from medssl.data.columns import KNOWN
from medssl.data.privacy import LOOKED_AT
from medssl.data.readers import all_readers, read_image
from medssl.data.readers.medmnist import PARTS
from medssl.data.scan import scan
from tests.data.readers import vendor_oct

NAMES = discovery.names("data.readers")
EXAMPLES = {"dicom": "R16", "nifti": "R11", "raster": "R17"}  # folders of the generated cases


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_has_three_functions_and_takes_no_foreign_bytes(name):
    reader = all_readers()[name]
    assert list(inspect.signature(reader.sniff).parameters) == ["path", "head"]
    assert list(inspect.signature(reader.describe).parameters) == ["path"]
    assert list(inspect.signature(reader.read).parameters) == ["path", "frame"]
    for head in (b"", b"\0" * 4096, b"plain text\n" * 400, b"\xff" * 4096, b"PK\x03\x04" + bytes(100)):
        assert not reader.sniff(None, head)


def written_itk(folder):
    for count, ending in enumerate(("nrrd", "nhdr", "mha", "mhd")):
        volume = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
        volume.SetSpacing((0.5, 0.75, 3.0))
        sitk.WriteImage(volume if count % 2 else volume[:, :, 0], str(folder / f"{count}.{ending}"))


def written_numpy_array(folder):
    for count, shape in enumerate([(4, 5), (3, 4, 5), (4, 5, 3)]):
        np.save(folder / f"{count}.npy", np.arange(np.prod(shape)).reshape(shape))


def written_heidelberg_vol(folder):
    sizes = struct.pack("<12s3i3d2i2did4sq2i", b"HSF-OCT-103", 5, 3, 4, 0.01, 0.2, 0.004, *[0] * 6, b"OD", 0, 3, 64)
    scan = bytes(64) + np.arange(20, dtype="<f4").tobytes()
    (folder / "x.vol").write_bytes(sizes.ljust(2048, b"\0") + scan * 3)


def written_topcon(folder):
    vendor_oct.topcon(folder / "cube.fda", coded=True)
    vendor_oct.topcon(folder / "radial.fds", pattern=3)


def written_zeiss_img(folder):
    vendor_oct.zeiss(folder)


def written_heidelberg_e2e(folder):
    pytest.importorskip("eyepy", reason="the extra oct is not installed")
    vendor_oct.e2e(folder / "x.e2e", {1: {"eye": b"R"}, 2: {"pattern": 5}})


def written_medmnist(folder):
    for count, shape in enumerate([(4, 5), (4, 5, 3), (3, 4, 5)]):
        arrays = {f"{part}_images": np.arange(2 * np.prod(shape), dtype=np.uint8).reshape(2, *shape) for part in PARTS}
        np.savez_compressed(folder / f"{count}.npz", **arrays)


WRITTEN = {
    "medmnist": written_medmnist,
    "itk": written_itk,
    "numpy_array": written_numpy_array,
    "heidelberg_vol": written_heidelberg_vol,
    "heidelberg_e2e": written_heidelberg_e2e,
    "topcon": written_topcon,
    "zeiss_img": written_zeiss_img,
}


@pytest.fixture
def example(request, tmp_path):
    """A folder of files of a format: one of the generated cases, or written here."""
    name = request.param
    if name in EXAMPLES:
        return name, request.getfixturevalue("cases") / EXAMPLES[name]
    WRITTEN[name](tmp_path)
    return name, tmp_path


@pytest.mark.parametrize("example", [n for n in NAMES if n in {**EXAMPLES, **WRITTEN}], indirect=True)
def test_the_header_tells_the_shape_and_spacing_that_are_read(example):
    name, folder = example
    found = scan([folder])
    usable = found.usable().table
    assert set(usable["format"]) == {name}
    for _, row in usable.iterrows():
        image = read_image(found, row)
        axes = ("rows", "columns") if row["ndim"] == 2 else ("slices", "rows", "columns")
        assert image.array.shape == tuple(row[a] for a in ("channels", *axes))
        spacing = [row[f"{axis.removesuffix('s')}_spacing_mm"] for axis in axes]
        assert spacing == list(image.spacing_mm or spacing)
        assert image.provenance["path"]
        assert set(all_readers()[name].describe(found.path_of(row))[0]) <= {*KNOWN, *LOOKED_AT, "plane", "data_file"}
