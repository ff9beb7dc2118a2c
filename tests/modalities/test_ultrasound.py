"""Ultrasound: what its choices rest on."""

import numpy as np
import torch

from medssl.batch import Batch
from medssl.data.image import Image
from medssl.methods.parts.wish import ViewWish
from medssl.modalities.parts import region
from medssl.modalities.ultrasound import MODALITY, Reading, prepare, sector
from medssl.training.views import make_views
from tests.phantom import pictures


def fan(shape: tuple[int, int] = (300, 400), apex: tuple[int, int] = (30, 200), reach: int = 200) -> np.ndarray:
    """Return a sector of 90 degrees that looks downwards."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    down, across = rows - apex[0], columns - apex[1]
    inside = (np.hypot(down, across) <= reach) & (np.abs(across) <= down)
    grain = np.random.default_rng(0).integers(60, 200, shape)
    return (inside * grain)[None].astype(np.uint8)


def test_it_is_cut_to_the_sector_and_keeps_its_shape() -> None:
    square = sector(Image(fan())).array
    assert all(abs(side - 283) <= 3 for side in square.shape[1:])  # a chord of 2 * 200 / sqrt(2)
    stored = prepare(Image(fan()), 142)[0]
    lit = stored > 20
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    assert columns[-1] - columns[0] >= 138
    assert abs((rows[-1] - rows[0]) - 100) <= 2
    assert stored[:18].max() == stored[-18:].max() == 0


def test_grains_in_the_border_do_not_widen_it() -> None:
    array = fan()
    array[0, 5, 5] = array[0, 295, 390] = 255
    assert sector(Image(array)).array.shape == sector(Image(fan())).array.shape


def test_an_empty_picture_is_kept_whole() -> None:
    assert (prepare(Image(np.zeros((1, 30, 40), np.uint8)), 16) == 0).all()


def test_black_around_the_sector_stays_the_darkest_and_even_in_every_view() -> None:
    half = np.zeros((8, 1, 64, 64), np.uint8)
    half[:, :, 16:48, 16:48] = np.random.default_rng(0).integers(60, 200, (8, 1, 32, 32))
    names = [str(k) for k in range(8)]
    batch = Batch(torch.from_numpy(half), names, [None] * 8, names)
    upright = MODALITY.with_augment({"geometry": {"crop_area": [1, 1], "crop_aspect": [1, 1], "rotation_degrees": 0}})
    for view in make_views(batch, [ViewWish(2, "strong", None)], upright, 0, 0):
        border = view[:, :, :15]
        assert torch.equal(border.amin((1, 2, 3)), border.amax((1, 2, 3)))
        assert torch.equal(border.amin((1, 2, 3)), view.amin((1, 2, 3)))


def test_no_view_is_mirrored() -> None:
    for recipe in MODALITY.views.values():
        assert not any(recipe.geometry.flip)
    strong = MODALITY.recipe("strong")
    assert strong.speckle.probability > 0
    assert strong.depth_gain.probability > 0
    assert (strong.tone.brightness, strong.tone.contrast, strong.noise.probability) == (0, (1, 1), 0)


def test_letters_wedge_and_frame_fall_away_and_a_cyst_stays() -> None:
    array = pictures.ultrasound()
    array[0, 5, :] = array[0, 470, :] = 200  # lines of the scanner's frame
    found = sector(Image(array)).array[0]
    assert abs(found.shape[0] - 2 * 500 * np.sin(np.radians(32))) < 12
    rows, columns = np.mgrid[:480, :640].astype(float)
    radius, angle = np.hypot(columns - 330, rows + 60), np.degrees(np.arctan2(columns - 330, rows + 60))
    outside = (radius < 104) | (radius > 506) | (np.abs(angle) > 34)
    kept = region.largest_part(array[0], 0.02, 256)
    assert not kept[outside].any()
    assert kept[~outside & (radius > 116) & (radius < 494) & (np.abs(angle) < 30)].all()


def test_the_mask_can_be_left_out() -> None:
    array = pictures.ultrasound()
    without = prepare(Image(array), 200, Reading(mask=False))[0]
    assert (without > 0).sum() >= (prepare(Image(array), 200)[0] > 0).sum()
