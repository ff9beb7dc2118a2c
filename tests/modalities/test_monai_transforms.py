"""MONAI transforms by name: geometry that stays true, types that stay small, and mistakes told before work begins."""

import nibabel as nib
import numpy as np
import pytest

from medssl.data.image import Image
from medssl.errors import DataError, SettingsError
from medssl.modalities import ct, mr, oct
from medssl.modalities.parts.monai_transforms import SHARE, apply, check

# Slices run to the feet, rows to the back, columns to the left; 3 x 1 x 0.5 mm.
AFFINE = np.array([[0, 0, -0.5, 5], [0, -1, 0, 7], [-3, 0, 0, -4], [0, 0, 0, 1.0]])


def volume(shape: tuple[int, ...] = (6, 8, 10), **values: object) -> Image:
    array = np.random.default_rng(0).integers(1, 200, (1, *shape)).astype(np.int16)
    return Image(array, **{"spacing_mm": (3.0, 1.0, 0.5), "affine": AFFINE, "units": "HU", **values})


def named(name: str, **arguments: object) -> dict[str, object]:
    return {"name": name, **arguments}


def at(image: Image, world: np.ndarray) -> float:
    """Return the voxel nearest to a place in the world."""
    place = np.rint(np.linalg.solve(image.affine, [*world, 1.0])[:3]).astype(int)
    return float(image.array[0][tuple(place)])


def test_orientation_turns_voxels_and_affine_as_nibabel_does() -> None:
    source = volume()
    turned = apply(source, [named("Orientation", axcodes="RAS")])
    expected = nib.as_closest_canonical(nib.Nifti1Image(source.array[0], source.affine))
    np.testing.assert_array_equal(turned.array[0], np.asarray(expected.dataobj))
    np.testing.assert_allclose(turned.affine, expected.affine)
    assert turned.spacing_mm == pytest.approx((0.5, 1.0, 3.0))
    assert turned.array.dtype == np.int16
    assert turned.units == "HU"


def test_spacing_resamples_and_the_world_stays_where_it_was() -> None:
    smooth = np.mgrid[0:6, 0:8, 0:10]
    source = volume()
    source.array = (100 * smooth[0] + 10 * smooth[1] + smooth[2])[None].astype(np.float32)
    thin = apply(source, [named("Spacing", pixdim=[1.0, 1.0, 1.0])])
    assert thin.spacing_mm == pytest.approx((1, 1, 1))
    assert thin.array.shape == (1, 16, 8, 6)
    for place in ([0, 0, 0], [7, 3, 2], [15, 7, 4]):
        world = thin.affine @ [*place, 1]
        at_source = np.linalg.solve(source.affine, world)[:3]
        assert float(thin.array[0][tuple(place)]) == pytest.approx(float(at_source @ [100, 10, 1]), abs=1e-3)


def test_a_crop_moves_the_origin() -> None:
    source = volume()
    source.array[:, :2], source.array[:, :, 6:], source.array[..., :3] = 0, 0, 0
    cut = apply(source, [named("CropForeground")])
    np.testing.assert_array_equal(cut.array, source.array[:, 2:, :6, 3:])
    np.testing.assert_allclose(cut.affine, source.affine @ [[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]])
    assert cut.spacing_mm == pytest.approx(source.spacing_mm)


def test_a_list_is_done_in_its_order_and_places_keep_their_values() -> None:
    source = volume((12, 16, 20))
    done = apply(
        source,
        [
            named("Flip", spatial_axis=1),
            named("Orientation", axcodes="LPS"),
            named("SpatialCrop", roi_start=[2, 3, 1], roi_end=[14, 11, 9]),
        ],
    )
    assert done.array.shape == (1, 12, 8, 8)
    for place in ([0, 0, 0], [3, 7, 2], [11, 0, 7]):
        assert at(source, (done.affine @ [*place, 1])[:3]) == float(done.array[0][tuple(place)])
    assert done.provenance["transforms"] == ["Flip", "Orientation", "SpatialCrop"]


