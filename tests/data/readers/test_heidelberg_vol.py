import math
import struct

import numpy as np
import pytest
from PIL import Image as Pil

from medssl.data.readers import dicom, heidelberg_vol, read_file
from medssl.errors import DataError

SCANS, ROWS, COLUMNS = 3, 4, 5
VALUES = np.random.default_rng(0).random((SCANS, ROWS, COLUMNS)).astype("<f4")
INVALID = np.finfo(np.float32).max


def vol(path, values=VALUES, *, distance=0.25, pattern=3, eye=b"OS", step=0.25, patient=b"p-7", **changes):
    """Write a raw export byte by byte, at the offsets of Heidelberg's table."""
    count, rows, columns = values.shape
    head = bytearray(2048)
    at = {"columns": 12, "scans": 16, "rows": 20, "slo_columns": 48, "slo_rows": 52, "header": 100}
    sizes = {"columns": columns, "scans": count, "rows": rows, "slo_columns": 7, "slo_rows": 6, "header": 300} | changes
    head[:11] = b"HSF-OCT-103"
    for name, offset in at.items():
        struct.pack_into("<i", head, offset, sizes[name])
    struct.pack_into("<3d", head, 24, 0.011, distance, 0.0039)
    head[84:86] = eye
    struct.pack_into("<i", head, 96, pattern)
    head[140 : 140 + len(patient)] = patient
    struct.pack_into("<d", head, 168, 20000.0)  # date of birth, which no row may hold
    body = bytes(range(42))
    for number in range(count):
        start = struct.pack("<12si4d2i", b"HSF-BS-103", 300, 1.0, number * step, 6.0, number * step, 0, 256)
        body += start.ljust(300, b"\x7f") + values[number].tobytes()
    path.write_bytes(bytes(head) + body)
    return path


def refused(path, match):
    for use in (heidelberg_vol.describe, heidelberg_vol.read):
        with pytest.raises(DataError, match=match) as caught:
            use(path)
        assert "\n" not in str(caught.value)


def test_parallel_scans_are_a_volume(tmp_path):
    image, row = read_file(vol(tmp_path / "any")), heidelberg_vol.describe(tmp_path / "any")[0]
    np.testing.assert_allclose(image.array, VALUES[None] ** 0.25, rtol=1e-6)
    assert image.array.dtype == np.float32
    assert image.spacing_mm == (0.25, 0.0039, 0.011)
    assert (row["slices"], row["rows"], row["columns"], row["ndim"], row["frame"]) == (SCANS, ROWS, COLUMNS, 3, None)
    assert (row["slice_spacing_mm"], row["row_spacing_mm"], row["column_spacing_mm"]) == image.spacing_mm
    assert (row["patient_id"], row["laterality"], row["manufacturer"]) == ("p-7", "L", "Heidelberg Engineering")
    assert image.affine is None
    assert "20000" not in str(row)
    assert image.remarks == row["remarks"] == []


def test_pixels_without_a_signal_are_nothing_and_said(tmp_path):
    values = VALUES.copy()
    values[0, 1:3, 2], values[1, 0, 0], values[2, 0, 0], values[2, 1, 1] = INVALID, np.nan, -1, np.inf
    image = heidelberg_vol.read(vol(tmp_path / "x.vol", values))
    assert np.isfinite(image.array).all()
    assert (image.array == 0).sum() == 5
    assert image.remarks == ["5 pixels without a signal are set to 0"]


@pytest.mark.parametrize(
    ("pattern", "distance", "said"), [(5, 0.25, "radial"), (0, 0.0, "without a distance"), (3, math.nan, "distance")]
)
def test_scans_that_are_no_slices_are_images_of_their_own(tmp_path, pattern, distance, said):
    path = vol(tmp_path / "x.vol", pattern=pattern, distance=distance)
    rows = heidelberg_vol.describe(path)
    assert [row["frame"] for row in rows] == [0, 1, 2]
    for row in rows:
        image = heidelberg_vol.read(path, row["frame"])
        np.testing.assert_allclose(image.array[0], VALUES[row["frame"]] ** 0.25, rtol=1e-6)
        assert image.spacing_mm == (0.0039, 0.011)
        assert said in row["remarks"][0]
    with pytest.raises(DataError, match="no B-scan 3"):
        heidelberg_vol.read(path, 3)


def test_uneven_steps_are_said(tmp_path):
    assert "0.300 mm apart" in heidelberg_vol.describe(vol(tmp_path / "x.vol", step=0.3))[0]["remarks"][0]


@pytest.mark.parametrize("eye", [b"XX", b"\0\0"])
def test_another_word_for_the_eye_is_unknown(tmp_path, eye):
    row = heidelberg_vol.describe(vol(tmp_path / "x.vol", eye=eye, patient=b""))[0]
    assert (row["laterality"], row["patient_id"]) == (None, None)
    assert "laterality unknown" in row["remarks"][0]


@pytest.mark.parametrize("keep", [8, 2047, 2048, 2100, -1])
def test_a_cut_off_file_is_refused(tmp_path, keep):
    path = vol(tmp_path / "x.vol")
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "truncated")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scans": 2**31 - 1, "rows": 2**31 - 1, "columns": 2**31 - 1}, "truncated"),
        ({"slo_rows": 2**31 - 1}, "truncated"),
        ({"header": 2**31 - 1}, "truncated"),
        ({"scans": 0}, "impossible sizes"),
        ({"rows": -4}, "impossible sizes"),
        ({"slo_rows": -600}, "impossible sizes"),
        ({"header": -1}, "impossible sizes"),
    ],
)
def test_sizes_beyond_the_file_are_refused(tmp_path, changes, said):
    refused(vol(tmp_path / "x.vol", **changes), said)


@pytest.mark.parametrize("name", ["a-line", "a-circle-1", "a-circle-2", "b-circle"])
def test_real_scans_are_the_pictures_and_the_dicom_made_of_them(real_data, name):
    folder = real_data / "oct-spectralis-raw"
    image, row = heidelberg_vol.read(folder / f"{name}.vol"), heidelberg_vol.describe(folder / f"{name}.vol")[0]
    picture = np.asarray(Pil.open(folder / f"{name}.png"), dtype=float)
    assert image.array.shape == (1, 496, 768)
    assert np.abs(image.array[0] * 255 - picture).max() <= 1
    source, frame = ("a-circles-opt.dcm", int(name[-1]) - 1) if name[0:8] == "a-circle" else (f"{name}-opt.dcm", 0)
    witness = dicom.read(folder / source, frame)
    assert np.abs(image.array * 255 - witness.array.squeeze()).max() <= 1
    assert image.spacing_mm == pytest.approx(witness.spacing_mm[-2:], rel=1e-4)
    assert (row["laterality"], row["patient_id"]) == ("R", f"subject-{name[0]}")
    assert ("circular" in "".join(row["remarks"])) == ("circle" in name)
