"""Faults of reading that people met elsewhere (R01 to R18), written here from scratch and read as the store reads them.

Values follow their place, so that a voxel in the wrong place is seen; other tests of `tests/data` go deeper.
"""

import imagecodecs
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from medssl.data.readers import read_image
from medssl.data.scan import scan
from tests.data.readers.test_dicom import enhanced, write
from tests.data.readers.test_dicom_palette import STORED, TABLES, palette
from tests.data.test_grouping import AXIAL, check_place, write_slice

RAMP = np.arange(12, dtype=np.uint16).reshape(3, 4) * 10


def seen(folder):
    """Return the images below a folder in the order of their files, and the rows of all files by path."""
    found = scan([folder])
    read = [read_image(found, row) for _, row in found.usable().table.iterrows()]
    return read, found.table.set_index("path")


def series(folder, count=4, step=(0, 0, 2), **elements):
    for number in range(count):
        write_slice(folder / f"slice{number:02d}.dcm", np.array(step) * number, **elements)


def recoded(source, target, syntax, stream):
    dataset = pydicom.dcmread(source)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(target, enforce_file_format=True)


def test_r01_a_code_is_decoded_or_named_at_scan_time(tmp_path):
    plain = write(tmp_path / "x", RAMP.astype(np.uint8))
    code = imagecodecs.jpeg2k_encode(RAMP.astype(np.uint8), reversible=True, codecformat="j2k")
    recoded(plain, tmp_path / "jpeg2000.dcm", uid.JPEG2000Lossless, code)
    recoded(plain, tmp_path / "video.dcm", uid.MPEG4HP41, b"\0\0\0\x18ftypmp42" + bytes(32))
    plain.unlink()
    (image,), rows = seen(tmp_path)
    np.testing.assert_array_equal(image.array[0], RAMP)
    assert rows["status"].to_dict() == {"jpeg2000.dcm": "ok", "video.dcm": "unreadable"}
    assert "1.2.840.10008.1.2.4.102" in rows.loc["video.dcm", "reason"]


def test_r02_what_is_no_image_is_skipped_even_in_a_series(tmp_path):
    series(tmp_path, series="1.2.3")
    for name, kind in [
        ("DICOMDIR", "1.2.840.10008.1.3.10"),
        ("plan.dcm", "1.2.840.10008.5.1.4.1.1.481.3"),
        ("findings.dcm", "1.2.840.10008.5.1.4.1.1.88.11"),
    ]:
        other = Dataset()
        other.file_meta = FileMetaDataset()
        other.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        other.SOPClassUID, other.SOPInstanceUID, other.SeriesInstanceUID = kind, uid.generate_uid(), "1.2.3"
        other.file_meta.MediaStorageSOPClassUID = kind
        other.save_as(tmp_path / name, enforce_file_format=True)
    (image,), rows = seen(tmp_path)
    check_place(image)
    assert image.array.shape[1] == 4
    skipped = rows[rows["status"] == "skipped"]
    assert set(skipped.index) == {"DICOMDIR", "plan.dcm", "findings.dcm"}
    assert skipped["reason"].str.len().min() > 10


@pytest.mark.parametrize(("array", "extra"), [(RAMP, 20), (np.full((5, 7), 9, np.uint8), 0)])
def test_r03_bytes_after_the_pixels_do_no_harm(tmp_path, array, extra):
    dataset = pydicom.dcmread(write(tmp_path / "x", array))
    dataset.PixelData += bytes(extra)
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    (image,), _ = seen(tmp_path)
    np.testing.assert_array_equal(image.array[0], array)


def test_r04_a_tilt_is_kept_in_the_affine_and_said(tmp_path):
    tilt = np.deg2rad(15)
    series(tmp_path, step=(0, 0, 3), orientation=[1, 0, 0, 0, np.cos(tilt), -np.sin(tilt)])
    (image,), rows = seen(tmp_path)
    check_place(image)
    assert "gantry tilt: slices step 15.0 degrees" in rows["remarks"].iloc[0]


