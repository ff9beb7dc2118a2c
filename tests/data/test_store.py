"""The store: one array, its index, its key, and what happens when something goes wrong on the way."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

from medssl import files
from medssl.data import store
from medssl.data.columns import typed
from medssl.data.image import Image
from medssl.data.manifest import Manifest
from medssl.data.packing import stretched
from medssl.data.store import Store, pack, unique_content
from medssl.errors import DataError, StorageError

PARTS = {"modality": "test"}
IMAGES = "images-00000.npy"


def archive(folder: Path, count: int = 5, **columns: Any) -> Manifest:
    """Write PNG files whose images differ and return their manifest."""
    random = np.random.default_rng(0)
    names = [f"image{k}.png" for k in range(count)]
    for name in names:
        Picture.fromarray(random.integers(0, 255, (6, 9), dtype=np.uint8)).save(folder / name)
    rows = {"sample_id": [f"s{k}" for k in range(count)], "path": names, "format": "raster", "status": "ok"}
    return Manifest(typed(pd.DataFrame({**rows, **columns})), folder, "archive")


def corner(image: Image) -> np.ndarray:
    """Prepare an image by its upper left 4 x 4 pixels."""
    return image.array[:1, :4, :4]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return archive(tmp_path, label=["a", "b", "a", "b", None], patient_id=["p", "p", "q", "r", None])


def shown(manifest: Manifest, change: Callable[[int, np.ndarray], Image], monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Have the reader return `change(row number, array)` from now on."""
    arrays = {f"s{k}": np.asarray(Picture.open(manifest.folder / f"image{k}.png"))[None] for k in range(len(manifest))}

    def read_image(_: Manifest, row: pd.Series) -> Image:
        return change(int(row["sample_id"][1:]), arrays[row["sample_id"]])

    monkeypatch.setattr("medssl.data.readers.read_image", read_image)
    return manifest


def test_images_and_index_hold_what_was_prepared_and_what_is_known(manifest: Manifest) -> None:
    store = pack(manifest, corner, PARTS)
    assert store.images.shape == (5, 1, 4, 4)
    assert store.images.dtype == np.uint8
    assert store.levels == 255
    for row in store.index.itertuples():
        source = np.asarray(Picture.open(manifest.folder / row.path))
        np.testing.assert_array_equal(store.images[row.Index, 0], source[:4, :4])
        assert row.pixel_hash == Image(source[None]).pixel_hash()
    assert store.index["label"].tolist()[:4] == ["a", "b", "a", "b"]
    assert pd.isna(store.index["label"].iloc[4])
    assert store.left_out == []
    store.verify()


def test_the_array_is_a_plain_npy_file_opened_read_only(manifest: Manifest) -> None:
    store = pack(manifest, corner, PARTS)
    assert isinstance(store.images.shards[0], np.memmap)
    assert not store.images.stored(0).flags.writeable
    np.testing.assert_array_equal(np.load(store.folder / IMAGES, allow_pickle=False), store.images)


@pytest.mark.parametrize("deep", [[0], [4], [1, 2], [0, 1, 2, 3, 4]])
def test_one_image_of_more_than_8_bits_widens_all(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, deep: list[int]
) -> None:
    def change(k: int, array: np.ndarray) -> Image:
        return Image(array.astype(np.uint16) * 200 + 3 if k in deep else array)

    store = pack(shown(manifest, change, monkeypatch), corner, PARTS)
    assert store.images.dtype == np.uint16
    assert store.levels == 65535
    for k in range(5):
        source = np.asarray(Picture.open(manifest.folder / f"image{k}.png"), dtype=np.uint16)[:4, :4]
        np.testing.assert_array_equal(store.images[k, 0], source * 200 + 3 if k in deep else source * 257)
    store.verify()


