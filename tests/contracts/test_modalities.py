"""One contract over every modality that is found by its name."""

import json

import numpy as np
import pytest

from medssl import discovery
from medssl.data.image import Image
from medssl.errors import DataError
from medssl.modalities.parts.modality import Modality, ViewRecipe
from medssl.settings import Choice

SIZE = 24


@pytest.fixture(params=discovery.names("modalities"))
def modality(request: pytest.FixtureRequest) -> Modality:
    found: Modality = discovery.load("modalities", request.param).MODALITY
    assert found.name == request.param
    return found


def source(modality: Modality, dtype: type, high: int) -> np.ndarray:
    shape = (modality.channels, *[30, 40, 50][: modality.spatial_dims])
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


@pytest.mark.parametrize(("dtype", "high", "stored"), [(np.uint8, 256, np.uint8), (np.int16, 4000, np.uint16)])
def test_prepared_images_have_the_declared_shape_and_the_smallest_faithful_type(
    modality: Modality, dtype: type, high: int, stored: type
) -> None:
    array = source(modality, dtype, high)
    kept = array.copy()
    prepared = modality.prepare(Image(array), SIZE)
    assert prepared.shape == (modality.channels, *[SIZE] * modality.spatial_dims)
    assert prepared.dtype == stored
    np.testing.assert_array_equal(array, kept)
    np.testing.assert_array_equal(modality.prepare(Image(array), SIZE), prepared)
    assert prepared.std() > 0.05 * np.iinfo(stored).max


def test_another_number_of_dimensions_is_refused(modality: Modality) -> None:
    shape = [4, 5, 6, 7][: 5 - modality.spatial_dims]
    with pytest.raises(DataError, match=r"volume|plane"):
        modality.prepare(Image(np.zeros((modality.channels, *shape), np.uint8)), SIZE)


def test_it_has_weak_and_strong_views(modality: Modality) -> None:
    assert set(modality.views) >= {"weak", "strong"}
    for recipe in modality.views.values():
        assert isinstance(recipe, ViewRecipe)
        assert len(recipe.geometry.flip) in (0, modality.spatial_dims)
    weak, strong = modality.recipe("weak"), modality.recipe("strong")
    assert strong.geometry.crop_area[0] <= weak.geometry.crop_area[0]


def test_what_it_recommends_names_a_setting_and_a_source(modality: Modality) -> None:
    for name, choice in modality.recommends.items():
        section, _, setting = name.partition(".")
        assert isinstance(choice, Choice)
        assert choice.source
        settings = discovery.load("methods", section).Settings
        assert setting in settings.model_fields, f"{name} is no setting"


def test_the_key_of_its_stores_is_plain(modality: Modality) -> None:
    parts = modality.key_parts(SIZE)
    assert json.loads(json.dumps(parts)) == parts
    assert parts["modality"] == modality.name
