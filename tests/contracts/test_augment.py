"""One contract over every operation that draws parameters, in 2D and 3D."""

import importlib
import pkgutil
from types import ModuleType

import pytest
import torch

from medssl import augment
from medssl.augment import (
    bias,
    blur,
    colour,
    depth_gain,
    equalise,
    geometry,
    ghosting,
    noise,
    speckle,
    stain,
    tone,
    window,
)
from medssl.augment.parts.samples import Parameters
from medssl.chance import Chance

MODULES = [
    importlib.import_module(f"medssl.augment.{found.name}")
    for found in pkgutil.iter_modules(augment.__path__)
    if not found.ispkg
]
OPERATIONS = {module.__name__.rpartition(".")[2]: module for module in MODULES if hasattr(module, "sample")}
ACTIVE = {
    "geometry": geometry.Settings(crop_area=(0.4, 0.9), rotation_degrees=15, shift=0.05, elastic=0.01),
    "bias": bias.Settings(probability=0.7, strength=(0.1, 0.3)),
    "ghosting": ghosting.Settings(probability=0.7, strength=(0.1, 0.5), distance=(0.2, 0.5)),
    "window": window.Settings(probability=0.7, windows=tuple((k / 20, 0.5 + k / 20) for k in range(10))),
    "equalise": equalise.Settings(probability=0.7, strength=(0.3, 1.0)),
    "tone": tone.Settings(probability=0.7, gamma=(0.5, 0.9), contrast=(0.7, 1.4), brightness=0.1),
    "stain": stain.Settings(probability=0.7, ratio=0.3, shift=0.05),
    "colour": colour.Settings(probability=0.7, gain=(0.8, 1.25), saturation=(0.5, 1.5)),
    "depth_gain": depth_gain.Settings(probability=0.7, slope=0.5),
    "blur": blur.Settings(probability=0.7, sigma=(5.0, 20.0)),
    "speckle": speckle.Settings(probability=0.7, strength=(0.05, 0.2)),
    "noise": noise.Settings(probability=0.7, strength=(0.01, 0.05)),
}
SHAPES = {2: (24, 33), 3: (12, 14, 17)}


@pytest.fixture(params=sorted(OPERATIONS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(6, 3, *SHAPES[request.param])


def drawn(name: str, images: torch.Tensor, keys: list[int], settings: object = None) -> Parameters:
    operation: ModuleType = OPERATIONS[name]
    result: Parameters = operation.sample(Chance(keys), settings or ACTIVE[name], images.ndim - 2)
    return result


def test_every_operation_is_tried_here() -> None:
    assert set(OPERATIONS) == set(ACTIVE)


def test_parameters_are_float64_tensors_with_one_row_a_sample(name: str, images: torch.Tensor) -> None:
    for values in drawn(name, images, [1, 2, 3]).values():
        assert values.dtype == torch.float64
        assert len(values) == 3


def test_the_same_keys_draw_the_same_alone_and_in_a_batch(name: str, images: torch.Tensor) -> None:
    together = drawn(name, images, [7, 8, 9])
    alone = drawn(name, images, [8])
    for part, values in together.items():
        assert torch.equal(values[1:2], alone[part])
    other = drawn(name, images, [10])
    assert any(not torch.equal(other[part], alone[part]) for part in alone)


def test_a_view_does_not_depend_on_its_batch_and_replays_exactly(name: str, images: torch.Tensor) -> None:
    operation, keys = OPERATIONS[name], list(range(6))
    parameters = drawn(name, images, keys)
    views = operation.apply(images, parameters)
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert torch.equal(operation.apply(images, parameters), views)
    for k in keys:
        one = {part: values[k : k + 1] for part, values in parameters.items()}
        assert torch.equal(operation.apply(images[k : k + 1], one)[0], views[k])


def test_it_changes_images_but_not_the_ones_it_was_given(name: str, images: torch.Tensor) -> None:
    before = images.clone()
    views = OPERATIONS[name].apply(images, drawn(name, images, list(range(6))))
    assert torch.equal(images, before)
    assert not torch.equal(views, images)


def test_intensities_stay_in_their_range(name: str, images: torch.Tensor) -> None:
    views = OPERATIONS[name].apply(images, drawn(name, images, list(range(6))))
    assert float(views.min()) >= -1e-6
    assert float(views.max()) <= 1 + 1e-6


def test_its_default_is_to_leave_images_exactly_as_they_are(name: str, images: torch.Tensor) -> None:
    parameters = drawn(name, images, list(range(6)), OPERATIONS[name].Settings())
    assert torch.equal(OPERATIONS[name].apply(images, parameters), images)
