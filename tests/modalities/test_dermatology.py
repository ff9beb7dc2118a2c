"""Pictures of the skin: what its choices rest on."""

import numpy as np

from medssl.data.image import Image
from medssl.modalities.dermatology import MODALITY, prepare


def test_skin_has_no_upside() -> None:
    for recipe in MODALITY.views.values():
        assert recipe.geometry.rotation_degrees == 180
        assert recipe.geometry.flip == (0.5, 0.5)


def test_a_round_lesion_stays_round_and_no_black_bar_appears() -> None:
    rows, columns = np.mgrid[:120, :160]
    lesion = np.hypot(rows - 60, columns - 80) < 40
    array = np.where(lesion, np.array([90, 60, 50])[:, None, None], np.array([220, 170, 150])[:, None, None])
    stored = prepare(Image(array.astype(np.uint8)), 80)
    dark = stored[0] < 150
    assert abs(int(dark.any(0).sum()) - 40) <= 1
    assert abs(int(dark.any(1).sum()) - 40) <= 1
    assert (stored[:, 0, 0] == [220, 170, 150]).all()
    assert stored.min() >= 50


def test_colour_changes_are_mild() -> None:
    strong = MODALITY.recipe("strong")
    assert strong.colour.gain == (0.9, 1.1)
    assert strong.stain.probability == 0
    assert MODALITY.recipe("weak").colour.gain == (1, 1)
    image = Image(np.zeros((3, 120, 160), np.uint8), (0.5, 0.5))
    assert MODALITY.stored_spacing(image, np.zeros((3, 40, 40), np.uint8)) == (2.0, 2.0)