def test_r05_values_at_the_ends_of_their_type_do_not_wrap(tmp_path):
    low = RAMP.astype(np.int16)
    low[0, 0], low[2, 3] = -32768, 32767
    write(tmp_path / "a", low, RescaleSlope=1, RescaleIntercept=0)
    write(tmp_path / "b", RAMP, RescaleSlope=5000, RescaleIntercept=-1024)
    (ends, wide), _ = seen(tmp_path)
    np.testing.assert_array_equal(ends.array[0], low)
    np.testing.assert_array_equal(wide.array[0], RAMP.astype(int) * 5000 - 1024)


def test_r06_a_localizer_is_no_slice(tmp_path):
    series(tmp_path, 5)
    write_slice(tmp_path / "slice05.dcm", (0, 0, 10), [0, 1, 0, 0, 0, -1])
    (volume, localizer), rows = seen(tmp_path)
    check_place(volume)
    assert (volume.array.shape[1], localizer.array.ndim) == (5, 3)
    assert "orientation" in rows.loc["slice05.dcm", "remarks"]


def test_r07_positions_are_believed_not_thickness(tmp_path):
    series(tmp_path, step=(0, 0, 2.5), SliceThickness=5, SpacingBetweenSlices=-20)
    (image,), _ = seen(tmp_path)
    check_place(image)
    assert image.spacing_mm == (2.5, 2, 1)


def test_r08_leftovers_of_a_mac_are_no_images(tmp_path):
    series(tmp_path / "ct")
    shadow = bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(58)
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "photo.png")
    for name in ("._photo.png", "ct/._slice00.dcm", "._ct"):
        (tmp_path / name).write_bytes(shadow)
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(64))
    read, rows = seen(tmp_path)
    assert [image.array.ndim for image in read] == [4, 3]
    assert (rows["status"] == "unreadable").sum() == 0
    assert (rows["status"] == "skipped").sum() == 4


def test_r09_frames_are_sorted_and_each_has_its_rescale(tmp_path):
    real = enhanced(tmp_path / "x", [3, 0, 4, 1, 2])
    (image,), _ = seen(tmp_path)
    np.testing.assert_array_equal(image.array[0], real)
    assert image.spacing_mm == pytest.approx((2.5, 0.7, 0.5))
    np.testing.assert_allclose(image.affine @ [4, 0, 0, 1], [0, -20, 30, 1], atol=1e-9)  # 10 - 2.5 * 4 = 0


def test_r10_three_orientations_are_no_volume_and_said(tmp_path):
    write_frames_of_three_planes(tmp_path / "x")
    read, rows = seen(tmp_path)
    assert [image.array.shape for image in read] == [(1, 3, 4)] * 6
    assert rows["remarks"].str.contains("3 orientations").all()


def write_frames_of_three_planes(path):
    frames = []
    for number in range(6):
        frame, position, orientation = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 4 * (number % 2)]
        orientation.ImageOrientationPatient = [AXIAL, [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]][number // 2]
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
        frames.append(frame)
    kind = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1", "Modality": "MR"}
    write(path, np.stack([RAMP + k for k in range(6)]), PerFrameFunctionalGroupsSequence=frames, **kind)


@pytest.mark.parametrize(("shape", "channels"), [((5, 4, 3, 1, 2), 2), ((5, 4, 3, 1), 1)])
def test_r11_idle_axes_are_no_space(tmp_path, shape, channels):
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(values, np.diag([1.5, 2, 3, 1])), tmp_path / "x.nii")
    (image,), _ = seen(tmp_path)
    assert image.array.shape == (channels, 3, 4, 5)
    for channel in range(channels):
        np.testing.assert_array_equal(image.array[channel], values.reshape(5, 4, 3, channels)[..., channel].T)


