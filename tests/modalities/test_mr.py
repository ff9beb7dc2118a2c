import numpy as np

from medssl.data.image import Image
from medssl.modalities.mr import MODALITY, prepare


def head(scale: float = 1.0, dtype: type = np.float32) -> Image:
    array = np.random.default_rng(0).uniform(100, 200, (1, 16, 16, 16))
    array[:, :, :4] = 0
    return Image((array * scale).astype(dtype), (1.0, 1.0, 1.0))


def test_the_scale_of_a_scanner_does_not_matter() -> None:
    np.testing.assert_allclose(prepare(head(), 16).astype(int), prepare(head(5000.0), 16).astype(int), atol=2)


def test_air_is_nothing_and_the_brightest_voxels_do_not_set_the_scale() -> None:
    image = head()
    image.array[0, 8, 8, 8] = 1e6
    stored = prepare(image, 16)[0]
    assert (stored[:, :4] == 0).all()
    assert stored[8, 8, 8] == 65535
    assert 0.4 < np.median(stored[:, 4:]) / 65535 < 0.9


def test_a_constant_volume_is_flat() -> None:
    assert np.unique(prepare(Image(np.full((1, 4, 4, 4), 7, np.int16), (1.0, 1.0, 1.0)), 4)).size == 1


def test_only_left_and_right_are_mirrored() -> None:
    assert all(recipe.geometry.flip == (0.0, 0.0, 0.5) for recipe in MODALITY.views.values())
    assert MODALITY.recipe("strong").bias.probability > 0


def test_tissue_has_one_grey_however_much_air_is_around_it() -> None:
    small, wide = head(), head()
    wide.array = np.pad(wide.array, ((0, 0), (8, 8), (8, 8), (8, 8)))
    inside = prepare(wide, 32)[0, 8:24, 8:24, 8:24].astype(float)
    np.testing.assert_allclose(inside[:, 5:], prepare(small, 16)[0, :, 5:], atol=0.02 * 65535)


def test_stored_levels_are_z_scores_of_the_head() -> None:
    image = head()
    voxels = image.array[0, :, 4:].clip(*np.percentile(image.array[0, :, 4:], (0.5, 99.5)))
    low = max(voxels.mean() - 3 * voxels.std(), 0)
    expected = (image.array[0] - low) / (voxels.mean() + 4 * voxels.std() - low)
    np.testing.assert_allclose(prepare(image, 16)[0] / 65535, expected.clip(0, 1), atol=1e-3)


def test_a_crop_without_air_is_not_parted_into_dark_and_bright_tissue() -> None:
    array = np.where(np.arange(16)[:, None, None] < 8, 300.0, 900.0) + np.random.default_rng(0).normal(0, 20, (16,) * 3)
    stored = prepare(Image(array[None].astype(np.float32), (1.0, 1.0, 1.0)), 16)[0] / 65535
    assert 0.005 < stored[:8].mean() < stored[8:].mean() < 0.9
    assert len(np.unique(stored[:8])) > 1000
