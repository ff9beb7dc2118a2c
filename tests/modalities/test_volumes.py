"""A volume in its cube: the same patient in the same place, however the file is laid out."""

import itertools

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities import ct, mr
from medssl.modalities.parts.volumes import cube, spacing_of_cube

SPACING = np.array([3.0, 1.0, 1.5])  # along superior, posterior, left
_RAS = {0: (2, 1.0), 1: (1, -1.0), 2: (0, -1.0)}  # axis of display: axis of RAS and its direction


def unit(values: np.ndarray) -> np.ndarray:
    return values


def laid_out(shown: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]) -> Image:
    """Return the volume with its axes stored in another order and direction, and an affine that says so."""
    array = shown.transpose(order)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, axis in enumerate(order):
        ras, sign = _RAS[axis]
        affine[ras, stored] = sign * SPACING[axis] * (-1 if flips[stored] else 1)
        if flips[stored]:
            array = np.flip(array, stored)
    return Image(np.ascontiguousarray(array)[None], tuple(SPACING[list(order)]), affine)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_all_48_layouts_give_the_same_cube(order: tuple[int, ...]) -> None:
    shown = np.random.default_rng(0).uniform(0, 1, (7, 20, 15)).astype(np.float32)
    expected = cube(Image(shown[None], tuple(SPACING)), 24, unit)
    for flips in itertools.product([False, True], repeat=3):
        image = laid_out(shown, order, flips)
        np.testing.assert_array_equal(cube(image, 24, unit), expected)
        assert spacing_of_cube(image, expected) == pytest.approx((22.5 / 24,) * 3)


def test_anterior_is_up_right_is_left_and_the_first_slice_is_the_lowest() -> None:
    shown = np.zeros((8, 8, 8), np.float32)
    shown[0, 0, 0] = 1  # inferior, anterior, right
    affine = np.eye(4)  # stored in RAS order as (right to left) is not: index grows to R, A, S
    stored = np.flip(shown.transpose(2, 1, 0), (0, 1))
    image = Image(np.ascontiguousarray(stored)[None], (1.0, 1.0, 1.0), affine)
    assert np.argwhere(cube(image, 8, unit)[0]).tolist() == [[0, 0, 0]]


def test_without_an_affine_the_axes_stay() -> None:
    array = np.random.default_rng(0).uniform(0, 1, (1, 6, 6, 6)).astype(np.float32)
    stored = cube(Image(array, (2.0, 2.0, 2.0)), 6, unit)
    np.testing.assert_array_equal(stored, np.rint(array * 65535).astype(np.uint16))


def test_proportions_are_kept_and_the_rest_is_nothing() -> None:
    array = np.ones((1, 4, 16, 8), np.float32)
    stored = cube(Image(array, (2.0, 1.0, 1.0)), 16, unit)[0]
    filled = np.argwhere(stored == 65535)
    assert filled.min(0).tolist() == [4, 0, 4]
    assert filled.max(0).tolist() == [11, 15, 11]
    assert (stored > 0).sum() == 8 * 16 * 8
    assert spacing_of_cube(Image(array, (2.0, 1.0, 1.0)), stored) == (1.0, 1.0, 1.0)


def test_shrinking_averages_over_what_it_skips() -> None:
    array = np.random.default_rng(0).uniform(0, 1, (1, 32, 32, 32)).astype(np.float32)
    stored = cube(Image(array, (1.0, 1.0, 1.0)), 8, unit)[0]
    means = array[0].reshape(8, 4, 8, 4, 8, 4).mean((1, 3, 5))
    np.testing.assert_allclose(stored / 65535, means, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image(np.ones((1, 4, 4), np.uint8), (1.0, 1.0)), "volume"),
        (Image(np.ones((2, 4, 4, 4), np.uint8), (1.0, 1.0, 1.0)), "one channel"),
        (Image(np.ones((1, 0, 4, 4), np.uint8), (1.0, 1.0, 1.0)), "empty"),
        (Image(np.ones((1, 4, 4, 4), np.uint8), (np.nan, 1.0, 1.0)), "spacing"),
        (Image(np.ones((1, 4, 4, 4), np.uint8)), "spacing"),
        (Image(np.full((1, 4, 4, 4), np.nan, np.float32), (1.0, 1.0, 1.0)), "not finite"),
    ],
)
def test_what_is_unknown_stops_here(image: Image, said: str) -> None:
    for modality in (ct, mr):
        with pytest.raises(DataError, match=said):
            modality.prepare(image, 8)
