"""From a decoded plane to a stored one."""

import numpy as np
import pytest
from PIL import Image as Picture

from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.preparation import colour_square, grey_square

WINDOW = (1.0, 99.0)


def noise(shape: tuple[int, ...], dtype: type = np.uint8, high: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def test_8_bits_of_the_right_size_are_kept_exactly() -> None:
    array = noise((1, 32, 32))
    np.testing.assert_array_equal(grey_square(Image(array), 32, WINDOW), array)


def test_grey_stored_as_colour_is_the_same_grey() -> None:
    array = noise((1, 32, 32))
    np.testing.assert_array_equal(grey_square(Image(np.repeat(array, 3, axis=0)), 32, WINDOW), array)


def test_colour_becomes_the_luma_and_opacity_is_dropped() -> None:
    array = noise((3, 32, 32))
    expected = np.asarray(Picture.fromarray(np.moveaxis(array, 0, 2)).convert("L"), dtype=int)
    for stored in (array, np.concatenate([array, noise((1, 32, 32))])):
        assert np.abs(grey_square(Image(stored), 32, WINDOW)[0].astype(int) - expected).max() <= 1


def test_shrinking_averages() -> None:
    stripes = np.zeros((1, 128, 256), np.uint8)
    stripes[..., ::2] = 255
    stored = grey_square(Image(stripes), 32, WINDOW)
    assert stored.shape == (1, 32, 32)
    assert np.abs(stored.astype(float) - 127.5).max() < 8
    deep = grey_square(Image(stripes.astype(np.uint16) * 16), 32, WINDOW)
    assert np.abs(deep / 65535 - 0.5).max() < 0.04


def test_the_whole_field_of_view_is_kept() -> None:
    array = np.zeros((1, 40, 80), np.uint8)
    array[0, :20, 40:] = 200
    stored = grey_square(Image(array), 16, WINDOW)[0]
    assert (stored[:7, 9:] == 200).all()
    assert (stored[9:] == 0).all()
    assert (stored[:, :7] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
def test_more_than_8_bits_are_windowed_to_16(dtype: type) -> None:
    array = noise((1, 64, 64), dtype, 4096)
    stored = grey_square(Image(array), 64, WINDOW)
    assert stored.dtype == np.uint16
    low, high = np.percentile(array, WINDOW)
    np.testing.assert_allclose(stored, np.clip((array - low) / (high - low), 0, 1) * 65535, atol=1)
    assert len(np.unique(stored)) > 1000


def test_scale_and_offset_of_the_source_do_not_matter() -> None:
    array = noise((1, 64, 64), np.float32, 4096)
    one, other = (grey_square(Image(x), 32, WINDOW).astype(int) for x in (array, array * 0.25 - 1024))
    assert np.abs(one - other).max() <= 1


def test_a_constant_image_is_stored() -> None:
    assert set(np.unique(grey_square(Image(np.full((1, 9, 9), 700, np.uint16)), 8, WINDOW))) == {0}


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 3, 4, 5), np.uint8), "volume of 3 x 4 x 5"),
        (np.zeros((2, 4, 5), np.uint8), "has 2"),
        (np.zeros((1, 0, 5), np.uint8), "empty"),
        (np.full((1, 4, 5), np.nan, np.float32), "not finite"),
    ],
)
def test_what_it_cannot_store_is_said(array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        grey_square(Image(array), 8, WINDOW)


def test_colour_of_the_right_size_is_kept_exactly_without_opacity() -> None:
    array = noise((4, 32, 32))
    np.testing.assert_array_equal(colour_square(Image(array), 32, WINDOW), array[:3])


def test_a_grey_plane_becomes_three_equal_channels() -> None:
    array = noise((1, 32, 32))
    np.testing.assert_array_equal(colour_square(Image(array), 32, WINDOW), np.repeat(array, 3, axis=0))


def test_each_channel_is_resized_as_the_grey_one() -> None:
    array = noise((3, 40, 80))
    stored = colour_square(Image(array), 16, WINDOW)
    for channel in range(3):
        np.testing.assert_array_equal(stored[channel], grey_square(Image(array[channel : channel + 1]), 16, WINDOW)[0])


def test_one_window_for_all_channels_keeps_hues() -> None:
    array = noise((3, 64, 64), np.uint16, 1000) * np.array([4, 2, 1], np.uint16)[:, None, None]
    stored = colour_square(Image(array), 64, (0.0, 100.0))
    np.testing.assert_allclose(stored, array / array.max() * 65535, atol=40)


def test_colour_made_grey_and_grey_made_colour_are_remarked_on() -> None:
    colour = Image(np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8))
    grey_square(colour, 8, (0, 100))
    assert "made grey" in colour.remarks[0]
    grey = Image(colour.array[:1])
    colour_square(grey, 8, (0, 100))
    assert "three equal channels" in grey.remarks[0]
    same = Image(np.repeat(grey.array, 3, axis=0))
    grey_square(same, 8, (0, 100))
    assert same.remarks == []
