"""Mammograms: what its choices rest on."""

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.modalities.mammography import MODALITY, breast, otsu, prepare


def mammogram(side: str, dtype: type = np.uint16, high: int = 3000) -> np.ndarray:
    """Return half an ellipse of 400 x 150 pixels at one edge of 600 x 500, fat dark, gland bright, and a letter."""
    rows, columns = np.mgrid[:600, :500]
    away = ((rows - 280) / 200) ** 2 + (columns / 150) ** 2
    random = np.random.default_rng(0)
    array = random.integers(0, high // 60, (600, 500)).astype(float)
    array[away <= 1] += high * 0.25
    array[away <= 0.3] += high * 0.6
    array[30:60, 420:470] = high
    return (array if side == "left" else array[:, ::-1])[None].astype(dtype)


@pytest.mark.parametrize(("dtype", "high"), [(np.uint16, 3000), (np.uint8, 240), (np.int16, 3000)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_it_is_cut_to_the_breast_whatever_its_side(side: str, dtype: type, high: int) -> None:
    array = mammogram(side, dtype, high)
    cut = breast(Image(array)).array
    assert abs(cut.shape[1] - 401) <= 2
    assert abs(cut.shape[2] - 151) <= 2
    columns = slice(None, cut.shape[2]) if side == "left" else slice(500 - cut.shape[2], None)
    inside = cut > cut.min()
    assert inside.mean() > 0.75
    pieces = (array[:, top : top + cut.shape[1], columns] for top in range(75, 85))
    assert any(np.array_equal(cut[inside], piece[inside]) for piece in pieces)


def test_large_pictures_are_cut_as_well() -> None:
    array = np.kron(mammogram("left")[0], np.ones((3, 3), np.uint16))[None]
    rows, columns = breast(Image(array)).array.shape[1:]
    assert abs(rows - 3 * 401) <= 6
    assert abs(columns - 3 * 151) <= 6


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_breast_keeps_its_proportions_with_air_beside_the_nipple(side: str) -> None:
    stored = prepare(Image(mammogram(side)), 200)[0]
    assert stored.dtype == np.uint16
    breast_here = stored > 0.15 * 65535
    wide, tall = breast_here.any(0).sum(), breast_here.any(1).sum()
    assert tall == 200
    assert wide / tall == pytest.approx(150 / 400, rel=0.03)
    wall = 0 if side == "left" else -1  # and -1 - wall is the other edge
    assert breast_here[100, wall]
    assert not breast_here[:, -1 - wall].any()
    gland, fat = (stored[100, column if side == "left" else -1 - column] for column in (5, 65))
    assert gland > fat > 0


def test_the_window_is_that_of_the_breast_and_not_of_the_air_added() -> None:
    image = Image(mammogram("left"))
    low, high = np.percentile(breast(image).array, (0.5, 99.5))
    gland = image.array[0, 270:290, 5:30].mean()
    stored = prepare(image, 401)[0, 190:210, 5:30].mean() / 65535
    assert stored == pytest.approx((gland - low) / (high - low), abs=0.01)


@pytest.mark.parametrize("value", [0, 700])
def test_an_even_picture_is_kept_whole(value: int) -> None:
    assert breast(Image(np.full((1, 50, 40), value, np.uint16))).array.shape == (1, 50, 40)


def test_a_letter_alone_is_no_breast() -> None:
    array = np.zeros((1, 200, 200), np.uint8)
    array[0, 10:20, 10:20] = 255
    assert breast(Image(array)).array.shape == (1, 200, 200)


def test_otsu_parts_two_peaks() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0.1, 0.03, 900), random.normal(0.7, 0.05, 300)]).clip(0, 1)
    variances = []
    for level in np.linspace(0, 1, 257)[1:-1]:
        low, high = values[values <= level], values[values > level]
        variances.append(len(low) * low.var() + len(high) * high.var() if len(low) and len(high) else np.inf)
    assert 0.2 < otsu(values) < 0.6
    assert np.isclose(variances[round(otsu(values) * 256) - 1], min(variances), rtol=0.02)


def test_sides_may_be_mirrored_and_views_hold_breast() -> None:
    for recipe in MODALITY.views.values():
        assert recipe.geometry.flip == (0.0, 0.5)
        assert recipe.geometry.crop_area[0] >= 0.5
        assert recipe.blur.probability == 0
    image = Image(mammogram("left"), (1.0, 1.0))
    rows, columns = MODALITY.stored_spacing(image, np.zeros((1, 50, 50), np.uint8))
    assert rows == columns == pytest.approx(401 / 50, rel=0.01)
