"""Where the patient is in a plane."""

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.modalities.parts import region


def test_the_box_around_what_is_lit() -> None:
    plane = np.zeros((20, 30), np.uint8)
    plane[5:12, 8:25] = 200
    assert region.lit(plane, 0.1, 0.01) == (slice(5, 12), slice(8, 25))


def test_a_few_pixels_do_not_make_a_row() -> None:
    plane = np.zeros((200, 300), np.uint8)
    plane[50:120, 80:250] = 200
    plane[3, 7] = plane[190, 290] = 255
    assert region.lit(plane, 0.1, 0.01) == (slice(50, 120), slice(80, 250))


def test_nothing_inside_is_everything() -> None:
    assert region.box(np.zeros((4, 7), bool)) == (slice(0, 4), slice(0, 7))
    assert region.lit(np.full((4, 7), 9, np.uint8), 0.1, 0.01) == (slice(0, 4), slice(0, 7))


def test_large_is_along_both_axes() -> None:
    found = (slice(0, 5), slice(2, 8))
    assert region.large(found, (10, 10), 0.5)
    assert not region.large(found, (12, 10), 0.5)
    assert not region.large(found, (10, 13), 0.5)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5)])
def test_a_square_keeps_the_image_in_its_middle(shape: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(3, 200, (3, *shape)).astype(np.int16)
    square = region.squared(Image(array)).array
    side = max(shape)
    assert square.shape == (3, side, side)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    np.testing.assert_array_equal(square[:, top : top + shape[0], left : left + shape[1]], array)
    assert square.sum() == array.sum() + array.min() * (square.size - array.size)


def test_a_mirrored_square_goes_on_as_its_image() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(1, 2, 6)
    square = region.squared(Image(array), mirrored=True).array[0]
    np.testing.assert_array_equal(square[:, 0], [6, 0, 0, 6, 6, 0])


def test_what_was_found_last_is_found_once() -> None:
    calls = []

    @region.once
    def find(image: Image, reading: int = 0) -> Image:
        calls.append(reading)
        return image

    first, second = Image(np.zeros((1, 2, 2), np.uint8)), Image(np.zeros((1, 2, 2), np.uint8))
    assert find(first, 1) is find(first, reading=1) is first
    assert find(second, 1) is second
    assert find(second, 2) is second
    assert find(first, 2) is first
    assert calls == [1, 1, 2, 2]
