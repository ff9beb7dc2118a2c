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


def source(modality: Modality, dtype: type, low: int, high: int) -> Image:
    shape = (modality.channels, *[30, 40, 50][: modality.spatial_dims])
    array = np.random.default_rng(0).integers(low, high, shape).astype(dtype)
    return Image(array, spacing_mm=(1.0,) * modality.spatial_dims, units="BQML" if modality.name == "pet" else "HU")


@pytest.mark.parametrize(("dtype", "low", "high"), [(np.uint8, 0, 256), (np.int16, -1000, 3000)])
def test_prepared_images_have_the_declared_shape_and_a_faithful_type(
    modality: Modality, dtype: type, low: int, high: int
) -> None:
    image = source(modality, dtype, low, high)
    kept = image.array.copy()
    prepared = modality.prepare(image, SIZE)
    assert prepared.shape == (modality.channels, *[SIZE] * modality.spatial_dims)
    assert prepared.dtype == (np.uint8 if dtype == np.uint8 and modality.spatial_dims == 2 else np.uint16)
    np.testing.assert_array_equal(image.array, kept)
    np.testing.assert_array_equal(modality.prepare(image, SIZE), prepared)
    assert prepared.std() > 0.02 * np.iinfo(prepared.dtype).max
    spacing = modality.stored_spacing(image, prepared)
    assert len(spacing) == modality.spatial_dims
    assert all(mm > 0 for mm in spacing)


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


NEVER = ("solar", "hue", "random_grey", "drop", "invert", "posterise")


def test_no_view_does_what_no_modality_may() -> None:
    assert not [name for name in ViewRecipe.model_fields if any(word in name for word in NEVER)]


def test_what_changes_how_it_is_read_changes_the_key_of_its_stores(modality: Modality) -> None:
    module = discovery.load("modalities", modality.name)
    changed = {"percentiles": (2.0, 98.0), "hounsfield": "lung", "z_scores": (-2.0, 3.0), "most_suv": 10.0}
    values = {name: value for name, value in changed.items() if name in module.Reading.model_fields}
    assert values
    other = module.modality(module.Reading(**values))
    assert other.key_parts(SIZE) != modality.key_parts(SIZE)
    image = source(modality, np.int16, -1000, 3000)
    if modality.name == "pet":
        image.units, image.array = "SUVbw", image.array / np.float32(100)
    assert not np.array_equal(other.prepare(image, SIZE), modality.prepare(image, SIZE))


def test_every_dicom_word_names_one_modality_of_a_number_of_axes() -> None:
    found = [discovery.load("modalities", name).MODALITY for name in discovery.names("modalities")]
    words = [(word, kind.spatial_dims) for kind in found for word in kind.dicom]
    assert len(words) == len(set(words))
    assert {"CT", "MR", "PT", "MG", "US", "OPT", "OP", "DX", "CR", "SM"} == {word for word, _ in words}


def test_the_key_of_its_stores_is_plain(modality: Modality) -> None:
    parts = modality.key_parts(SIZE)
    assert json.loads(json.dumps(parts)) == parts
    assert parts["modality"] == modality.name