def test_the_spacing_of_stored_pixels_keeps_the_field_of_view(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(k: int, array: np.ndarray) -> Image:
        return Image(array, spacing_mm=(0.2, 0.4) if k == 0 else None)

    index = pack(shown(manifest, change, monkeypatch), corner, PARTS).index
    np.testing.assert_allclose(index["spacing_mm"].iloc[0], [0.2 * 6 / 4, 0.4 * 9 / 4])
    assert np.isnan(index["spacing_mm"].iloc[1]).all()


def test_an_image_that_crashes_its_decoder_is_left_out_and_named(manifest: Manifest) -> None:
    def prepare(image: Image) -> np.ndarray:
        if "image3" in image.provenance["path"]:
            os.abort()
        return corner(image)

    store = pack(manifest, prepare, PARTS)
    assert store.index["sample_id"].tolist() == ["s0", "s1", "s2", "s4"]
    assert store.left_out == [("s3", "reading it ends the reader (SIGABRT)")]
    store.verify()


def test_the_spacing_of_an_image_that_was_cut_is_that_of_its_part(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(_: int, array: np.ndarray) -> Image:
        return Image(array, spacing_mm=(0.2, 0.4))

    store = pack(
        shown(manifest, change, monkeypatch),
        corner,
        PARTS,
        spacing=lambda image, stored: stretched(image, stored, (4, 8)),
    )
    np.testing.assert_allclose(store.index["spacing_mm"].iloc[0], [0.2 * 4 / 4, 0.4 * 8 / 4])


def test_what_cannot_be_prepared_is_left_out_counted_and_named(manifest: Manifest) -> None:
    (manifest.folder / "image1.png").unlink()
    (manifest.folder / "image3.png").write_bytes(b"not a picture")
    events: list[dict[str, Any]] = []
    store = pack(manifest, corner, PARTS, progress=lambda _, event: events.append(event))
    assert len(store) == 3
    assert store.index["sample_id"].tolist() == ["s0", "s2", "s4"]
    assert [entry.sample_id for entry in store.left_out] == ["s1", "s3"]
    assert store.left_out[0].reason == "The file is not there"  # a store holds no path
    assert events[-1] == {"done": 5, "total": 5, "left_out": 2}
    assert pack(manifest, corner, PARTS).left_out == store.left_out


def test_rows_that_are_not_ok_are_no_part_of_it(tmp_path: Path) -> None:
    manifest = archive(tmp_path, status=["ok", "unreadable", "skipped", "ok", "ok"])
    store = pack(manifest, corner, PARTS)
    assert store.index["sample_id"].tolist() == ["s0", "s3", "s4"]
    assert store.left_out == []


def test_nothing_to_keep_is_an_error_and_leaves_nothing(manifest: Manifest) -> None:
    def refuse(image: Image) -> np.ndarray:
        raise DataError("Expected a plane")

    with pytest.raises(DataError, match=r"None of the 5 images of 'archive'.*Expected a plane"):
        pack(manifest, refuse, PARTS)
    assert [p.suffix for p in (manifest.folder / ".medssl-store").iterdir()] == [".lock"]


def test_the_order_of_the_manifest_changes_nothing(manifest: Manifest) -> None:
    first = pack(manifest, corner, PARTS)
    shuffled = manifest.with_table(manifest.table.sample(frac=1, random_state=1))
    second = pack(shuffled, refuse_to_pack, PARTS)
    assert second.key == first.key
    pd.testing.assert_frame_equal(second.index, first.index)


def refuse_to_pack(image: Image) -> np.ndarray:
    raise AssertionError("packed again")


def test_a_corrected_label_packs_nothing_anew_and_is_seen(manifest: Manifest) -> None:
    first = pack(manifest, corner, PARTS)
    second = pack(manifest.with_table(manifest.table.assign(label="c")), refuse_to_pack, PARTS)
    assert second.folder == first.folder
    assert set(second.index["label"]) == {"c"}


def test_other_preparation_rows_or_files_are_another_store(manifest: Manifest) -> None:
    keys = [pack(manifest, corner, PARTS).key, pack(manifest, corner, {"modality": "other"}).key]
    keys.append(pack(manifest.with_table(manifest.table[:3]), corner, PARTS).key)
    Picture.fromarray(np.zeros((6, 9), np.uint8)).save(manifest.folder / "image0.png")
    store = pack(manifest, corner, PARTS)
    keys.append(store.key)
    assert len(set(keys)) == 4
    assert store.images[0].max() == 0


def test_it_lies_where_it_was_told(
    manifest: Manifest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pack(manifest, corner, PARTS).folder.parent == manifest.folder / ".medssl-store"
    elsewhere, given = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("given")
    monkeypatch.setenv("MEDSSL_CACHE_DIR", str(elsewhere))
    assert pack(manifest, corner, PARTS).folder.parent == elsewhere
    assert pack(manifest, corner, PARTS, cache=given).folder.parent == given


def test_a_place_that_cannot_be_written_names_the_variable(manifest: Manifest) -> None:
    with pytest.raises(StorageError, match="MEDSSL_CACHE_DIR"):
        pack(manifest, corner, PARTS, cache=manifest.folder / "image0.png" / "below")


def test_labels_called_like_our_columns_do_no_harm(tmp_path: Path) -> None:
    manifest = archive(tmp_path, content="theirs", pixel_hash="theirs")
    index = pack(manifest, corner, PARTS).index
    assert "theirs" not in set(index["content"])
    assert set(index["content_in_manifest"]) == {"theirs"}


def _flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_a_flipped_bit_is_found_and_its_sample_named(manifest: Manifest) -> None:
    store = pack(manifest, corner, PARTS)
    _flip(store.folder / IMAGES, -1)
    with pytest.raises(DataError, match="sample s4"):
        pack(manifest, corner, PARTS).verify()


@pytest.mark.parametrize("name", ["store.json", "index.parquet", IMAGES])
def test_a_flipped_bit_in_any_file_is_found(manifest: Manifest, name: str) -> None:
    store = pack(manifest, corner, PARTS)
    _flip(store.folder / name, 20)
    with pytest.raises(DataError):
        store.verify()


@pytest.mark.parametrize("name", ["store.json", "index.parquet", IMAGES, files.MANIFEST])
def test_a_file_cut_off_or_gone_is_refused_at_opening(manifest: Manifest, name: str) -> None:
    file = pack(manifest, corner, PARTS).folder / name
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=str(file.parent)):
        pack(manifest, corner, PARTS)
    file.unlink()
    with pytest.raises(DataError, match=str(file.parent)):
        pack(manifest, corner, PARTS)


@pytest.mark.parametrize("name", ["store.json", "index.parquet", IMAGES])
def test_bytes_too_many_are_refused_at_opening(manifest: Manifest, name: str) -> None:
    file = pack(manifest, corner, PARTS).folder / name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(DataError, match=f"{name} is missing or has another size"):
        pack(manifest, corner, PARTS)


def test_a_disk_that_fills_up_at_any_write_leaves_nothing(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, failing = 0, 0

    class Failing(files._Disk):
        def write(self, handle: Any, data: bytes) -> None:
            nonlocal writes
            writes += 1
            if writes == failing:
                raise OSError(28, "No space left on device")
            super().write(handle, data)

    monkeypatch.setattr(files, "_disk", Failing())
    pack(manifest, corner, PARTS, cache=manifest.folder / "whole")
    total = writes
    for point in range(1, total + 1):
        writes, failing = 0, point
        with pytest.raises(StorageError, match="disk is full"):
            pack(manifest, corner, PARTS, cache=manifest.folder / "torn")
        assert [p.suffix for p in (manifest.folder / "torn").iterdir()] == [".lock"]
    failing = 0
    pack(manifest, corner, PARTS, cache=manifest.folder / "torn").verify()
    assert total >= 8


def test_a_replaced_slice_or_a_file_beside_a_header_packs_anew(tmp_path: Path) -> None:
    manifest = archive(tmp_path, 2, planes=['["image0.png", "slice1.png"]', None])
    (tmp_path / "slice1.png").write_bytes(b"one")
    (tmp_path / "image1.raw").write_bytes(b"one")
    (tmp_path / "image1.png").rename(tmp_path / "image1.mhd")
    table = manifest.table.assign(path=["image0.png", "image1.mhd"])
    keys = [store._key(manifest.with_table(table), PARTS)]
    for name in ("slice1.png", "image1.raw"):
        (tmp_path / name).write_bytes(b"another")
        keys.append(store._key(manifest.with_table(table), PARTS))
    assert len(set(keys)) == 3


def test_what_is_done_before_decides_pixels_and_spacing(manifest: Manifest) -> None:
    found = pack(
        manifest,
        corner,
        PARTS,
        before=lambda image: Image(255 - image.array, spacing_mm=(2.0, 3.0)),
        spacing=lambda image, stored: tuple(image.spacing_mm or ()),
    )
    source = np.asarray(Picture.open(manifest.folder / "image0.png"))
    np.testing.assert_array_equal(found.images[0, 0], 255 - source[:4, :4])
    assert found.index["spacing_mm"].iloc[0].tolist() == [2.0, 3.0]
    assert found.index["pixel_hash"].iloc[0] == Image(source[None]).pixel_hash()


def test_what_a_killed_builder_left_is_removed(manifest: Manifest) -> None:
    store = pack(manifest, corner, PARTS)
    left = store.folder.with_name(f".{store.key}.99999.part")
    left.mkdir()
    (left / IMAGES).write_bytes(b"half")
    store.folder.rename(store.folder.with_name("away"))
    pack(manifest, corner, PARTS)
    assert not left.exists()


_BUILDER = """
import sys
import numpy as np
from pathlib import Path
from medssl.data.manifest import Manifest
from medssl.data.store import pack
store = pack(Manifest.load(Path(sys.argv[1])), lambda image: image.array[:1, :4, :4], {"modality": "test"})
store.verify()
print(store.key, np.asarray(store.images).sum(), len(store))
"""


def test_a_builder_that_is_killed_at_any_time_leaves_nothing_that_is_taken_for_a_store(tmp_path: Path) -> None:
    manifest = archive(tmp_path, 400)
    manifest.save(tmp_path / "manifest.csv")
    command = [sys.executable, "-c", _BUILDER, str(tmp_path / "manifest.csv")]
    place = tmp_path / files.STORES
    killed = 0
    for wait in (0.0, 0.01, 0.05, 0.1):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and not list(place.glob(".*.part")):
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        killed += process.wait() == -9
        assert all((path / files.MANIFEST).is_file() for path in place.glob("[!.]*") if path.is_dir())
    assert killed >= 2
    pack(manifest, corner, PARTS).verify()
    assert not list(place.glob(".*.part"))


def test_two_processes_pack_once_and_agree(tmp_path: Path) -> None:
    manifest = archive(tmp_path, 40)
    manifest.save(tmp_path / "manifest.csv")
    command = [sys.executable, "-c", _BUILDER, str(tmp_path / "manifest.csv")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    store: Store = pack(manifest, refuse_to_pack, PARTS)
    assert said[0].split()[0] == store.key
    assert sorted(p.name for p in store.folder.parent.iterdir()) == [store.key, f"{store.key}.lock"]


def test_repeated_content_is_told_apart_by_the_ids_not_the_order() -> None:
    assert unique_content(["x", "y", "x", "x"], ["c", "d", "a", "b"]) == ["x#2", "y", "x", "x#1"]
    assert unique_content(["x", "x"], ["b", "a"]) == unique_content(["x", "x"], ["a", "b"])[::-1]


def test_a_file_written_over_is_refused_at_opening(manifest: Manifest) -> None:
    store = pack(manifest, corner, PARTS)
    content = (store.folder / IMAGES).read_bytes()
    (store.folder / IMAGES).write_bytes(content[:128] + b"\xff" * (len(content) - 128))
    with pytest.raises(DataError, match=r"sample s\d is not what was packed"):
        pack(manifest, corner, PARTS)


def test_what_preparing_says_is_counted_and_kept(manifest: Manifest) -> None:
    def remarking(image: Image) -> np.ndarray:
        if image.array[0, 0, 0] >= 0:
            image.remarks.extend(["taken with a pinch of salt"] * 2)
        return corner(image)

    told = ("5 images: taken with a pinch of salt",)
    assert pack(manifest, remarking, PARTS).remarks == told
    assert pack(manifest, refuse_to_pack, PARTS).remarks == told
    known = manifest.with_table(manifest.table.assign(remarks="taken with a pinch of salt; and more"))
    assert pack(known, remarking, {**PARTS, "other": 1}).remarks == ()
