"""Verification: no flipped bit goes unseen, damage is named, and only what nobody needs is removed."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image as Picture

from medssl import files
from medssl.data import shards
from medssl.data.columns import typed
from medssl.data.manifest import Manifest
from medssl.data.store import Store, pack
from medssl.data.verify import check, check_listed, of_samples, remove, remove_unused, stores_in
from medssl.errors import DataError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    random = np.random.default_rng(0)
    for k in range(5):
        Picture.fromarray(random.integers(0, 255, (4, 4), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    rows = {"sample_id": [f"s{k}" for k in range(5)], "path": [f"{k}.png" for k in range(5)], "format": "raster"}
    return Manifest(typed(pd.DataFrame({**rows, "status": "ok"})), tmp_path, "archive")


@pytest.fixture
def store(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return five images in three shards."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 128 + 2 * 16)
    made = pack(manifest, lambda image: image.array, {"modality": "test"})
    assert len(made.images.shards) == 3
    return made


def flip(file: Path, place: int, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)


def test_a_whole_store_has_no_damage(store: Store) -> None:
    found = check(store.folder)
    assert found.damage == ()
    assert found.images == 5
    assert found.bytes == sum(file.stat().st_size for file in store.folder.iterdir())


NAMES = ["images-00000.npy", "images-00002.npy", "index.parquet", "store.json", files.MANIFEST]


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_of_every_file_is_looked_at(store: Store, name: str) -> None:
    file = store.folder / name
    whole = file.read_bytes()
    random = np.random.default_rng(1)
    step = 1 if len(whole) < 2000 else 7
    for place in range(0, len(whole), step):
        flip(file, place, int(random.integers(8)))
        assert check(store.folder).damage, f"byte {place} of {name}"
        file.write_bytes(whole)
    assert check(store.folder).damage == ()


def test_every_bit_of_the_list_of_files_counts(store: Store) -> None:
    file = store.folder / files.MANIFEST
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            flip(file, place, bit)
            assert files.damage(store.folder), (place, bit)
            file.write_bytes(whole)


def test_a_list_of_files_that_says_the_same_in_other_words_is_damaged(store: Store) -> None:
    file = store.folder / files.MANIFEST
    file.write_bytes(file.read_bytes().replace(b"\n", b" ", 1))
    assert check(store.folder).damage == (f"{files.MANIFEST} is not as it was written",)


def test_the_shard_and_the_samples_are_named(store: Store) -> None:
    flip(store.folder / "images-00001.npy", -1, 0)
    flip(store.folder / "images-00002.npy", -1, 7)
    assert check(store.folder).damage == (
        "images-00001.npy is not what was written: sample s3",
        "images-00002.npy is not what was written: sample s4",
    )


def test_files_that_are_gone_cut_or_too_many_are_told(store: Store) -> None:
    (store.folder / "more").write_text("x")
    (store.folder / "store.json").write_bytes(b"{}")
    (store.folder / "index.parquet").unlink()
    found = check(store.folder).damage
    assert "index.parquet is missing" in found
    assert "more is not in the list of files" in found
    assert any(said.startswith("store.json has 2 bytes instead of") for said in found)


def test_an_index_that_says_otherwise_is_damage_even_with_fresh_hashes(store: Store) -> None:
    pixels = np.load(store.folder / "images-00000.npy")
    pixels[1] += 1
    np.save(store.folder / "images-00000.npy", pixels)
    (store.folder / files.MANIFEST).unlink()
    files._write_manifest(store.folder)
    with pytest.raises(DataError, match="sample s1"):
        store_again(store).verify()


def store_again(store: Store) -> Store:
    return Store(store.folder, store.key, shards.Images.open(store.folder), store.index, [])


def test_other_listed_folders_are_checked_by_their_list(tmp_path: Path) -> None:
    with files.atomic_folder(tmp_path / "backbone") as folder:
        (folder / "weights").write_bytes(b"1234")
    assert check_listed(tmp_path / "backbone").damage == ()
    flip(tmp_path / "backbone" / "weights", 2, 3)
    assert check_listed(tmp_path / "backbone").damage == ("weights is not what was written",)


def test_stores_of_a_manifest_are_those_that_hold_its_images_or_cannot_be_asked(store: Store) -> None:
    place = store.folder.parent
    assert stores_in(place) == [store.folder]
    assert of_samples(stores_in(place), {"s2", "x"}) == [store.folder]
    assert of_samples(stores_in(place), {"x"}) == []
    (store.folder / "index.parquet").write_bytes(b"nothing")
    assert of_samples(stores_in(place), {"x"}) == [store.folder]


def test_a_removed_store_is_packed_anew_and_an_open_one_goes_on(store: Store, manifest: Manifest) -> None:
    expected = np.asarray(store.images)
    assert remove(store.folder)
    assert not store.folder.exists()
    np.testing.assert_array_equal(np.asarray(store.images), expected)
    again = pack(manifest, lambda image: image.array, {"modality": "test"})
    np.testing.assert_array_equal(np.asarray(again.images), expected)


def test_a_store_that_is_being_built_is_not_removed(store: Store) -> None:
    with FileLock(store.folder.with_name(f"{store.key}.lock")):
        assert not remove(store.folder)
    assert store.folder.exists()


def test_stores_that_were_not_opened_for_long_and_leftovers_are_removed(store: Store, manifest: Manifest) -> None:
    other = pack(manifest, lambda image: image.array, {"modality": "other"})
    place = store.folder.parent
    (place / ".abc.17.part").mkdir()
    assert remove_unused(place, 1.0) == []
    assert not (place / ".abc.17.part").exists()
    old = time.time() - 2 * 86400
    for one in (store, other):
        os.utime(one.folder.with_name(f"{one.key}.lock"), (old, old))
    pack(manifest, lambda image: image.array, {"modality": "other"})  # which is opened, and so is in use
    assert remove_unused(place, 1.0) == [store.folder]
    assert remove_unused(place, 0.0, but=other.folder) == []
    assert stores_in(place) == [other.folder]