@pytest.mark.parametrize("implicit", [True, False])
def test_r12_a_bare_data_set_is_read_and_a_text_is_not(tmp_path, implicit):
    (tmp_path / "plain").mkdir()
    dataset = pydicom.dcmread(write(tmp_path / "plain" / "x", RAMP, PixelSpacing=[0.7, 0.5], RescaleIntercept=-100,
                                    RescaleSlope=1))  # fmt: skip
    del dataset.file_meta, dataset.preamble
    pydicom.dcmwrite(tmp_path / "bare", dataset, implicit_vr=implicit, little_endian=True)
    (tmp_path / "plain" / "x").unlink()
    (tmp_path / "notes.dcm").write_text("This is a text file with a wrong name.\n" * 20)
    (image,), rows = seen(tmp_path)
    np.testing.assert_array_equal(image.array[0], RAMP.astype(int) - 100)
    assert image.spacing_mm == (0.7, 0.5)
    assert rows.loc["notes.dcm", "status"] == "unreadable"


def test_r13_numbers_of_a_palette_become_colours(tmp_path):
    write(tmp_path / "x", STORED, **palette(*((t * 257).astype("<u2").tobytes() for t in TABLES)))
    (image,), _ = seen(tmp_path)
    np.testing.assert_array_equal(image.array, TABLES[:, STORED])


def test_r14_the_sform_is_used_and_both_are_named(tmp_path):
    values = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    first = np.array([[-2, 0, 0, 40], [0, 3, 0, -50], [0, 0, 4, 10], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(values, first)
    image.set_qform(np.array([[0, 3, 0, -7], [-2, 0, 0, 8], [0, 0, 4, 100], [0, 0, 0, 1.0]]), 1)
    nib.save(image, tmp_path / "x.nii")
    (image,), rows = seen(tmp_path)
    place = image.affine @ [2, 1, 3, 1]  # slice, row, column
    np.testing.assert_allclose(place, first @ [3, 1, 2, 1])
    assert image.array[0, 2, 1, 3] == values[3, 1, 2]
    assert "sform (code 2) and qform (code 1) disagree" in rows["remarks"].iloc[0]


def test_r15_twelve_signed_bits_get_their_sign(tmp_path):
    values = RAMP.astype(np.int16) - 60
    write(tmp_path / "x", (values & 0x0FFF).astype(np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=1)
    (image,), _ = seen(tmp_path)
    np.testing.assert_array_equal(image.array[0], values)


@pytest.mark.parametrize(
    ("elements", "spacing", "remark"),
    [
        ({"PixelSpacing": [0.7, 0.5]}, (0.7, 0.5), None),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "at the detector"),
        ({}, None, None),
    ],
)
def test_r16_the_spacing_of_a_single_image_is_its_own_or_unknown(tmp_path, elements, spacing, remark):
    write(tmp_path / "x", RAMP, **elements)
    (image,), rows = seen(tmp_path)
    assert image.spacing_mm == spacing
    assert remark is None or remark in rows["remarks"].iloc[0]


def test_r17_every_page_of_a_tiff_is_read(tmp_path):
    pages = [Image.fromarray(RAMP + 1000 * number) for number in range(3)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    read, _ = seen(tmp_path)
    np.testing.assert_array_equal(np.stack([image.array[0] for image in read]), [RAMP + 1000 * k for k in range(3)])


def test_r18_one_cut_off_slice_is_named_and_the_rest_reads(tmp_path):
    series(tmp_path / "broken", 5, series="1.1")
    series(tmp_path / "whole", 5, series="1.2")
    victim = tmp_path / "broken" / "slice03.dcm"
    victim.write_bytes(victim.read_bytes()[:-30])
    read, rows = seen(tmp_path)
    assert [image.array.ndim for image in read] == [3, 3, 3, 3, 4]
    check_place(read[-1])
    assert rows["status"].value_counts().to_dict() == {"ok": 5, "unreadable": 1}
    assert "30 of 40 bytes of pixel data are missing" in rows.loc["broken/slice03.dcm", "reason"]
