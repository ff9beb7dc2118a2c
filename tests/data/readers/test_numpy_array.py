import io
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from medssl.data.readers import numpy_array, read_file
from medssl.data.scan import scan
from medssl.errors import DataError

RNG = np.random.default_rng(0)


def npy(folder, shape, *, descr="|u1", order=False, data=b"", name="x.npy"):
    """Write an array whose header claims what is asked."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": order, "shape": shape})
    (folder / name).write_bytes(stream.getvalue() + data)
    return folder / name


def refused(path, match):
    for use in (numpy_array.describe, numpy_array.read):
        with pytest.raises(DataError, match=match) as caught:
            use(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "<u2", ">i2", "<i4", ">u8", "f2", "<f4", ">f4", "f8"])
def test_values_are_those_that_numpy_loads(tmp_path, dtype, order, save):
    values = np.asarray(RNG.integers(0, 2 if dtype == "?" else 100, (4, 5, 6)).astype(dtype), order=order)
    path = tmp_path / ("x.npy" if save is np.save else "x.npz")
    save(path, values)
    image, row = numpy_array.read(path), numpy_array.describe(path)[0]
    np.testing.assert_array_equal(image.array, values[None])
    kinds = {"b": np.uint8, "f": np.float32}
    assert image.array.dtype == kinds.get(values.dtype.kind, values.dtype.newbyteorder("="))
    assert image.array.flags["C_CONTIGUOUS"]
    assert image.array.flags["WRITEABLE"]
    assert (row["ndim"], row["slices"], row["rows"], row["columns"], row["channels"]) == (3, 4, 5, 6, 1)
    assert row["bits"] == values.dtype.itemsize * 8
    assert (image.spacing_mm, image.affine, row.get("row_spacing_mm")) == (None, None, None)
    assert image.remarks == row["remarks"] == ["three axes: read as (slices, rows, columns)"]


@pytest.mark.parametrize(
    ("shape", "expected", "said"),
    [
        ((4, 5), (1, 4, 5), None),
        ((4, 5, 3), (3, 4, 5), "(rows, columns, channels)"),
        ((4, 5, 4), (4, 4, 5), "(rows, columns, channels)"),
        ((3, 4, 5), (1, 3, 4, 5), "(slices, rows, columns)"),
        ((1, 4, 5), (1, 4, 5), "(slices, rows, columns)"),
    ],
)
def test_axes(tmp_path, shape, expected, said):
    values = RNG.integers(0, 9, shape)
    np.save(tmp_path / "x.npy", values)
    image, row = read_file(tmp_path / "x.npy"), numpy_array.describe(tmp_path / "x.npy")[0]
    assert image.array.shape == expected
    for index in np.ndindex(shape):
        there = (index[2], *index[:2]) if said and "channels" in said else index
        assert image.array.reshape(expected if said and "channels" in said else shape)[there] == values[index]
    spatial = ("rows", "columns") if row["ndim"] == 2 else ("slices", "rows", "columns")
    assert tuple(row[a] for a in ("channels", *spatial)) == expected
    assert image.remarks == row["remarks"]
    assert (not image.remarks) if said is None else said in image.remarks[0]


def test_an_archive_holds_one_array(tmp_path):
    np.savez(tmp_path / "x.npz", image=np.zeros((2, 2)), mask=np.zeros((2, 2)))
    refused(tmp_path / "x.npz", "2 arrays, expected one")
    assert not numpy_array.sniff(None, b"PK\x03\x04" + bytes(22) + (5).to_bytes(2, "little") + b"\0\0a.txt")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", npy(tmp_path, (2, 2), data=b"abcd").read_bytes())
    refused(tmp_path / "b.npz", "another method than deflate")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((2, 2), complex), "complex numbers"),
        (np.array([[None]], object), "Python objects"),
        (np.zeros((2, 2), [("a", "i4"), ("b", "f4")]), "structured records"),
        (np.array([["a"]]), "no numbers"),
        (np.zeros((2, 2), "M8[s]"), "no numbers"),
        (np.zeros(5), "shape \\(5,\\)"),
        (np.float32(5), "shape \\(\\)"),
        (np.zeros((2, 2, 2, 2)), "shape \\(2, 2, 2, 2\\)"),
        (np.zeros((0, 4)), "none empty"),
    ],
)
def test_arrays_that_are_no_image(tmp_path, values, said):
    np.save(tmp_path / "x.npy", values, allow_pickle=True)
    refused(tmp_path / "x.npy", said)


def test_headers_that_claim_more_than_there_is(tmp_path):
    refused(npy(tmp_path, (10**6, 10**6), data=b"abcd"), "truncated")
    refused(npy(tmp_path, (4, 4), data=b"a" * 15), "truncated")
    refused(npy(tmp_path, (-4, 4), data=b"a" * 16), "shape \\(-4, 4\\)")
    refused(npy(tmp_path, (-4, -4), data=b"a" * 16), "shape \\(-4, -4\\)")
    for text in (b"", b"\xff" * 20, b"{'descr': __import__('os'), 'fortran_order': False, 'shape': (1, 1)}"):
        path = tmp_path / "y.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        refused(path, "cannot be parsed")
    (tmp_path / "z.npy").write_bytes(b"\x93NUMPY\x01")
    refused(tmp_path / "z.npy", "cannot be parsed")
    (tmp_path / "w.npy").write_bytes(b"\x93NUMPY\x03\x00" + bytes(50))
    refused(tmp_path / "w.npy", "Version \\(3, 0\\) of .npy is not supported")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    array = npy(tmp_path, (60_000, 60_000)).read_bytes()
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", array)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(bytes(data))
    tracemalloc.start()
    refused(tmp_path / "x.npz", "truncated")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("cut", [5, 40, 300])
def test_a_damaged_archive_is_refused(tmp_path, cut):
    np.savez_compressed(tmp_path / "x.npz", RNG.integers(0, 255, (20, 20), dtype=np.uint8))
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole[:-cut])
    refused(tmp_path / "x.npz", "Cannot read the file")
    flipped = bytearray(whole)
    flipped[300] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(bytes(flipped))
    with pytest.raises(DataError):
        numpy_array.read(tmp_path / "x.npz")


def test_what_follows_the_array_is_said(tmp_path):
    path = npy(tmp_path, (2, 2), data=b"abcdefg")
    assert numpy_array.describe(path)[0]["remarks"] == ["3 bytes after the array are not read"]
    np.testing.assert_array_equal(numpy_array.read(path).array.ravel(), list(b"abcd"))


def test_values_beyond_single_precision_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1e300, 0.0]]))
    with pytest.raises(DataError, match="single precision"):
        numpy_array.read(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.array([[np.inf, np.nan]]))
    np.testing.assert_array_equal(numpy_array.read(tmp_path / "x.npy").array, [[[np.inf, np.nan]]])


def test_a_scan_lists_them(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 3)))
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = scan([tmp_path]).table
    assert table["status"].tolist() == ["ok", "unreadable"]
    assert table["format"].tolist()[0] == "numpy_array"
