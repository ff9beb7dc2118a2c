"""The look of an image: equal to another program's hash, and the same for every turn as for the turned image."""

import numpy as np
import pytest
from PIL import Image

from medssl.data.look import TURNS, look

TURNED = {
    "as it is": lambda a: a,
    "flipped left-right": np.fliplr,
    "flipped up-down": np.flipud,
    "turned by 180 degrees": lambda a: np.rot90(a, 2),
    "transposed": np.transpose,
    "turned by 90 degrees": lambda a: np.rot90(a, 1),
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
    "transposed the other way": lambda a: np.rot90(a, 2).T,
}


def scene(seed: int, shape: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A few soft blobs, unlike in every direction."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y / shape[0], x / shape[1]
    total = np.zeros(shape)
    for _ in range(12):
        cy, cx, width = random.uniform(0, 1, 3)
        total += random.uniform(-1, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (0.02 + 0.05 * width))
    return np.rint(255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(20))
def test_the_hash_is_that_of_another_program(seed):
    imagehash = pytest.importorskip("imagehash")
    small = np.random.default_rng(seed).integers(0, 256, (32, 32)).astype(np.uint8)
    small[0, 0], small[-1, -1] = 0, 255  # the whole range, so that ours does not stretch it
    theirs = int(str(imagehash.phash(Image.fromarray(small))), 16)
    assert int(look(small[None]).bits[0]) == theirs


@pytest.mark.parametrize("name", list(TURNS))
def test_each_turn_of_an_image_is_what_its_turn_says(name):
    for seed in range(10):
        image = scene(seed)
        itself, turned = look(image[None]), look(TURNED[name](image)[None])
        assert int(itself.bits[list(TURNS).index(name)]).__xor__(int(turned.bits[0])).bit_count() <= 2
        product = (TURNS[name](itself.vector.astype(float)) * turned.vector.astype(float)).sum()
        assert product > 0.999
        if name != "as it is":
            assert (itself.vector.astype(float) * turned.vector.astype(float)).sum() < 0.9


def test_range_offset_and_size_do_not_matter():
    image = scene(3)
    seen = look(image[None])
    for other in (image * 4.0 - 1024, image.astype(np.uint16) * 257, np.kron(image, np.ones((2, 3)))):
        again = look(np.asarray(other)[None])
        assert int(seen.bits[0] ^ again.bits[0]).bit_count() <= 2
        assert (seen.vector.astype(float) * again.vector.astype(float)).sum() > 0.998


def test_a_volume_is_seen_in_its_middle_whichever_way_its_slices_run():
    volume = np.stack([scene(seed) for seed in range(20)])[None]
    forth, back = look(volume), look(volume[:, ::-1])
    assert np.array_equal(forth.bits, back.bits)
    assert np.array_equal(forth.vector, back.vector)
    middle = look(volume[:, 9:11].mean(axis=1))
    assert np.array_equal(forth.bits, middle.bits)
    for slices in (1, 2, 3):
        assert look(volume[:, :slices]) is not None


def test_colour_is_averaged_and_an_image_without_structure_has_no_look():
    image = scene(5)
    assert np.array_equal(look(np.stack([image] * 3)).bits, look(image[None]).bits)
    for blank in (np.zeros((1, 40, 40), np.uint8), np.full((3, 40, 40), 7.0), np.full((1, 8, 8), np.nan)):
        assert look(blank) is None
