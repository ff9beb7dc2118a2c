"""Flattening: a curved layer becomes level, everything else moves with it, and a wrong fit is not made."""

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.modalities import oct
from medssl.modalities.parts.flattening import flattened, layer


def scan(bend: float, tilt: float, columns: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Return a B-scan (200, columns) with a bright band on a parabola and a dimmer one 40 rows above, and its place."""
    x = np.linspace(-1, 1, columns)
    place = 120 + bend * (x**2 - 1 / 3) + tilt * x
    rows = np.arange(200)[:, None]
    image = 180 * np.exp(-(((rows - place) / 3) ** 2)) + 90 * np.exp(-(((rows - place + 40) / 3) ** 2))
    return image + np.random.default_rng(0).uniform(0, 30, image.shape), place


@pytest.mark.parametrize(("bend", "tilt"), [(0, 0), (30, 0), (-25, 20), (0, 40)])
def test_the_layer_is_found_and_becomes_level(bend: float, tilt: float) -> None:
    image, place = scan(bend, tilt)
    found = layer(image)
    assert found is not None
    assert np.abs(found - place).max() < 1.5
    made = flattened(Image(image[None].astype(np.uint8))).array[0].astype(float)
    assert np.ptp(made.argmax(axis=0)) <= 6
    upper = made[:100].argmax(axis=0)
    assert abs(float(np.median(made.argmax(axis=0) - upper)) - 40) <= 2


def test_a_third_of_the_columns_without_the_layer_do_not_bend_it() -> None:
    image, place = scan(30, 10)
    image[:, 60:140] = 10
    image[5:12, 60:140] = 250  # a reflex of the vitreous
    assert np.abs(layer(image) - place).max() < 3


def test_where_nothing_lies_along_a_parabola_the_image_stays_and_says_so() -> None:
    image = Image(np.random.default_rng(0).integers(0, 255, (1, 200, 240)).astype(np.uint8))
    assert flattened(image).array is image.array
    assert "not flattened" in image.remarks[0]


def test_it_is_off_unless_asked_for() -> None:
    image = Image(scan(30, 0)[0][None].astype(np.uint8))
    plain, made = oct.prepare(image, 100), oct.prepare(image, 100, oct.Reading(flatten=True))
    assert np.ptp(plain[0].argmax(0)) > 12
    assert np.ptp(made[0].argmax(0)) <= 4


def test_white_corners_of_a_turned_scan_are_no_layer() -> None:
    image, place = scan(20, 10)
    rows, columns = np.mgrid[:200, :240]
    image[rows < 30 - 0.15 * columns] = 255
    image[rows > 175 + 0.05 * columns] = 255
    found = layer(image)
    assert found is not None
    assert np.abs(found - place).max() < 2
