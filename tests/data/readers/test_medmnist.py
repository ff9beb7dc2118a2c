"""Sets as MedMNIST publishes them: every image a row, in any order of asking, with the labels and parts of the file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data import cards, readers
from medssl.data.duplicates import survey
from medssl.data.readers import medmnist
from medssl.data.scan import scan
from medssl.errors import DataError

COUNTS = {"train": 7, "val": 2, "test": 4}


def write(path: Path, shape: tuple[int, ...], classes: int = 4, labels: int = 1, packed: bool = True) -> dict:
    """A set of that layout; returns its arrays."""
    random = np.random.default_rng(0)
    arrays = {f"{part}_images": random.integers(0, 256, (n, *shape), dtype=np.uint8) for part, n in COUNTS.items()}
    arrays |= {
        f"{part}_labels": random.integers(0, classes, (n, labels)).astype(np.uint8) for part, n in COUNTS.items()
    }
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return arrays


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("shape", "space", "channels"),
    [
        ((28, 28), (28, 28), 1),
        ((224, 224), (224, 224), 1),
        ((28, 28, 3), (28, 28), 3),
        ((28, 28, 28), (28, 28, 28), 1),
        ((16, 20, 24), (16, 20, 24), 1),
    ],
)
def test_every_image_is_a_row_and_reads_as_it_was_written_in_any_order(tmp_path, shape, space, channels, packed):
    arrays = write(tmp_path / "set.npz", shape, packed=packed)
    found = scan([tmp_path]).usable()
    table = found.table
    assert table["frame"].tolist() == list(range(13))
    assert table["split"].tolist() == ["train"] * 7 + ["val"] * 2 + ["test"] * 4
    assert set(table["ndim"]) == {len(space)}
    assert table["sample_id"].nunique() == 13
    expected = np.concatenate([arrays[f"{part}_images"] for part in COUNTS])
    for frame in [0, 1, 2, 12, 3, 3, 8, 0, 11]:
        image = readers.read_image(found, table.iloc[frame])
        wanted = np.moveaxis(expected[frame], -1, 0) if channels == 3 else expected[frame][None]
        assert image.array.shape == (channels, *space)
        assert np.array_equal(image.array, wanted)
        assert image.spacing_mm is None


def test_images_are_read_apart_and_a_replaced_file_is_read_anew(tmp_path):
    write(tmp_path / "set.npz", (28, 28))
    found = scan([tmp_path])
    assert survey([found]).about["pixel_hash"].nunique() == 13
    before = readers.read_image(found, found.table.iloc[0]).array
    np.savez(tmp_path / "set.npz", train_images=np.zeros((13, 28, 28), np.uint8))
    assert before.any()
    assert not readers.read_image(found, found.table.iloc[0]).array.any()


def test_a_set_is_adopted_with_the_words_of_its_card(tmp_path):
    arrays = write(tmp_path / "octmnist.npz", (28, 28))
    (tmp_path / "notes.txt").write_text("hello")
    manifest = cards.adopt("octmnist", tmp_path)
    table = manifest.table
    words = cards.load("octmnist").classes
    numbers = np.concatenate([arrays[f"{part}_labels"] for part in COUNTS])[:, 0]
    assert table["label"].tolist() == [words[str(number)] for number in numbers]
    assert table["split"].value_counts().to_dict() == COUNTS
    assert table["patient_id"].isna().all()
    assert any("no patient ids" in remark for remark in manifest.remarks)
    own = cards.adopt("octmnist", tmp_path / "octmnist.npz", image_is_patient=True)
    assert own.table["patient_id"].nunique() == 13
    assert own.table["label"].tolist() == table["label"].tolist()


def test_several_findings_an_image_become_a_column_each(tmp_path):
    arrays = write(tmp_path / "chestmnist_64.npz", (64, 64), classes=2, labels=14)
    table = cards.adopt("chestmnist", tmp_path).table
    expected = np.concatenate([arrays[f"{part}_labels"] for part in COUNTS])
    assert table["pneumonia"].astype(int).tolist() == expected[:, 6].tolist()
    assert table["atelectasis"].astype(int).tolist() == expected[:, 0].tolist()


@pytest.mark.parametrize("name", [name for name in cards.names() if cards.load(name).arrays])
def test_every_card_of_such_a_set_can_be_adopted(tmp_path, name):
    card = cards.load(name)
    several = name == "chestmnist"
    shape = (28, 28, 28) if name.endswith("3d") else (28, 28)
    write(tmp_path / f"{name}.npz", shape, 2 if several else len(card.classes), len(card.classes) if several else 1)
    table = cards.adopt(name, tmp_path).table
    known = table[list(card.classes.values())[:1]] if several else table[["label"]]
    assert known.notna().all(axis=None)


def test_what_does_not_fit_the_card_is_refused(tmp_path):
    write(tmp_path / "octmnist.npz", (28, 28))
    write(tmp_path / "octmnist_64.npz", (64, 64))
    with pytest.raises(DataError, match=r"2 files with the same images.*octmnist_64\.npz.*adopt NAME FILE"):
        cards.adopt("octmnist", tmp_path)
    with pytest.raises(DataError, match="No file here belongs to 'bloodmnist'"):
        cards.adopt("bloodmnist", tmp_path)
    write(tmp_path / "breastmnist.npz", (28, 28), classes=9)
    with pytest.raises(DataError, match="has no word on the card"):
        cards.adopt("breastmnist", tmp_path / "breastmnist.npz")
    (tmp_path / "pathmnist.npz").write_bytes((tmp_path / "octmnist.npz").read_bytes()[:3000])
    with pytest.raises(DataError, match="Cannot read the file"):
        cards.adopt("pathmnist", tmp_path / "pathmnist.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"train_images": np.zeros((3, 4, 5), np.uint8)}, "has no train_labels"),
        ({"train_images": np.zeros((3, 4, 5), np.uint8), "train_labels": np.zeros((2, 1), int)}, "does not fit 3"),
        ({"train_images": np.zeros((3, 4, 5), np.uint8), "train_labels": np.full((3, 1), 0.5)}, "no whole numbers"),
        ({"train_images": np.zeros((3, 4), np.uint8)}, r"shape \(3, 4\)"),
        ({"train_images": np.array([{}] * 3)}, "Python objects"),
    ],
)
def test_labels_and_images_that_do_not_fit_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=said):
        medmnist.labels(tmp_path / "set.npz")


def test_a_number_beyond_the_set_and_the_set_as_a_whole_are_no_image(tmp_path):
    write(tmp_path / "set.npz", (28, 28))
    with pytest.raises(DataError, match="There is no image 13: the set has 13"):
        medmnist.read(tmp_path / "set.npz", 13)
    with pytest.raises(DataError, match="set of images"):
        medmnist.read(tmp_path / "set.npz")


def test_an_archive_of_one_array_is_still_an_image(tmp_path):
    np.savez(tmp_path / "plane.npz", np.ones((6, 5), np.uint8))
    assert scan([tmp_path]).usable().table["format"].tolist() == ["numpy_array"]
    assert pd.isna(scan([tmp_path]).table["frame"].iloc[0])
