"""Shards: many files that read as one array, parts of it without the rest, and the smallest type of each."""

import re
from pathlib import Path

import numpy as np
import pytest

from medssl.data.shards import Images, ShardWriter

SHAPE = (1, 6, 7, 8)


def written(folder: Path, images: list[np.ndarray], most: int | None = None) -> Images:
    with ShardWriter(folder, most) as shards:
        for image in images:
            shards.append(image)
    return Images.open(folder)


def numbers(count: int, dtype: type = np.uint16, shape: tuple[int, ...] = SHAPE) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype) for _ in range(count)]


@pytest.fixture
def three(tmp_path: Path) -> tuple[Images, np.ndarray]:
    """Return seven images in three shards of up to three, and the same as one array."""
    images = numbers(7)
    return written(tmp_path, images, most=128 + 3 * images[0].nbytes), np.stack(images)


def test_a_shard_is_full_when_the_next_image_would_not_fit(three: tuple[Images, np.ndarray]) -> None:
    images, _ = three
    assert [len(shard) for shard in images.shards] == [3, 3, 1]
    assert len(images) == 7
    assert images.shape == (7, *SHAPE)
    assert images.ndim == 5


@pytest.mark.parametrize(
    "key",
    [
        *(0, 6, -1, np.int64(3), [5, 0, 5], np.array([2, 3]), slice(2, 5), np.arange(7) % 2 == 0, (4, 0), (5, 0, 2)),
        (2, slice(None), slice(1, 3)),
        (-1, 0, slice(None), slice(2, 6), slice(0, 8, 2)),
    ],
)
def test_it_is_indexed_as_one_array(three: tuple[Images, np.ndarray], key: object) -> None:
    images, whole = three
    np.testing.assert_array_equal(images[key], whole[key])  # type: ignore[index]


def test_images_beyond_the_last_are_refused(three: tuple[Images, np.ndarray]) -> None:
    for row in (7, -8):
        with pytest.raises(IndexError):
            three[0][row]


def test_all_of_it_can_be_had_or_gone_through(three: tuple[Images, np.ndarray]) -> None:
    images, whole = three
    np.testing.assert_array_equal(np.asarray(images), whole)
    np.testing.assert_array_equal(np.stack(list(images)), whole)


@pytest.mark.parametrize("deep", [[0], [4], [6], [1, 2], []])
def test_each_shard_has_the_smallest_type_and_all_read_alike(tmp_path: Path, deep: list[int]) -> None:
    narrow, wide = numbers(7, np.uint8), numbers(7)
    images = written(tmp_path, [(wide if k in deep else narrow)[k] for k in range(7)], most=128 + 3 * narrow[0].nbytes)
    if deep == [6]:
        assert [shard.dtype for shard in images.shards] == [np.uint8, np.uint8, np.uint16]
    expected = np.stack([wide[k] if k in deep else narrow[k] * np.uint16(257 if deep else 1) for k in range(7)])
    assert images.dtype == (np.uint16 if deep else np.uint8)
    np.testing.assert_array_equal(np.asarray(images), expected)
    boxes = images.boxes(np.arange(7), np.zeros((7, 3), int), (2, 3, 4))
    assert boxes.dtype == images.dtype
    np.testing.assert_array_equal(boxes, expected[:, :, :2, :3, :4])


def test_boxes_are_parts_of_the_images_named(three: tuple[Images, np.ndarray]) -> None:
    images, whole = three
    rows, corners = np.array([6, 0, 3, 3]), np.array([[0, 0, 0], [3, 4, 2], [1, 2, 3], [3, 0, 4]])
    boxes = images.boxes(rows, corners, (3, 3, 4))
    for box, row, (a, b, c) in zip(boxes, rows, corners):
        np.testing.assert_array_equal(box, whole[row, :, a : a + 3, b : b + 3, c : c + 4])


@pytest.mark.parametrize("corner", [[4, 0, 0], [-1, 0, 0], [0, 0, 5]])
def test_a_box_that_leaves_its_image_is_refused(three: tuple[Images, np.ndarray], corner: list[int]) -> None:
    with pytest.raises(IndexError, match="leaves an image"):
        three[0].boxes(np.array([1]), np.array([corner]), (3, 3, 4))


@pytest.mark.parametrize("wrong", [np.zeros((1, 6, 7, 9), np.uint8), np.zeros(SHAPE, np.float32)])
def test_images_that_are_not_alike_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    for most in (10**9, 1):
        with pytest.raises(TypeError):
            written(tmp_path, [np.zeros(SHAPE, np.uint8), wrong], most)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images"):
        Images.open(tmp_path)


def touched(path: Path) -> int:
    """Return the bytes of a mapped file that this process has had to look at."""
    maps = Path("/proc/self/smaps").read_text()
    entries = re.findall(rf"{re.escape(str(path))}\n(?:(?!VmFlags).*\n)*?Rss:\s+(\d+) kB", maps)
    assert entries
    return sum(map(int, entries)) * 1024


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell which pages were touched")
def test_a_part_is_read_without_the_rest(tmp_path: Path) -> None:
    shape, mapped = (1, 128, 256, 256), 2 * 2**21  # 16 MiB an image; a fault may map huge pages that are in memory
    for name in ("slice", "box"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, [np.full(shape, k, np.uint16) for k in range(2)])
    images = Images.open(tmp_path / "slice")
    before = touched(tmp_path / "slice" / "images-00000.npy")
    np.asarray(images[1, 0, 60]).sum()
    assert touched(tmp_path / "slice" / "images-00000.npy") - before <= 2 * 256 * 256 + mapped
    images = Images.open(tmp_path / "box")
    before = touched(tmp_path / "box" / "images-00000.npy")
    images.boxes(np.array([1]), np.array([[40, 100, 100]]), (32, 32, 32))
    assert touched(tmp_path / "box" / "images-00000.npy") - before <= 32 * 2 * 256 * 256 + mapped
