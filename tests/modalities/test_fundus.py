"""Colour photographs of the fundus: what its choices rest on."""

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.modalities.fundus import MODALITY, field_of_view, prepare


def disc(
    shape: tuple[int, int], centre: tuple[float, float], radius: float, colour: tuple[int, int, int]
) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    noise = np.random.default_rng(0).integers(0, 8, (3, *shape))
    return (np.array(colour)[:, None, None] * inside + noise).astype(np.uint8)


@pytest.mark.parametrize("shape", [(200, 320), (300, 220)])
def test_a_disc_fills_the_square_and_stays_a_disc_whatever_the_frame(shape: tuple[int, int]) -> None:
    array = disc(shape, (110, 105), 80, (180, 90, 40))
    assert all(abs(side - 161) <= 2 for side in field_of_view(Image(array)).array.shape[1:])
    stored = prepare(Image(array), 64)
    rows, columns = np.mgrid[:64, :64] - 31.5
    away = np.hypot(rows, columns)
    assert (stored[0][away < 30] > 150).all()
    assert (stored[0][away > 34] < 40).all()
    np.testing.assert_allclose(stored[:, 28:36, 28:36].mean((1, 2)), [183.5, 93.5, 43.5], atol=1)


def test_a_disc_that_its_sensor_cuts_is_padded_with_black() -> None:
    array = disc((120, 200), (60, 100), 80, (180, 90, 40))
    stored = prepare(Image(array), 80)[0]
    assert (stored[:9].max(), stored[-9:].max()) == (0, 0)
    assert stored[40, 1] > 100
    assert stored[40, 78] > 100
    assert stored[12, 40] > 150


def test_a_picture_without_dark_border_is_kept_whole() -> None:
    array = np.random.default_rng(0).integers(60, 200, (3, 50, 80)).astype(np.uint8)
    square = field_of_view(Image(array)).array
    assert square.shape == (3, 80, 80)
    np.testing.assert_array_equal(square[:, 15:65], array)


@pytest.mark.parametrize("value", [0, 90])
def test_a_constant_picture_is_kept_whole(value: int) -> None:
    assert (prepare(Image(np.full((3, 40, 60), value, np.uint8)), 32) == value).all()


def test_a_small_bright_spot_does_not_become_the_picture() -> None:
    array = np.full((3, 100, 100), 2, np.uint8)
    array[:, 10:20, 10:20] = 250
    assert field_of_view(Image(array)).array.shape == (3, 100, 100)


def test_more_than_8_bits_keep_their_hues() -> None:
    array = disc((100, 100), (50, 50), 49, (180, 90, 45)).astype(np.uint16) * 16
    stored = prepare(Image(array), 50)
    assert stored.dtype == np.uint16
    red, green, blue = stored[:, 20:30, 20:30].mean((1, 2))
    assert red / green == pytest.approx(2, rel=0.1)
    assert red / blue == pytest.approx(4, rel=0.2)


def test_a_grey_picture_becomes_three_equal_channels() -> None:
    grey = disc((100, 100), (50, 50), 45, (180, 180, 180))[:1]
    stored = prepare(Image(grey), 50)
    assert stored.shape == (3, 50, 50)
    np.testing.assert_array_equal(stored[0], stored[2])


def test_the_stored_image_spans_its_square() -> None:
    image = Image(disc((200, 320), (110, 105), 80, (180, 90, 40)), (0.5, 0.5))
    rows, columns = MODALITY.stored_spacing(image, prepare(image, 40))
    assert rows == columns == pytest.approx(0.5 * 161 / 40, rel=0.02)


def test_views_are_mild_and_eyes_may_be_mirrored() -> None:
    for recipe in MODALITY.views.values():
        assert recipe.geometry.flip == (0.0, 0.5)
        assert recipe.geometry.crop_area == (0.5, 1.0)
        assert recipe.geometry.rotation_degrees <= 10
        assert recipe.blur.probability == recipe.noise.probability == recipe.speckle.probability == 0
    strong = MODALITY.recipe("strong")
    assert strong.colour.gain == (0.9, 1.1)
    choice = MODALITY.recommends["mae.mask_ratio"]
    assert (choice.value, "RETFound" in choice.source) == (0.75, True)
