"""What is shown is what is trained on."""

import numpy as np
import pytest
import torch
from PIL import Image as Pil

from medssl import discovery
from medssl.data.keys import of_this_user
from medssl.data.scan import scan
from medssl.data.store import pack
from medssl.errors import DataError, SettingsError
from medssl.methods.parts.wish import ViewWish
from medssl.report import augmentations
from medssl.training.source import stored_batch
from medssl.training.views import make_views

SIZE = {"data": {"image_size": 32}}
IDENTITY = {
    "geometry": {"crop_area": [1, 1], "crop_aspect": [1, 1], "rotation_degrees": 0, "flip": [0, 0], "elastic": 0},
    "equalise": False,
    "tone": {"probability": 0},
    "blur": {"probability": 0},
    "speckle": {"probability": 0},
    "noise": {"probability": 0},
}


@pytest.fixture
def archive(tmp_path):
    random = np.random.default_rng(0)
    for k in range(3):
        Pil.fromarray(random.integers(0, 256, (40, 50), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    return tmp_path


@pytest.mark.parametrize("modality", ["oct", "cxr"])
@pytest.mark.parametrize("strength", ["weak", "strong"])
def test_the_first_views_are_those_of_the_first_epoch_of_a_run(archive, modality, strength) -> None:
    kind = discovery.load("modalities", modality).MODALITY
    store = pack(scan([archive], key=of_this_user()), lambda image: kind.prepare(image, 32), {})
    batch = stored_batch(store, np.array([1, 0, 2]))
    trained = make_views(batch, [ViewWish(2, strength)], kind, 5, 0)
    shown = augmentations.show(
        archive, modality, strength=strength, views=3, seed=5, row=batch.sample_id[0], settings=SIZE
    )
    assert len(shown.views) == 3
    for view, expected in zip(shown.views, trained, strict=False):
        torch.testing.assert_close(view, expected[0], rtol=0, atol=0)
    assert not torch.equal(shown.views[0], shown.views[1])


@pytest.mark.parametrize("modality", ["oct", "cxr"])
def test_without_augmentation_every_view_is_the_original(archive, modality) -> None:
    shown = augmentations.show(archive, modality, settings=SIZE | {"augment": IDENTITY})
    first, *views = shown.cells()
    assert first.caption == "original"
    assert [cell.caption for cell in views] == [f"view {k}" for k in range(1, 17)]
    assert np.unique(first.picture).size > 100
    for cell in views:
        np.testing.assert_array_equal(cell.picture, first.picture)
    assert {line.split("  ")[1] for line in shown.drawn()} == {"as all others"}


def test_the_original_is_the_file(archive) -> None:
    with Pil.open(archive / "0.png") as opened:
        picture = np.asarray(opened.resize((32, 32), Pil.Resampling.BILINEAR), dtype=float)
    shown = augmentations.show(archive, "oct", views=1, settings=SIZE)
    expected = (picture - picture.mean()) / picture.std()
    np.testing.assert_allclose(shown.original[0].numpy(), expected, atol=1e-5)


def test_drawn_parameters_are_told_where_they_differ(archive) -> None:
    only = {"augment": IDENTITY | {"tone": {"probability": 1, "gamma": [0.5, 2], "brightness": 0, "contrast": [1, 1]}}}
    shown = augmentations.show(archive, "cxr", views=2, settings=SIZE | only)
    gammas = [float(parameters["tone"]["gamma"]) for parameters in shown.parameters]
    assert shown.drawn() == [f"view {k}  tone.gamma {gamma:.3g}" for k, gamma in enumerate(gammas, start=1)]


def test_an_image_that_cannot_be_used_is_passed_over(archive) -> None:
    data = (archive / "0.png").read_bytes()
    middle = len(data) // 2
    (archive / "0.png").write_bytes(data[:middle] + b"\xff" * 40 + data[middle + 40 :])
    shown = augmentations.show(archive, "oct", views=1, settings=SIZE)
    assert (shown.row, shown.passed) == (2, 1)


def test_colour_and_volumes(archive) -> None:
    colour = torch.zeros(3, 4, 4)
    colour[0] = 1
    shown = augmentations.Shown("id", 1, 0, colour, [colour], [{}])
    assert [cell.picture.shape for cell in shown.cells()] == [(4, 4, 3)] * 2
    volume = torch.zeros(1, 5, 4, 4)
    volume[:, 2, 1:3] = 1
    first = augmentations.Shown("id", 1, 0, volume, [], [{}]).cells()[0]
    assert first.picture[:, 0].tolist() == [0, 255, 255, 0]


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"modality": "octt"}, SettingsError, "Did you mean 'oct'"),
        ({"strength": "strongest"}, SettingsError, "Did you mean 'strong'"),
        ({"row": "0123"}, SettingsError, "There is no image '0123'"),
        ({"settings": {"train": {"epochs": 3}}}, SettingsError, "train.epochs"),
        ({"settings": {"augment": {"blurr": {}}}}, SettingsError, "blurr"),
        ({"settings": {"augment": 3}}, SettingsError, "augment"),
        ({"settings": {"data": {"image_size": 2}}}, SettingsError, "data.image_size"),
        ({"data": "nowhere"}, DataError, "no such file"),
    ],
)
def test_bad_input_is_named(archive, tmp_path, changed, error, said) -> None:
    arguments = {"data": archive, "modality": "oct"} | changed
    if isinstance(arguments["data"], str):
        arguments["data"] = tmp_path / arguments["data"]
    with pytest.raises(error, match=said):
        augmentations.show(**arguments)
