"""Geometry: one matrix, one resampling; exact where it must be, aligned between image and mask, 2D as 3D."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates, zoom

from medssl.augment.geometry import Settings, apply, grid, matrix, sample, warp
from medssl.augment.parts.samples import Parameters
from medssl.chance import Chance
from medssl.errors import SettingsError

SHAPES = {2: (12, 20), 3: (8, 10, 12)}
STRONG = Settings(
    crop_area=(0.3, 1.0), crop_aspect=(0.75, 4 / 3), zoom=(0.8, 1.25), shift=0.1, rotation_degrees=30, elastic=0.02
)


def chance(count: int = 3) -> Chance:
    return Chance(list(range(count)))


def identity(count: int, spatial_dims: int) -> Parameters:
    return sample(chance(count), Settings(), spatial_dims)


def changed(spatial_dims: int = 2, count: int = 1, **values: object) -> Parameters:
    """Return the identity with some parameters set alike for every sample."""
    parameters = identity(count, spatial_dims)
    for name, value in values.items():
        parameters[name] = torch.as_tensor(value, dtype=torch.float64).expand_as(parameters[name]).clone()
    return parameters


def smooth(spatial_dims: int = 2, count: int = 1, scale: int = 1) -> torch.Tensor:
    """Return images that vary slowly and are symmetric under nothing."""
    axes = [torch.linspace(0, 1, n * scale) for n in SHAPES[spatial_dims]]
    mesh = torch.meshgrid(*axes, indexing="ij")
    image = sum((k + 1) * axis**2 for k, axis in enumerate(mesh)) + mesh[0] * mesh[1]
    return image.float().expand(count, 1, *image.shape).clone()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_identity_returns_every_value_exactly(spatial_dims: int) -> None:
    images = torch.rand(3, 2, *SHAPES[spatial_dims])
    assert torch.equal(apply(images, identity(3, spatial_dims)), images)


def test_an_unchanged_sample_among_changed_ones_is_exact_too() -> None:
    images = torch.rand(3, 1, *SHAPES[2])
    parameters = identity(3, 2)
    parameters["rotation_degrees"][[0, 2]] = 20.0
    views = apply(images, parameters)
    assert torch.equal(views[1], images[1])
    assert not torch.equal(views[0], images[0])


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("same_size", [True, False])
def test_the_grid_equals_torchs_affine_grid(spatial_dims: int, same_size: bool) -> None:
    to_image = matrix(sample(chance(), STRONG, spatial_dims), SHAPES[spatial_dims]).float()
    size = SHAPES[spatial_dims] if same_size else (7, 9, 6)[:spatial_dims]
    last_axis_first = torch.cat([to_image[:, :, :-1].flip(1, 2), to_image[:, :, -1:].flip(1)], dim=2)
    expected = F.affine_grid(last_axis_first, [3, 1, *size], align_corners=False)
    torch.testing.assert_close(grid(to_image, size), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_flip_turns_its_axis(spatial_dims: int) -> None:
    images = torch.rand(1, 1, *SHAPES[spatial_dims])
    for axis in range(spatial_dims):
        flip = torch.ones(spatial_dims)
        flip[axis] = -1
        views = apply(images, changed(spatial_dims, flip=flip))
        torch.testing.assert_close(views, images.flip(2 + axis), atol=1e-5, rtol=0)


def test_a_positive_angle_turns_rows_towards_columns_and_keeps_pixels_square() -> None:
    images = torch.rand(1, 1, 12, 12)
    turned = apply(images, changed(rotation_degrees=90.0))
    torch.testing.assert_close(turned, images.rot90(-1, (2, 3)), atol=1e-5, rtol=0)
    wide = torch.zeros(1, 1, 40, 80)
    wide[0, 0, 20, 30:51] = 1  # 21 pixels along a row
    turned = apply(wide, changed(rotation_degrees=90.0))
    assert int((turned[0, 0].amax(1) > 0.25).sum()) in (20, 21, 22)  # as many along a column


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_crop_of_whole_pixels_is_a_slice(spatial_dims: int) -> None:
    images = torch.rand(1, 1, *SHAPES[spatial_dims])
    size = tuple(n // 2 for n in SHAPES[spatial_dims])
    center = torch.tensor([-0.5, *[0.5] * (spatial_dims - 1)])
    views = apply(images, changed(spatial_dims, center=center, extent=0.5), size=size)
    slices = [slice(0, size[0]), *(slice(n, None) for n in size[1:])]
    torch.testing.assert_close(views, images[(..., *slices)], atol=1e-5, rtol=0)


def test_a_shift_moves_by_its_share_of_the_image() -> None:
    images = torch.rand(1, 1, 10, 20)
    views = apply(images, changed(shift=(0.1, 0.2)))
    torch.testing.assert_close(views[:, :, :-1, :-4], images[:, :, 1:, 4:], atol=1e-5, rtol=0)


def test_outside_is_the_mirror_image() -> None:
    images = torch.rand(1, 1, 10, 20)
    views = apply(images, changed(shift=(0.1, 0.0)))
    torch.testing.assert_close(views[:, :, -1], images[:, :, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("factor", [2, 3])
def test_shrinking_by_a_whole_factor_averages(spatial_dims: int, factor: int) -> None:
    images = torch.rand(2, 1, *(n * factor for n in SHAPES[spatial_dims]))
    views = apply(images, identity(2, spatial_dims), size=SHAPES[spatial_dims])
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[spatial_dims]
    torch.testing.assert_close(views, pool(images, factor), atol=1e-5, rtol=0)


def test_stripes_finer_than_the_view_become_grey() -> None:
    images = torch.zeros(1, 1, 64, 64)
    images[..., ::2] = 1
    assert float(apply(images, changed(rotation_degrees=3.0), size=(16, 16)).std()) < 0.02


def test_the_factor_is_the_samples_own_so_a_small_crop_stays_sharp() -> None:
    images = torch.rand(1, 1, 64, 64).expand(2, 1, 64, 64)
    parameters = identity(2, 2)
    parameters["extent"][1] = 0.25
    views = apply(images, parameters, size=(16, 16))
    alone = {name: values[1:] for name, values in parameters.items()}
    assert torch.equal(views[1:], apply(images[1:], alone, size=(16, 16)))
    torch.testing.assert_close(views[1], images[1, :, 24:40, 24:40], atol=1e-5, rtol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_image_and_mask_stay_aligned(spatial_dims: int) -> None:
    inside = smooth(spatial_dims, count=4, scale=4)
    inside = (inside - inside.min()) / (inside.max() - inside.min())
    masks = (inside > 0.4).to(torch.uint8) + 2 * (inside > 0.7).to(torch.uint8)
    drawn = sample(chance(4), STRONG, spatial_dims)
    views, labels = apply(inside, drawn), apply(masks, drawn, nearest=True)
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= {0, 1, 3}
    expected = (views > 0.4).to(torch.uint8) + 2 * (views > 0.7).to(torch.uint8)
    assert float((labels == expected).float().mean()) > 0.97
    assert float((masks == expected).float().mean()) < 0.9


def test_nearest_copies_labels_of_any_size_without_mixing() -> None:
    masks = torch.randint(0, 2, (3, 1, 16, 16), dtype=torch.int16) * 700
    assert set(apply(masks, sample(chance(), STRONG), nearest=True, size=(9, 9)).unique().tolist()) == {0, 700}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_boxes_lie_in_the_image_and_have_the_area_and_aspect_asked_for(spatial_dims: int, data: st.DataObject) -> None:
    low = data.draw(st.floats(0.05, 0.4))
    high = data.draw(st.floats(low, 0.4))
    ratio = data.draw(st.floats(1.0, 1.3))  # 0.4^(1/3) x 1.3 < 1: no box is cut to the image
    drawn = sample(chance(50), Settings(crop_area=(low, high), crop_aspect=(1 / ratio, ratio)), spatial_dims)
    assert bool(((drawn["center"].abs() + drawn["extent"]) <= 1 + 1e-9).all())
    area = drawn["extent"].prod(1)
    assert bool((area > low - 1e-9).all())
    assert bool((area < high + 1e-9).all())
    aspects = drawn["extent"][:, :-1] / drawn["extent"][:, -1:]
    assert bool((aspects.log().abs() <= math.log(ratio) + 1e-9).all())


def test_a_box_larger_than_the_image_is_cut_to_it() -> None:
    drawn = sample(chance(200), Settings(crop_area=(1.0, 1.0), crop_aspect=(0.5, 2.0)))
    assert bool((drawn["extent"].amax(1) == 1).all())
    assert bool((drawn["extent"].prod(1) < 1).all())
    assert float((drawn["center"].abs() + drawn["extent"]).max()) <= 1


@settings(max_examples=25, deadline=None)
@given(angle=st.floats(-180, 180), zoom=st.floats(0.5, 2.0), rows=st.integers(2, 50), columns=st.integers(2, 50))
def test_rotation_and_zoom_keep_angles_among_pixels(angle: float, zoom: float, rows: int, columns: int) -> None:
    to_image = matrix(changed(rotation_degrees=angle, zoom=zoom), (rows, columns))[0, :, :2]
    size = torch.tensor([rows, columns], dtype=torch.float64)
    pixels = to_image * size[:, None] / size * zoom
    torch.testing.assert_close(pixels @ pixels.T, torch.eye(2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_amounts_spread_over_their_ranges() -> None:
    drawn = sample(chance(2000), Settings(**{**STRONG.model_dump(), "flip": (0.0, 0.5)}))
    angles, zooms, flips = drawn["rotation_degrees"], drawn["zoom"], drawn["flip"]
    assert -30 <= float(angles.min()) < -29
    assert 29 < float(angles.max()) <= 30
    assert 0.8 <= float(zooms.min()) < 0.81
    assert 1.24 < float(zooms.max()) <= 1.25
    assert float(drawn["shift"].abs().max()) <= 0.1
    assert bool((flips[:, 0] == 1).all())
    assert abs(float((flips[:, 1] == -1).double().mean()) - 0.5) < 0.05
    assert abs(float(drawn["displacement"].std()) - 0.02) < 0.001


def test_elastic_bending_alone_moves_points_by_its_displacement() -> None:
    images = smooth(scale=4)
    parameters = identity(1, 2)
    parameters["displacement"] = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    assert torch.equal(apply(images, parameters), images)
    parameters["displacement"][:, 0] = 0.125  # rows, everywhere alike
    rows = images.shape[2]
    expected = apply(images, changed(shift=(0.125, 0.0)))
    torch.testing.assert_close(apply(images, parameters), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        expected[:, :, : rows // 2], images[:, :, rows // 8 : rows // 8 + rows // 2], atol=1e-4, rtol=0
    )


def test_elastic_bending_in_3d_reads_where_scipy_does() -> None:
    random = np.random.default_rng(0)
    image, points = random.random((11, 14, 17)), random.normal(0, 0.02, (3, 4, 4, 4))
    parameters = identity(1, 3)
    parameters["displacement"] = torch.from_numpy(points)[None]
    made = apply(torch.from_numpy(image).float()[None, None], parameters)[0, 0].numpy()
    scales = [n / 4 for n in image.shape]
    moved = [n * zoom(axis, scales, order=1) for n, axis in zip(image.shape, points, strict=True)]
    places = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij")) + np.stack(moved)
    np.testing.assert_allclose(made, map_coordinates(image, places, order=1, mode="reflect"), atol=2e-5)


def test_a_wrong_number_of_flips_is_refused() -> None:
    with pytest.raises(SettingsError, match="2 probabilities for 3 axes"):
        sample(chance(), Settings(flip=(0.0, 0.5)), 3)


def test_gradients_flow_through_the_warp() -> None:
    images = torch.rand(1, 1, 8, 8, requires_grad=True)
    warp(images, matrix(changed(rotation_degrees=10.0), (8, 8)), (8, 8)).sum().backward()
    assert images.grad is not None
    assert np.isfinite(images.grad.numpy()).all()