def test_what_is_unknown_stays_unknown() -> None:
    plane = Image(np.zeros((1, 8, 10), np.uint8), spacing_mm=(2.0, float("nan")))
    done = apply(plane, [named("Resize", spatial_size=[16, 5])])
    assert done.spacing_mm[0] == pytest.approx(1.0)
    assert np.isnan(done.spacing_mm[1])
    assert done.affine is None
    assert apply(Image(plane.array), [named("Resize", spatial_size=[16, 5])]).spacing_mm is None
    turned = apply(plane, [named("Rotate90", k=1)])
    assert np.isnan(turned.spacing_mm[0])
    assert turned.spacing_mm[1] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("image", "entry", "said"),
    [
        (volume(affine=None), named("Orientation", axcodes="RAS"), "how the patient lay"),
        (volume(affine=None, spacing_mm=None), named("Spacing", pixdim=1.0), "spacing along every axis"),
        (volume(), named("SpatialCrop", roi_start=[50] * 3, roi_end=[60] * 3), "made no image"),
        (volume(), named("ScaleIntensityRange", a_min=-100, a_max=300, b_min=0, b_max=2), "values run from"),
        (volume(), named("NormalizeIntensity"), "0 to 1 can be stored"),
    ],
)
def test_an_image_that_cannot_be_prepared_is_told(image: Image, entry: dict[str, object], said: str) -> None:
    check([entry], 3)
    with pytest.raises(DataError, match=said):
        apply(image, [entry])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("Spacing", "Expected a transform with its name"),
        ({"a_min": 1}, "Expected a transform with its name"),
        (named("Spacings"), "Did you mean Spacing"),
        (named("RandFlip", prob=0.5), "draws at random.*augment"),
        (named("Compose"), "draws at random"),
        (named("Spacingd", pixdim=1), "dictionaries.*Write Spacing"),
        (named("LoadImage"), "does not prepare an image"),
        (named("Lambda", func="print"), "does not prepare an image"),
        (named("__name__"), "no transform"),
        (named("Spacing", pixdm=1), "Did you mean 'pixdim'"),
        (named("Spacing"), "missing 1 required.*pixdim"),
        (named("Orientation", axcodes="QQQ"), "cannot be applied"),
        (named("ResizeWithPadOrCrop", spatial_size="x"), "cannot be applied"),
    ],
)
def test_a_list_that_cannot_work_is_refused_before_work_begins(entry: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        check([named("Flip"), entry], 3)  # type: ignore[list-item]
    assert "data.transforms[1]" in str(refused.value)


def test_orientation_of_planes_is_refused() -> None:
    with pytest.raises(SettingsError, match="for volumes"):
        oct.MODALITY.with_transforms([named("Orientation", axcodes="RAS")])


WINDOW = named("ScaleIntensityRange", a_min=-100, a_max=300, b_min=0, b_max=1, clip=True)


def test_a_window_of_the_user_stands_for_that_of_the_modality() -> None:
    source = volume((8, 8, 8), spacing_mm=(1.0, 1.0, 1.0), affine=None)
    source.array = np.random.default_rng(1).integers(-1000, 1000, (1, 8, 8, 8)).astype(np.int16)
    modality = ct.MODALITY.with_transforms([WINDOW])
    image = modality.before(source)
    assert image.units == SHARE
    stored = modality.prepare(image, 8)
    expected = ((source.array.astype(float) + 100) / 400).clip(0, 1) * 65535
    np.testing.assert_allclose(stored, expected, atol=1)
    np.testing.assert_array_equal(mr.MODALITY.prepare(image, 8), stored)


def test_a_window_of_planes_is_not_stretched_by_percentiles() -> None:
    plane = Image(np.arange(64, dtype=np.uint16).reshape(1, 8, 8))
    half = named("ScaleIntensityRange", a_min=0, a_max=128, b_min=0, b_max=1)
    stored = oct.MODALITY.prepare(oct.MODALITY.with_transforms([half]).before(plane), 8)
    np.testing.assert_allclose(stored, plane.array / 128 * 65535, atol=1)


def test_filters_keep_units_and_type() -> None:
    source = volume()
    done = apply(
        source, [named("MedianSmooth", radius=1), named("ThresholdIntensity", threshold=100, above=False, cval=100)]
    )
    assert (done.units, done.array.dtype) == ("HU", np.int16)
    assert done.array.max() == 100


def test_the_key_of_a_store_holds_the_list_and_only_where_there_is_one() -> None:
    assert "transforms" not in ct.MODALITY.key_parts(8)
    assert ct.MODALITY.with_transforms([]) is ct.MODALITY
    keys = [
        ct.MODALITY.with_transforms(one).key_parts(8)
        for one in ([WINDOW], [{**WINDOW, "a_min": -99}], [WINDOW, WINDOW])
    ]
    assert keys[0]["transforms"] == [WINDOW]
    assert keys[0] != keys[1] != keys[2]


def test_an_image_is_not_changed_by_what_is_made_of_it() -> None:
    source = volume()
    before = source.array.copy()
    apply(source, [WINDOW])
    np.testing.assert_array_equal(source.array, before)
