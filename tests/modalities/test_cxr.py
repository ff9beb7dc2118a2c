"""Chest X-rays: what its choices rest on."""

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.modalities.cxr import MODALITY, prepare


def test_masks_what_was_searched_with_its_source() -> None:
    ratio, normalised = (MODALITY.recommends[f"mae.{name}"] for name in ("mask_ratio", "norm_pix_loss"))
    assert (ratio.value, normalised.value) == (0.80, False)
    assert "docs/results" in ratio.source
    assert "docs/results" in normalised.source


def test_laterality_is_never_mirrored() -> None:
    for recipe in MODALITY.views.values():
        assert not any(recipe.geometry.flip)


def test_weak_views_are_those_of_the_source() -> None:
    weak = MODALITY.recipe("weak")
    assert weak.geometry.crop_area == (0.5, 1.0)
    assert weak.geometry.rotation_degrees == 0
    assert weak.tone.gamma == (1.0, 1.0)


def test_strong_views_have_detector_noise_and_no_speckle() -> None:
    strong = MODALITY.recipe("strong")
    assert strong.noise.probability > 0
    assert strong.speckle.probability == 0


def test_the_window_leaves_out_markers_and_direct_exposure() -> None:
    array = np.random.default_rng(0).integers(500, 1500, (1, 200, 200)).astype(np.int16)
    array[0, 0, :100] = 4095
    array[0, 1, :100] = -2000
    stored = prepare(Image(array), 200)
    low, high = np.percentile(array, (0.5, 99.5))
    expected = np.clip((array - low) / (high - low), 0, 1) * 65535
    np.testing.assert_allclose(stored, expected, atol=1)
    assert stored[0, 0, 0] == 65535
    assert stored[0, 1, 0] == 0
    assert np.median(stored) == pytest.approx(65535 / 2, rel=0.05)


def test_strong_views_are_equalised_and_bent_now_and_then_and_lungs_are_not_cut_off() -> None:
    weak, strong = MODALITY.recipe("weak"), MODALITY.recipe("strong")
    assert 0 < strong.equalise.probability < 0.5
    assert 0 < strong.geometry.elastic < 0.02
    assert weak.equalise.probability == weak.geometry.elastic == 0
    assert strong.tone.contrast[1] <= 1.2
