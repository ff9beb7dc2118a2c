"""Palettes: every way to write one table gives the same colours."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian

from medssl.data.readers import dicom
from medssl.errors import DataError
from tests.data.readers.test_dicom import write

STORED = np.arange(256, dtype=np.uint8).reshape(16, 16)
TABLES = np.stack([np.arange(256), 255 - np.arange(256), np.minimum(2 * np.arange(256), 255)])  # (3, entries)


def palette(*tables, descriptor=(256, 0, 16), name="{}PaletteColorLookupTableData"):
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, table in zip(["Red", "Green", "Blue"], tables, strict=True):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = list(descriptor)
        elements[name.format(colour)] = table
    return elements


@pytest.mark.parametrize("low", [lambda t: t << 8, lambda t: t * 257])
def test_a_shifted_and_a_repeated_byte_are_the_same_colours(tmp_path, low):
    image = dicom.read(write(tmp_path / "x", STORED, **palette(*(low(t).astype("<u2").tobytes() for t in TABLES))))
    assert image.array.dtype == np.uint8
    np.testing.assert_array_equal(image.array, TABLES[:, STORED])


def test_colours_of_sixteen_bits_keep_them(tmp_path):
    fine = TABLES * 255 + 3
    image = dicom.read(write(tmp_path / "x", STORED, **palette(*(t.astype("<u2").tobytes() for t in fine))))
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array, fine[:, STORED])


@pytest.mark.parametrize("descriptor", [(256, 0, 8), (255, 0, 8)])
def test_eight_bits_an_entry_of_even_and_odd_number(tmp_path, descriptor):
    entries = [t[: descriptor[0]].astype(np.uint8) for t in TABLES]
    padded = [t.tobytes() + b"\0" * (len(t) % 2) for t in entries]
    image = dicom.read(write(tmp_path / "x", STORED, **palette(*padded, descriptor=descriptor)))
    np.testing.assert_array_equal(image.array, np.stack([t[np.minimum(STORED, len(t) - 1)] for t in entries]))


def test_stored_values_outside_the_table_take_its_ends(tmp_path):
    stored = np.array([[-300, -200, -199, 0, 300]], dtype=np.int16)
    tables = [t[:100].astype(np.uint8).tobytes() for t in TABLES]
    path = write(tmp_path / "x", stored, **palette(*tables, descriptor=(100, -200, 8)), PixelRepresentation=1)
    np.testing.assert_array_equal(dicom.read(path).array, TABLES[:, [[0, 0, 1, 99, 99]]])


def test_more_entries_than_a_byte_can_count(tmp_path):
    """Tables of 8 bits for stored values of 16: the index must not wrap."""
    stored = np.array([[0, 255, 256, 511, 999]], dtype=np.uint16)
    table = (np.arange(512) // 2).astype(np.uint8).tobytes()
    image = dicom.read(write(tmp_path / "x", stored, **palette(table, table, table, descriptor=(512, 0, 8))))
    np.testing.assert_array_equal(image.array[0], [[0, 127, 128, 255, 255]])


@pytest.mark.parametrize("bits", [8, 16])
def test_big_endian_tables(tmp_path, bits):
    little = write(tmp_path / "little", STORED, **palette(*(t.astype("<u2").tobytes() for t in TABLES * 257)))
    dataset = pydicom.dcmread(little)
    for colour, table in zip(["Red", "Green", "Blue"], TABLES, strict=True):
        words = (table * 257).astype(">u2") if bits == 16 else table.astype(np.uint8).view("<u2").astype(">u2")
        dataset[f"{colour}PaletteColorLookupTableData"].value = words.tobytes()
        dataset[f"{colour}PaletteColorLookupTableDescriptor"].value = [256, 0, bits]
    pixels = np.frombuffer(dataset.PixelData, np.uint8).view("<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset["PixelData"].VR, dataset["PixelData"].value = "OW", pixels
    big = pydicom.Dataset(dataset)  # one that remembers no byte order
    big.file_meta = dataset.file_meta
    big.save_as(tmp_path / "big", enforce_file_format=True)
    np.testing.assert_array_equal(dicom.read(tmp_path / "big").array, TABLES[:, STORED])


@pytest.mark.parametrize("bits", [8, 16])
def test_segments_are_runs_lines_and_copies(tmp_path, bits):
    """0, 10, 20, then in 4 steps to 60, then in 2 to 50, then the first two segments again."""
    source = (0).to_bytes(4, "little") if bits == 8 else [0, 0]
    words = [0, 3, 0, 10, 20, 1, 4, 60, 1, 2, 50, 2, 2, *source]
    data = np.array(words, "<u2" if bits == 16 else np.uint8).tobytes()
    data += b"\0" * (len(data) % 2)
    elements = palette(data, data, data, descriptor=(16, 0, bits), name="Segmented{}PaletteColorLookupTableData")
    image = dicom.read(write(tmp_path / "x", np.arange(16, dtype=np.uint8).reshape(4, 4), **elements))
    expected = [0, 10, 20, 30, 40, 50, 60, 55, 50, 0, 10, 20, 30, 40, 50, 60]
    np.testing.assert_array_equal(image.array[0].ravel(), expected)


def test_frames_have_the_colours_of_a_single_image(tmp_path):
    tables = palette(*((t << 8).astype("<u2").tobytes() for t in TABLES))
    ultrasound = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "Modality": "US"}
    path = write(tmp_path / "x", np.stack([STORED, STORED.T]), **tables, **ultrasound)
    assert dicom.describe(path)[1]["channels"] == 3
    np.testing.assert_array_equal(dicom.read(path, 1).array, TABLES[:, STORED.T])
    assert dicom.read(path, 1).array.dtype == np.uint8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([1, 4, 60], "cannot be followed"),
        ([7, 1, 1], "cannot be followed"),
        ([0, 3, 1, 2, 3], "3 of 16 entries"),
        ([0, 1, 5, *[2, 9999, 0, 0] * 4], "cannot be followed|entries"),
    ],
)
def test_a_damaged_table_is_told(tmp_path, words, said):
    data = np.array(words, "<u2").tobytes()
    elements = palette(data, data, data, descriptor=(16, 0, 16), name="Segmented{}PaletteColorLookupTableData")
    with pytest.raises(DataError, match=said):
        dicom.read(write(tmp_path / "x", np.zeros((4, 4), np.uint8), **elements))
