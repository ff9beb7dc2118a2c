"""Tiles of stained tissue: what its choices rest on."""

import numpy as np

from medssl.data.image import Image
from medssl.modalities.histology import MODALITY, prepare


def test_tissue_has_no_upside() -> None:
    for recipe in MODALITY.views.values():
        assert recipe.geometry.rotation_degrees == 180
        assert recipe.geometry.flip == (0.5, 0.5)


def test_strong_views_jitter_stains_and_weak_ones_do_not() -> None:
    assert MODALITY.recipe("strong").stain.probability == 0.8
    assert MODALITY.recipe("weak").stain.probability == 0


def test_a_square_tile_of_8_bits_is_kept_exactly() -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8)
    np.testing.assert_array_equal(prepare(Image(array), 48), array)


def test_glass_of_more_than_8_bits_stays_white() -> None:
    array = np.random.default_rng(0).integers(100, 4095, (3, 48, 48)).astype(np.uint16)
    array[:, :20] = 4095
    assert (prepare(Image(array), 48)[:, :20] == 65535).all()
