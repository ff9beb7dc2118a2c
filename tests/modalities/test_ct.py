import numpy as np
import pytest

from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.ct import MODALITY, Reading, modality, prepare


def volume(values: list[float], units: str | None = "HU") -> Image:
    array = np.resize(np.array(values, np.float32), (1, 8, 8, 8))
    return Image(array, (1.0, 1.0, 1.0), None, units)


def test_hounsfield_units_have_one_place_each() -> None:
    stored = prepare(volume([-2000, -1000, 0, 40, 1000, 3000, -1024, 400]), 8).ravel()[:8]
    expected = [0, 0, 0.5, 0.52, 1, 1, 0, 0.7]
    np.testing.assert_allclose(stored / 65535, expected, atol=1e-5)


def test_no_unit_is_taken_where_only_hounsfield_units_reach() -> None:
    expected = prepare(volume([-900, 100]), 8)
    np.testing.assert_array_equal(prepare(volume([-900, 100], None), 8), expected)
    with pytest.raises(DataError, match="may not be HU"):
        prepare(volume([0, 1000], None), 8)
    with pytest.raises(DataError, match="BQML"):
        prepare(volume([-900, 100], "BQML"), 8)


def test_nothing_is_mirrored() -> None:
    assert all(recipe.geometry.flip == () for recipe in MODALITY.views.values())


def test_what_lies_outside_of_the_field_of_view_is_air_in_any_window() -> None:
    lung = modality(Reading(hounsfield="lung")).prepare(volume([-3000, -1000, 150, 400]), 8).ravel()[:4] / 65535
    np.testing.assert_allclose(lung, [350 / 1500, 350 / 1500, 1, 1], atol=1e-4)


def test_views_may_be_seen_in_the_windows_of_radiologists() -> None:
    windows = MODALITY.recipe("strong").window.windows
    np.testing.assert_allclose(np.array(windows) * 2000 - 1000, [(-1350, 150), (-160, 240), (-500, 1300)], atol=0.01)
    assert MODALITY.recipe("weak").window.windows == ()


def test_values_without_a_unit_are_remarked_on() -> None:
    image = volume([-900, 100], None)
    prepare(image, 8)
    assert "taken as HU" in image.remarks[0]


def test_no_view_has_a_window_of_hounsfield_units_where_values_are_on_another_scale():
    scaled = [{"name": "ScaleIntensityRange", "a_min": -100, "a_max": 300, "b_min": 0, "b_max": 1, "clip": True}]
    same = [{"name": "CropForeground"}]
    assert MODALITY.with_voi_lut(True).views["strong"].window.probability == 0
    assert MODALITY.with_transforms(scaled).views["strong"].window.probability == 0
    assert MODALITY.reading(same, voi_lut=False).views == MODALITY.views
    both = MODALITY.reading(same, voi_lut=True)
    assert (list(both.transforms), both.voi_lut) == (same, True)
