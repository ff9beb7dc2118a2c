"""Objects of GE, Philips, Siemens and UIH scanners, against dcm2niix (volumes in place), highdicom and the readers of
planes."""

import subprocess
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest

from medssl.data.readers import dicom, read_image
from medssl.data.scan import scan
from tests.witness.agreement import judge

pytestmark = [pytest.mark.witness, pytest.mark.timeout(0)]

EXPLAINED = {
    ("philips-enhanced-mr-fieldmap", "sitk"): "GDCM knows one rescale an object, these frames have two; DCMTK's stored "
    "values under each frame's rescale, and dcm2niix, agree with us",
}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def samples(real_data) -> Path:
    return real_data / "dicom-samples"


def converted(dcm2niix: str, folder: Path, out: Path) -> dict[str, nib.Nifti1Image]:
    """Return what dcm2niix makes of a folder, by the end of its names; its resampled versions are left out."""
    out.mkdir()
    command = [
        dcm2niix,
        "-b",
        "n",
        "-z",
        "n",
        "-m",
        "n",
        "-i",
        "n",
        "-p",
        "n",
        "-f",
        "%s_%p",
        "-o",
        str(out),
        str(folder),
    ]
    subprocess.run(command, capture_output=True, check=False)
    return {path.stem: nib.load(path) for path in sorted(out.glob("*.nii")) if "_Tilt" not in path.stem}


def volumes(folder: Path) -> list:
    found = scan([folder])
    return [read_image(found, row) for _, row in found.usable().table.iterrows() if row["ndim"] == 3]


