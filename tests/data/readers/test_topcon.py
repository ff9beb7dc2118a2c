import struct

import numpy as np
import pytest

from medssl.data.readers import read_file, topcon
from medssl.data.scan import describe
from medssl.errors import DataError
from tests.data.readers import vendor_oct


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("kind", [b"FDA", b"FDS"])
@pytest.mark.parametrize("parameters", [b"@PARAM_SCAN_04", b"@PARAM_SCAN_02"])
def test_a_cube_has_its_values_spacing_eye_and_patient(tmp_path, coded, kind, parameters):
    path = vendor_oct.topcon(tmp_path / "any", coded=coded, kind=kind, parameters=parameters)
    image, row = read_file(path), describe(path)[0]
    np.testing.assert_array_equal(image.array[0], vendor_oct.values("u2"))
    assert image.array.dtype == np.uint16
    assert image.spacing_mm == pytest.approx((4.5 / 3, 0.0035, 6 / 5))
    assert (row["slice_spacing_mm"], row["row_spacing_mm"], row["column_spacing_mm"]) == image.spacing_mm
    assert (row["slices"], row["rows"], row["columns"], row["frame"]) == (3, 4, 5, None)
    assert (row["patient_id"], row["laterality"], row["model"]) == ("p-7", "L", "3DOCT-2000")
    assert "FIRST" not in str(row)
    assert "LAST" not in str(row)
    assert image.affine is None


@pytest.mark.parametrize("coded", [False, True])
def test_radial_scans_are_images_of_their_own(tmp_path, coded):
    path = vendor_oct.topcon(tmp_path / "x.fda", coded=coded, pattern=3, eye=0)
    rows = describe(path)
    assert [(r["frame"], r["ndim"], r["laterality"]) for r in rows] == [(0, 2, "R"), (1, 2, "R"), (2, 2, "R")]
    assert "images of their own" in rows[0]["remarks"][1]
    np.testing.assert_array_equal(topcon.read(path, 1).array[0], vendor_oct.values("u2")[1])
    with pytest.raises(DataError, match="no B-scan 3"):
        topcon.read(path, 3)


def test_an_eye_and_a_spacing_that_the_file_does_not_say_are_unknown(tmp_path):
    path = vendor_oct.topcon(tmp_path / "x.fda", eye=9)
    data = path.read_bytes().replace(b"@PARAM_SCAN_04", b"@PARAM_SCAN_99")
    path.write_bytes(data)
    row = describe(path)[0]
    assert row["laterality"] is None
    assert np.isnan([row["slice_spacing_mm"], row["row_spacing_mm"], row["column_spacing_mm"]]).all()


@pytest.mark.parametrize("coded", [False, True])
def test_every_cut_is_named(tmp_path, coded):
    data = vendor_oct.topcon(tmp_path / "whole.fda", coded=coded).read_bytes()
    for length in range(8, len(data) - 1, 7):
        (tmp_path / "cut.fda").write_bytes(data[:length])
        row = describe(tmp_path / "cut.fda")[0]
        assert row["status"] == "unreadable", length
        assert "truncated" in row["reason"] or "no B-scans" in row["reason"], (length, row["reason"])


@pytest.mark.parametrize("sizes", [(0, 4, 3), (5, 4, 2**31), (2**32 - 1, 2**32 - 1, 2**32 - 1)])
def test_impossible_sizes_are_named(tmp_path, sizes):
    path = vendor_oct.topcon(tmp_path / "x.fda")
    columns, rows, scans = sizes
    head = struct.pack("<B4I", 2, 5, 4, 16, 3)
    path.write_bytes(path.read_bytes().replace(head, struct.pack("<B4I", 2, columns, rows, 16, scans)))
    assert "impossible sizes" in describe(path)[0]["reason"]
