"""PET: what its choices rest on."""

import nibabel as nib
import numpy as np
import pytest

from medssl.data.image import Image
from medssl.data.readers import read_file, read_image
from medssl.data.scan import scan
from medssl.errors import DataError
from medssl.modalities.pet import MODALITY, Reading, modality, prepare
from tests.phantom import pet


def volume(values: np.ndarray, units: str | None, **scales: float) -> Image:
    return Image(values.astype(np.float32)[None], (4.0, 4.0, 4.0), None, units, scales=dict(scales))


def suv_of(stored: np.ndarray, most: float = 20.0) -> np.ndarray:
    """Return what a stored level means: its square, as a share of the highest SUV."""
    return (stored[0] / 65535) ** 2 * most


def test_a_stored_level_is_the_root_of_suv_whatever_the_dose(tmp_path) -> None:
    values = pet.suv(24)
    manifest = scan([pet.write(tmp_path / "series", values)])
    stored = prepare(read_image(manifest, manifest.usable().table.iloc[0]), 24)
    known = suv_of(stored)
    assert (known.min(), known.max()) == (0, pytest.approx(12, rel=1e-3))
    assert known[np.abs(known - 1) < 0.01].size > 0.2 * known.size
    np.testing.assert_array_equal(
        prepare(volume(values, "SUVbw"), 24), prepare(volume(values * 500, "BQML", SUVbw=1 / 500), 24)
    )


def test_beyond_the_highest_suv_and_below_none_is_clipped() -> None:
    values = np.resize(np.array([-3.0, 0.0, 5.0, 20.0, 80.0]), (5, 5, 5))
    stored = prepare(volume(values, "SUVbw"), 5)[0]
    np.testing.assert_allclose(np.unique(stored) / 65535, [0, 0.5, 1], atol=1e-5)


def test_uptake_without_suv_does_not_depend_on_its_scale_and_says_so() -> None:
    image = volume(pet.suv(24), "BQML")
    stored = prepare(image, 24)
    assert "without SUV" in image.remarks[0]
    np.testing.assert_allclose(stored, prepare(volume(pet.suv(24) * 7e4, None), 24), atol=1)
    assert stored.max() / 65535 == pytest.approx(np.sqrt(0.8), rel=0.05)


def test_nifti_names_no_unit_and_a_person_may_say_that_it_is_suv(tmp_path) -> None:
    nib.Nifti1Image(pet.suv(24).astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0])).to_filename(tmp_path / "pet.nii.gz")
    image = read_file(tmp_path / "pet.nii.gz")
    assert suv_of(modality(Reading(unknown_is="SUVbw")).prepare(image, 24)).max() == pytest.approx(12, rel=1e-3)
    assert not any("SUV" in remark for remark in image.remarks)
    prepare(image, 24)
    assert "without SUV" in image.remarks[-1]


def test_other_units_are_refused() -> None:
    with pytest.raises(DataError, match="HU"):
        prepare(volume(pet.suv(24), "HU"), 24)


def test_no_uptake_stays_none_in_every_view() -> None:
    strong = MODALITY.recipe("strong")
    assert strong.tone.brightness == strong.noise.probability == strong.bias.probability == 0
    assert strong.tone.contrast == (1, 1)
    assert not any(any(recipe.geometry.flip) for recipe in MODALITY.views.values())


def test_a_volume_without_uptake_is_flat() -> None:
    assert not prepare(volume(np.zeros((6, 6, 6)), "BQML"), 6).any()
