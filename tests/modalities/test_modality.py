"""Recipes can be changed by settings, and only in ways that exist."""

import pytest

from medssl.errors import SettingsError
from medssl.modalities import cxr, oct
from medssl.modalities.cxr import MODALITY


def test_a_general_group_changes_every_recipe_and_a_named_one_wins() -> None:
    changed = MODALITY.with_augment(
        {
            "geometry": {"rotation_degrees": 3},
            "strong": {"geometry": {"rotation_degrees": 5}, "blur": {"sigma": [1, 2]}},
        }
    )
    assert changed.recipe("weak").geometry.rotation_degrees == 3
    assert changed.recipe("strong").geometry.rotation_degrees == 5
    assert changed.recipe("strong").blur.sigma == (1, 2)
    assert changed.recipe("strong").geometry.crop_area == MODALITY.recipe("strong").geometry.crop_area
    assert MODALITY.recipe("weak").geometry.rotation_degrees == 0


def test_nothing_changes_nothing() -> None:
    assert MODALITY.with_augment({}) == MODALITY


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ({"geometrie": {}}, ["augment.geometrie", "'geometry'"]),
        ({"strong": {"blurr": {}}}, ["augment.blurr", "'blur'"]),
        ({"blur": {"probability": 1.5}}, ["augment.blur.probability", "1.5"]),
        ({"blur": {"sigma": [2, 1]}}, ["augment.blur.sigma", "from its lower to its upper end"]),
        ({"tone": {"gamma": [0, 1]}}, ["augment.tone.gamma", "above 0"]),
        ({"geometry": {"rotation_degrees": "much"}}, ["augment.geometry.rotation_degrees", "much"]),
    ],
)
def test_what_does_not_exist_is_refused_by_name(augment: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        MODALITY.with_augment(augment)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_strength_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"strng.*Did you mean 'strong'\?"):
        MODALITY.recipe("strng")


def test_the_key_of_a_store_names_the_size_and_the_preparation() -> None:
    assert MODALITY.key_parts(96) != MODALITY.key_parts(224)
    assert MODALITY.key_parts(96)["percentiles"] == [0.5, 99.5]


def test_grey_modalities_keep_their_stores_and_change_no_colour() -> None:
    assert oct.MODALITY.key_parts(224) == {"modality": "oct", "size": 224, "percentiles": [0.1, 99.9], "version": 1}
    assert cxr.MODALITY.key_parts(224) == {"modality": "cxr", "size": 224, "percentiles": [0.5, 99.5], "version": 1}
    for modality in (oct.MODALITY, cxr.MODALITY):
        for recipe in modality.views.values():
            assert recipe.colour.gain == recipe.colour.saturation == (1, 1)
            assert recipe.stain.probability == recipe.depth_gain.probability == 0


def test_a_strength_that_is_no_group_is_a_sentence() -> None:
    with pytest.raises(SettingsError, match=r"augment\.strong to be a group"):
        oct.MODALITY.with_augment({"strong": 3})
