"""Asking for parts: the disk gives what a box needs, not the volume around it, and values stay what they are."""

import os
from pathlib import Path

import numpy as np
import pytest

from medssl.data import readahead
from medssl.data.shards import Images, ShardWriter

SHAPE = (1, 64, 256, 384)  # 12.6 MB an image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path) as shards:
        for k in range(2):
            shards.append(np.random.default_rng(k).integers(0, 65535, SHAPE, dtype=np.uint16))
    os.sync()
    return tmp_path


def forgotten(folder: Path) -> Images:
    """Open the images after the system was told to forget them."""
    for path in folder.glob("*.npy"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
    return Images.open(folder)


def from_disk() -> int:
    return int(next(line for line in Path("/proc/self/io").read_text().splitlines() if "read_bytes" in line).split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read from disks")
def test_the_disk_gives_a_box_without_the_rest(folder: Path) -> None:
    images = forgotten(folder)
    before = from_disk()
    box = images.boxes(np.array([1]), np.array([[10, 100, 200]]), (32, 64, 64))
    runs = 32 * (64 * 384 * 2 + 2 * 4096)
    assert from_disk() - before <= runs
    np.testing.assert_array_equal(box[0], np.load(folder / "images-00000.npy")[1, :, 10:42, 100:164, 200:264])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read from disks")
def test_the_disk_gives_slices_without_the_rest(folder: Path) -> None:
    images = forgotten(folder)
    before = from_disk()
    some = np.array(images[0, 0, 20:22])
    assert from_disk() - before <= some.nbytes + 2 * 4096
    np.testing.assert_array_equal(some, np.load(folder / "images-00000.npy")[0, 0, 20:22])


def test_nothing_is_asked_for_that_is_in_memory_small_or_not_mapped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = Images.open(folder).shards[0]
    box = mapped[1][:, 3:40, 5:90, 7:70]
    np.array(mapped).sum()
    assert not readahead.ask(mapped, box)
    monkeypatch.setattr(readahead, "_in_memory", lambda *_: False)
    assert readahead.ask(mapped, box)
    assert readahead.ask(mapped, mapped[0])
    assert not readahead.ask(mapped, mapped[0, :, 3:4, 5:9])
    assert not readahead.ask(np.zeros(SHAPE), np.zeros(SHAPE)[:, 3:40])
