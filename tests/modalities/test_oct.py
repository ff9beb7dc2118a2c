"""OCT: what its choices rest on."""

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.modalities.oct import MODALITY, prepare


def test_masks_more_than_photographs_do_with_a_source() -> None:
    choice = MODALITY.recommends["mae.mask_ratio"]
    assert choice.value == 0.85
    assert "RETFound" in choice.source


def test_vitreous_stays_above_and_eyes_may_be_mirrored() -> None:
    for recipe in MODALITY.views.values():
        assert recipe.geometry.flip == (0.0, 0.5)
        assert recipe.geometry.rotation_degrees <= 10


def test_strong_views_have_what_devices_differ_in() -> None:
    strong = MODALITY.recipe("strong")
    assert strong.geometry.crop_area == (0.3, 1.0)
    assert strong.geometry.rotation_degrees == 10
    assert strong.tone.gamma[0] < 1 < strong.tone.gamma[1]
    assert strong.blur.probability > 0
    assert strong.speckle.probability > 0
    assert strong.noise.probability == 0


def test_a_few_specular_pixels_do_not_set_the_scale() -> None:
    array = np.random.default_rng(0).integers(0, 1000, (1, 224, 224)).astype(np.uint16)
    array[0, :2, :10] = 60000
    assert np.median(prepare(Image(array), 224)) == pytest.approx(65535 / 2, rel=0.05)
