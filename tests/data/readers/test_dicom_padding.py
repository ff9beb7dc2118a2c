"""Pixel padding: told apart by the reader, kept out of every statistic, air for every modality."""

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from medssl import discovery
from medssl.data.image import Image
from medssl.data.readers import read_file
from medssl.errors import DataError
from tests.data.readers.test_dicom import write


def measured(path):
    return np.sort(read_file(path).measured)


@pytest.mark.parametrize(
    ("dtype", "elements", "kept"),
    [
        (np.int16, {"PixelPaddingValue": -2000}, [-5, 0, 7]),
        (np.int16, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -5}, [0, 7]),
        (np.int16, {"PixelPaddingValue": -5, "PixelPaddingRangeLimit": -2000}, [0, 7]),
        (np.int16, {"PixelPaddingValue": 9}, [-2000, -5, 0, 7]),
        (np.int16, {"RescaleSlope": 2, "RescaleIntercept": -10, "PixelPaddingValue": -2000}, [-20, -10, 4]),
        (np.int16, {"RescaleSlope": 0.1, "RescaleIntercept": 3.3, "PixelPaddingValue": -2000}, [2.8, 3.3, 4.0]),
        (np.int16, {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": -5}, [-2000, 0, 7]),
    ],
)
def test_padding_is_told_apart_in_real_values(tmp_path, dtype, elements, kept):
    path = write(tmp_path / "a.dcm", np.array([[-2000, -5], [0, 7]], dtype), **elements)
    assert np.allclose(measured(path), kept, atol=1e-6)


def test_padding_of_inverted_pixels_follows_them(tmp_path):
    pixels = np.array([[0, 10], [200, 255]], np.uint8)
    path = write(tmp_path / "a.dcm", pixels, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=255)
    assert measured(path).tolist() == [55, 245, 255]


@pytest.mark.parametrize("value", [63536, -2000])
def test_padding_written_with_the_other_sign_is_found(tmp_path, value):
    signed = np.array([[-2000, 1], [2, 3]], np.int16)
    path = write(tmp_path / "a.dcm", signed if value > 0 else signed.view(np.uint16))
    ds = dcmread(path)
    ds.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
    ds.save_as(path)
    assert measured(path).tolist() == [1, 2, 3]


def test_a_value_that_no_pixel_can_have_says_nothing(tmp_path):
    pixels = np.array([[0, 10], [200, 255]], np.uint8)
    assert read_file(write(tmp_path / "a.dcm", pixels, PixelPaddingValue=300)).padding is None


def test_a_table_of_values_makes_padding_unknown(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
    table.add_new("LUTData", "US", [5, 5, 70, 900])
    pixels = np.array([[0, 1], [2, 3]], np.uint8)
    image = read_file(write(tmp_path / "a.dcm", pixels, PixelPaddingValue=0, ModalityLUTSequence=[table]))
    assert image.padding is None
    assert "padding is not told apart: a table makes real values of stored ones" in image.remarks


def test_padding_becomes_air_in_a_type_with_room_for_it():
    image = Image(np.array([[[0, 5], [65535, 65535]]], np.uint16), padding=(65535, 65535)).unpadded()
    assert image.array.tolist() == [[[0, 5], [-1, -1]]]
    assert sorted(image.measured.tolist()) == [0, 5]
    floating = Image(np.array([[[0.0, 5], [9, 9]]], np.float32), padding=(9, 9)).unpadded()
    assert sorted(floating.measured.tolist()) == [0, 5]
    assert floating.array[0, 1, 0] < 0
    bytes_ = Image(np.array([[[3, 5], [255, 255]]], np.uint8), padding=(255, 255)).unpadded()
    assert (bytes_.array.tolist(), bytes_.array.dtype, bytes_.padding) == ([[[3, 5], [3, 3]]], np.uint8, None)


@pytest.mark.parametrize("value", [0.0, 9000.0])
@pytest.mark.parametrize("name", ["cxr", "oct"])
def test_padding_of_planes_is_black_and_sets_no_window(name, value):
    """Tissue is as bright as without padding, which is half of the picture; counted in it would move the window."""
    modality = discovery.load("modalities", name).MODALITY
    inside = np.full((64, 64), 1000.0, np.float32)
    inside[:, :32] = np.repeat(np.linspace(400, 3000, 64, dtype=np.float32)[:, None], 32, axis=1)
    padded = np.full((64, 128), value, np.float32)
    padded[:, :64] = inside
    stored = modality.prepare(modality.before(Image(padded[None], padding=(value, value))), 128)[0]
    low, high = np.percentile(inside, modality.preparation["percentiles"])
    mid = np.rint((1000 - low) / (high - low) * 65535)
    assert np.count_nonzero(np.abs(stored - mid) <= 1) > stored.size / 16
    assert np.count_nonzero(stored == 0) > stored.size / 4


@pytest.mark.parametrize("name", ["cxr", "oct", "mammography", "ultrasound", "fundus", "dermatology", "histology"])
def test_whatever_value_says_padding_the_same_is_stored(name):
    modality = discovery.load("modalities", name).MODALITY
    inside = np.random.default_rng(0).normal(1000, 150, (64, 64)).astype(np.float32)
    inside[:, :20] = 30
    stored = []
    for value in (-500.0, 0.0, 9000.0):
        plane = np.full((96, 96), value, np.float32)
        plane[16:80, 16:80] = inside
        stored.append(modality.prepare(modality.before(Image(plane[None], padding=(value, value))), 64))
    assert np.array_equal(stored[0], stored[1])
    assert np.array_equal(stored[0], stored[2])
    assert stored[0].max() > 50_000


@pytest.mark.parametrize("name", ["mr", "ct", "pet"])
@pytest.mark.parametrize("value", [-3000.0, 0.0, 30000.0])
def test_padding_of_volumes_is_air_and_sets_no_scale(name, value):
    modality = discovery.load("modalities", name).MODALITY
    inside = np.random.default_rng(1).normal(500, 100, (16, 16, 16)).astype(np.float32)
    if name == "ct":
        inside -= 1000
    padded = np.full((16, 16, 32), value, np.float32)
    padded[..., :16] = inside
    spacing = (1.0, 1.0, 1.0)
    alone = modality.prepare(modality.before(Image(inside[None], spacing)), 16)[0]
    stored = modality.prepare(modality.before(Image(padded[None], spacing, padding=(value, value))), 32)[0]
    assert np.array_equal(stored[8:24, 8:24, :16], alone)
    assert (stored[8:24, 8:24, 16:] == 0).all()


def test_nothing_but_padding_is_refused():
    modality = discovery.load("modalities", "cxr").MODALITY
    with pytest.raises(DataError, match="pixel padding: nothing was measured"):
        modality.before(Image(np.zeros((1, 4, 4), np.uint16), padding=(0, 0)))


def test_ct_without_a_unit_is_not_taken_for_hu_by_its_padding():
    modality = discovery.load("modalities", "ct").MODALITY
    volume = np.full((1, 4, 4, 4), 300, np.int16)
    volume[..., 0] = -2000
    with pytest.raises(DataError, match="may not be HU"):
        modality.prepare(modality.before(Image(volume, (1.0, 1.0, 1.0), padding=(-2000, -2000))), 8)


def test_padding_stays_below_values_that_fill_their_type():
    lowest = np.iinfo(np.int16).min
    image = Image(np.array([[[lowest, 5], [0, 0]]], np.int16), padding=(0, 0)).unpadded()
    assert image.array.tolist() == [[[lowest, 5], [lowest - 1, lowest - 1]]]
    assert sorted(image.measured.tolist()) == [lowest, 5]


@pytest.mark.parametrize("name", ["mr", "mammography"])
def test_padding_does_not_hide_values_that_a_transform_brought_onto_another_scale(name):
    window = {"name": "ScaleIntensityRange", "a_min": 100, "a_max": 900, "b_min": 0, "b_max": 1, "clip": True}
    modality = discovery.load("modalities", name).MODALITY.with_transforms([window])
    array = np.random.default_rng(2).normal(500, 100, (1, *[32] * modality.spatial_dims)).astype(np.float32)
    array[..., :8] = 0
    image = Image(array, (1.0,) * modality.spatial_dims, padding=(0, 0))
    stored = modality.prepare(modality.before(image), 32)
    assert stored.max() > 30_000
    if modality.spatial_dims == 3:
        assert (stored[0, :, :, :8] == 0).all()
