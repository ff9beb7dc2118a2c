"""Stored values and integers of ours against pydicom's and double precision; files that are deflated or cut."""

import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from medssl.data.readers import dicom
from medssl.data.readers.parts import dicom_inflated, dicom_pixels, dicom_source
from medssl.data.readers.parts.dicom_header import frame_count
from medssl.data.readers.parts.dicom_stored import stored
from medssl.data.scan import describe
from medssl.errors import DataError
from tests.data.readers.test_dicom import write

_SHIPPED = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


def readable() -> list[Path]:
    """Files that pydicom ships and decodes by itself or by what medssl requires."""
    return [path for path in _SHIPPED if describe(path)[0]["status"] == "ok"]


def by_pydicom(path: Path, frame: int) -> np.ndarray:
    """A frame as pydicom gives it from a whole data set, by a plug-in that is no part of ours where there is one."""
    dataset = dcmread(path, force=True)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    theirs = [name for name in ("pydicom", "pyjpegls", "pillow") if name in decoder.available_plugins]
    return decoder.as_array(dataset, index=frame, decoding_plugin=theirs[0] if theirs else "")[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", readable(), ids=lambda path: path.name)
def test_stored_values_are_those_of_pydicom(path):
    source = dicom_source.open_source(path)
    for frame in {0, frame_count(source.dataset) - 1}:
        try:
            theirs = by_pydicom(path, frame)
        except Exception as error:
            pytest.skip(f"pydicom does not read it: {str(error).splitlines()[0]}")
        np.testing.assert_array_equal(stored(source, frame), theirs)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["u1", "i1", "u2", "i2", "i4", "u4"]),
    st.integers(-70_000, 70_000),
    st.integers(-2_000_000, 2_000_000),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_integers_are_what_double_precision_gives(kind, slope, intercept, inverted, seed):
    info = np.iinfo(kind)
    values = np.random.default_rng(seed).integers(info.min, info.max, (1, 5, 7), dtype=kind, endpoint=True)
    dataset = pydicom.Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.BitsStored, dataset.PixelRepresentation = info.bits, int(info.kind == "i")
    rescale = dicom_pixels.Rescale(float(slope), float(intercept), None)
    found = dicom_pixels._finished(values.copy(), dataset, rescale, (rescale.slope, rescale.intercept), {})
    expected = values.astype(np.float64) * slope + intercept
    if inverted:
        expected = sum(dicom_pixels._range(dataset, rescale)) - expected
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found.astype(np.float64), expected)


def deflated(path: Path, content: bytes, to: Path) -> Path:
    """The file with another data set, deflated."""
    head = path.read_bytes()[: 144 + int.from_bytes(path.read_bytes()[140:144], "little")]
    packing = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    to.write_bytes(head + packing.compress(content) + packing.flush())
    return to


def test_a_deflated_file_is_read_frame_by_frame(tmp_path):
    frames = np.random.default_rng(0).integers(0, 4096, (3, 40, 50)).astype(np.uint16)
    plain = write(tmp_path / "plain.dcm", frames, SOPClassUID=uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
    dataset = dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated.dcm")
    assert describe(tmp_path / "deflated.dcm")[0]["status"] == "ok"
    for frame in range(3):
        np.testing.assert_array_equal(dicom.read(tmp_path / "deflated.dcm", frame).array[0], frames[frame])


def test_a_deflated_file_of_the_suite_is_what_pydicom_makes_of_it():
    path = Path(str(get_testdata_file("image_dfl.dcm", download=False)))
    np.testing.assert_array_equal(dicom.read(path).array[0], dcmread(path).pixel_array)


def test_a_deflate_bomb_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_inflated, "MOST_INFLATED", 2**20)
    path = Path(str(get_testdata_file("image_dfl.dcm", download=False)))
    bomb = deflated(path, bytes(2**22), tmp_path / "bomb.dcm")
    for use in (dicom.describe, dicom.read):
        with pytest.raises(DataError, match=r"unpacks to more than 0\.000976562 GiB"):
            use(bomb)
    path = deflated(path, bytes(100), tmp_path / "cut.dcm")
    path.write_bytes(path.read_bytes()[:-4])
    assert "has no end" in describe(path)[0]["reason"]


@pytest.mark.parametrize("lost", [1, 4, 8])
def test_compressed_pixels_without_their_last_bytes_are_read(tmp_path, lost):
    path = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False)))
    data = path.read_bytes()
    end = data.rindex(b"\xfe\xff\xdd\xe0") + 8
    (tmp_path / "cut.dcm").write_bytes(data[: end - lost])
    np.testing.assert_array_equal(dicom.read(tmp_path / "cut.dcm").array, dicom.read(path).array)


def test_too_few_bytes_are_a_sentence(tmp_path):
    path = write(tmp_path / "x.dcm", np.zeros((16, 16), np.uint16))
    dataset = dcmread(path)
    dataset.PixelData = bytes(100)
    dataset.save_as(path)
    with pytest.raises(DataError, match="100 bytes, too few"):
        dicom.read(path)


@pytest.mark.parametrize("kind", ["u2", "i2", "u1"])
@pytest.mark.parametrize("code", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLosslessSV1])
def test_what_stands_in_unused_bits_is_no_value(tmp_path, kind, code):
    stored_bits = np.random.default_rng(0).integers(0, 2 ** (8 * int(kind[1])), (16, 18)).astype(kind.replace("i", "u"))
    used = 8 * int(kind[1]) - 3
    path = write(tmp_path / "x.dcm", stored_bits.view(kind), BitsStored=used, HighBit=used - 1)
    dataset = dcmread(path)
    if code == uid.RLELossless:
        dataset.compress(code, encoding_plugin="pydicom")
    elif code == uid.JPEGLosslessSV1:
        stream = imagecodecs.jpeg8_encode(stored_bits, lossless=True, predictor=1, bitspersample=8 * int(kind[1]))
        dataset.PixelData, dataset.file_meta.TransferSyntaxUID = encapsulate([stream]), code
        dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    expected = stored_bits & (2**used - 1)
    expected = expected.astype(int) - 2**used * (expected >> (used - 1)) if kind == "i2" else expected
    np.testing.assert_array_equal(stored(dicom_source.open_source(path), 0), expected)


@pytest.mark.parametrize("bits", [64, 127, 62_224])
def test_more_bits_than_there_are_is_a_sentence(tmp_path, bits):
    path = write(tmp_path / "x.dcm", np.ones((4, 4), np.uint16), BitsStored=bits, HighBit=bits - 1)
    with pytest.raises(DataError, match="Cannot decode pixels"):
        dicom.read(path)


@pytest.mark.parametrize("code", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_more_frames_than_bits_are_named_at_once(tmp_path, code):
    path = write(tmp_path / "x.dcm", np.ones((4, 4), np.uint16), NumberOfFrames=99_999_999_999)
    dataset = dcmread(path)
    del dataset.BitsAllocated  # without which nobody can count bytes
    dataset.file_meta.TransferSyntaxUID = code
    dataset.save_as(path)
    assert "counts 99999999999 frames" in describe(path)[0]["reason"]
