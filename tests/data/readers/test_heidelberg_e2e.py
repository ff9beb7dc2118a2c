import struct
import sys

import numpy as np
import pytest

from medssl.data.readers import heidelberg_e2e, read_file
from medssl.data.scan import describe, scan
from medssl.errors import DataError
from tests.data.readers import vendor_oct

pytest.importorskip("eyepy", reason="the extra oct is not installed")


def test_parallel_scans_are_a_volume(tmp_path):
    path, expected = vendor_oct.e2e(tmp_path / "any")
    image, row = read_file(path), describe(path)[0]
    np.testing.assert_allclose(image.array[0], expected**0.25, rtol=1e-6)
    assert image.array.dtype == np.float32
    assert image.spacing_mm is None
    assert (row["slices"], row["rows"], row["columns"], row["frame"], row["ndim"]) == (3, 4, 5, None, 3)
    assert (row["patient_id"], row["laterality"]) == ("p-7", "L")
    assert "FIRST" not in str(row)
    assert "LAST" not in str(row)


def test_both_eyes_and_a_circle_are_images_of_their_own(tmp_path):
    series = {1: {"eye": b"R"}, 4: {"eye": b"L", "pattern": 2, "there": 1, "said": 1}, 7: {"pattern": 5}}
    path, expected = vendor_oct.e2e(tmp_path / "x.e2e", series)
    rows = describe(path)
    assert [(r["frame"], r["ndim"], r["laterality"]) for r in rows] == [
        (0, 3, "R"), (1, 2, "L"), (2, 2, "L"), (3, 2, "L"), (4, 2, "L"),
    ]  # fmt: skip
    np.testing.assert_allclose(heidelberg_e2e.read(path, 1).array[0], expected[0] ** 0.25, rtol=1e-6)
    np.testing.assert_allclose(heidelberg_e2e.read(path, 4).array[0], expected[2] ** 0.25, rtol=1e-6)
    assert "circular" in rows[1]["remarks"][1]
    with pytest.raises(DataError, match="no image 5"):
        heidelberg_e2e.read(path, 5)


def test_missing_b_scans_are_named(tmp_path):
    path, _ = vendor_oct.e2e(tmp_path / "x.e2e", {1: {"said": 5}})
    assert "should have 5 B-scans, but 3 are there" in describe(path)[0]["reason"]


def test_a_cut_off_file_is_never_ok(tmp_path):
    data = vendor_oct.e2e(tmp_path / "whole.e2e")[0].read_bytes()
    for length in range(10, len(data), 97):
        (tmp_path / "cut.e2e").write_bytes(data[:length])
        row = describe(tmp_path / "cut.e2e")[0]
        assert row["status"] == "unreadable", length
        assert "\n" not in row["reason"]


def test_a_last_chunk_with_an_empty_folder_is_sound(tmp_path):
    """The device fills its last chunk up with empty folders."""
    path, expected = vendor_oct.e2e(tmp_path / "x.e2e", padded=True)
    np.testing.assert_allclose(read_file(path).array[0], expected**0.25, rtol=1e-6)


def test_chunks_that_lead_back_are_named(tmp_path):
    path, _ = vendor_oct.e2e(tmp_path / "x.e2e")
    data = bytearray(path.read_bytes())
    last = 88 + 52 + 44 * (struct.unpack_from("<I", data, 88 + 36)[0] - 1)
    struct.pack_into("<2I", data, last + 4, 0, 88 - 60)
    path.write_bytes(data)
    assert "leads back" in describe(path)[0]["reason"]


def test_without_the_extra_a_scan_names_it(tmp_path, monkeypatch):
    vendor_oct.e2e(tmp_path / "x.e2e")
    vendor_oct.topcon(tmp_path / "good.fda")
    for name in [name for name in sys.modules if name.startswith("eyepy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "eyepy", None)
    table = scan([tmp_path]).table.set_index("path")
    assert table.loc["x.e2e", "status"] == "unreadable"
    assert "pip install 'medssl[oct]'" in table.loc["x.e2e", "reason"]
    assert table.loc["good.fda", "status"] == "ok"