def in_place(nifti: nib.Nifti1Image, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of a NIfTI at the voxels of our grid, (slices, rows, columns[, T]), found by the affines."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    there = np.linalg.inv(nifti.affine) @ affine
    places = index @ there[:3, :3].T + there[:3, 3]
    assert np.abs(places - np.rint(places)).max() < 1e-3, "the grids do not coincide"
    return np.asarray(nifti.dataobj)[tuple(np.moveaxis(np.rint(places).astype(int), -1, 0))]


def planes(nifti: nib.Nifti1Image) -> list[np.ndarray]:
    """Return the slices of a NIfTI of CT as they are displayed, (rows, columns) int16."""
    values = np.rint(np.asarray(nifti.dataobj)).astype(np.int16)
    values = values.reshape(*values.shape[:2], -1)
    return [values[:, ::-1, k].T for k in range(values.shape[2])]


def test_every_plane_has_witnesses_who_agree(samples, witness, tmp_path):
    verdicts = judge([path for path in sorted(samples.rglob("*")) if path.is_file()], witness, tmp_path)
    assert [v.refusal for v in verdicts if v.refusal and v.path.suffix not in (".csv", ".txt")] == []
    read = [v for v in verdicts if not v.refusal]
    found = {(v.path.parent.name, name) for v in read for name in v.differing}
    assert found == EXPLAINED.keys()
    assert [v.path.name for v in read if not v.agreeing] == []
    assert len(read) == 66
    print(f"\n66 files read, {sum(len(v.agreeing) for v in read)} agreements")  # noqa: T201


def test_volumes_of_an_enhanced_object_are_those_of_dcm2niix(samples, dcm2niix, tmp_path):
    """Siemens XA: dcm2niix makes the four objects one series over time."""
    (nifti,) = converted(dcm2niix, samples / "siemens-xa10-enhanced-mr", tmp_path / "out").values()
    ours = volumes(samples / "siemens-xa10-enhanced-mr")
    assert len(ours) == nifti.shape[3] == 4
    for time, image in enumerate(ours):
        theirs = in_place(nifti, image.affine, image.array.shape[1:])
        np.testing.assert_array_equal(image.array[0], theirs[..., time])


@pytest.mark.parametrize(("folder", "sizes"), [("philips-ct-tilt-phantom", [8]), ("ge-ct-tilt-vargap", [14, 14])])
def test_tilted_slices_have_dcm2niix_values_and_the_headers_places(samples, dcm2niix, tmp_path, folder, sizes):
    """dcm2niix warns of the tilt and drops the shear from its affine: places are held against the headers instead."""
    niftis = converted(dcm2niix, samples / folder, tmp_path / "out")
    theirs = {plane.tobytes() for nifti in niftis.values() for plane in planes(nifti)}
    ours = volumes(samples / folder)
    assert sorted(image.array.shape[1] for image in ours) == sizes
    mine = [plane for image in ours for plane in image.array[0]]
    assert len(theirs) == len(mine)
    assert {plane.astype(np.int16).tobytes() for plane in mine} == theirs
    headers = [pydicom.dcmread(path) for path in sorted((samples / folder).rglob("*")) if path.is_file()]
    corners = {tuple(np.round(h.ImagePositionPatient, 3)) for h in headers}
    found = {
        tuple(np.round((LPS_TO_RAS @ image.affine @ [k, 0, 0, 1])[:3], 3))
        for image in ours for k in range(image.array.shape[1])
    }  # fmt: skip
    assert found == corners


def test_neither_reader_fills_a_missing_slice(samples, dcm2niix, tmp_path):
    niftis = converted(dcm2niix, samples / "philips-ct-missing-slice-phantom", tmp_path / "out")
    theirs = {plane.tobytes() for nifti in niftis.values() for plane in planes(nifti)}
    found = scan([samples / "philips-ct-missing-slice-phantom"]).usable()
    assert found.table["remarks"].str.contains("as if 1 were missing").all()
    mine = {read_image(found, row).array[0].astype(np.int16).tobytes() for _, row in found.table.iterrows()}
    assert mine == theirs
    assert len(mine) == 8


def test_frames_of_several_kinds_lie_where_dcm2niix_puts_them(samples, dcm2niix, tmp_path):
    """Magnitude and field map in one object: two volumes of 32 there, 64 frames of their own here."""
    niftis = list(converted(dcm2niix, samples / "philips-enhanced-mr-fieldmap", tmp_path / "out").values())
    assert [nifti.shape for nifti in niftis] == [(64, 64, 32)] * 2
    (path,) = (samples / "philips-enhanced-mr-fieldmap").rglob("*.dcm")
    groups = pydicom.dcmread(path, stop_before_pixels=True).PerFrameFunctionalGroupsSequence
    for frame, group in enumerate(groups):
        image = dicom.read(path, frame)
        orientation = np.array(group.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
        place = np.eye(4)
        place[:3, 0] = np.cross(orientation[:3], orientation[3:])
        place[:3, 1], place[:3, 2] = orientation[3:] * image.spacing_mm[0], orientation[:3] * image.spacing_mm[1]
        place[:3, 3] = group.PlanePositionSequence[0].ImagePositionPatient
        nifti = niftis[frame // 32]
        theirs = in_place(nifti, LPS_TO_RAS @ place, (1, *image.array.shape[1:]))
        np.testing.assert_allclose(image.array[0], theirs[0], atol=1e-3 * np.abs(theirs).max())


def test_nine_encodings_of_one_object_are_one_volume(samples):
    """dcm2niix refuses these objects of two frames: highdicom is the witness of their place.

    The one of 12-bit JPEG was made of stored values 1024 higher, under the same rescale: so say all its readers.
    """
    files = sorted((samples / "encapsulated-multiframe").glob("*.dcm"))
    assert len(files) == 9
    images = {path.name: dicom.read(path) for path in files}
    exact = [name for name in images if ".51." not in name and ".81." not in name]
    reference = images[exact[0]]
    for name, image in images.items():
        lifted = 1024 if ".51." in name else 0
        off = np.abs(image.array.astype(int) - lifted - reference.array).max()
        allowed = 0 if name in exact else {"81": near(name, files), "51": 15}[name.split(".")[-2]]
        assert off <= allowed, f"{name}: {off}"
        np.testing.assert_allclose(image.affine, reference.affine, atol=1e-6)
    for path in files:
        theirs = highdicom.imread(path).get_volume(apply_presentation_lut=False, apply_icc_profile=False)
        np.testing.assert_array_equal(images[path.name].array[0], theirs.array[::-1])  # it counts slices downwards
        flip = np.diag([-1.0, 1, 1, 1])
        flip[0, 3] = theirs.array.shape[0] - 1
        np.testing.assert_allclose(images[path.name].affine, LPS_TO_RAS @ theirs.affine @ flip, atol=1e-4)


def near(name: str, files: list[Path]) -> int:
    """Return NEAR of a JPEG-LS file, the most that a stored value may be off, from its first scan header."""
    data = next(path for path in files if path.name == name).read_bytes()
    at = data.index(b"\xff\xda\x00\x08\x01")
    return data[at + 7]
