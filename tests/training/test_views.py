"""Views: f(seed, epoch, content, view), replayable, aligned with masks, the same however the work is cut."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.batch import Batch
from medssl.data.loader import Loader
from medssl.data.packing import occupied
from medssl.data.store import Store, unique_content
from medssl.methods.parts.wish import ViewWish
from medssl.modalities import ct, cxr, oct
from medssl.modalities.parts.modality import ViewRecipe
from medssl.training import views
from medssl.training.views import apply_to_masks, apply_views, make_views, plain_view, sample_views

TWO_STRONG = [ViewWish(2, "strong", None)]


def held(
    count: int, hashes: list[str] | None = None, size: int = 24, dtype: type = np.uint8, channels: int = 1
) -> Store:
    """Return a store in memory of images that differ, or of one image again and again."""
    random = np.random.default_rng(0)
    images = random.integers(0, np.iinfo(dtype).max, (count, channels, size, size)).astype(dtype)
    if hashes:
        images[:] = images[:1]
    ids = [f"s{k:02d}" for k in range(count)]
    index = pd.DataFrame({"sample_id": ids, "patient_id": ids, "spacing_mm": [[np.nan, np.nan]] * count})
    index["content"] = unique_content(hashes or [f"hash{k}" for k in range(count)], ids)
    return Store(Path("nowhere"), "key", images, index, [])


def batch(count: int = 6, **values: object) -> Batch:
    return Loader(held(count, **values), np.arange(count), count, seed=0).batch(0)  # type: ignore[arg-type]


def test_the_wish_is_granted_in_order() -> None:
    wish = [ViewWish(2, "strong", None), ViewWish(1, "weak", 16)]
    made = make_views(batch(), wish, oct.MODALITY, seed=0, epoch=0)
    assert [tuple(view.shape) for view in made] == [(6, 1, 24, 24), (6, 1, 24, 24), (6, 1, 16, 16)]
    for view in made:
        assert view.dtype == torch.float32
        torch.testing.assert_close(view.flatten(1).mean(1), torch.zeros(6), atol=1e-5, rtol=0)
        torch.testing.assert_close(view.flatten(1).std(1, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("name", list(ViewRecipe.model_fields))
def test_every_operation_of_a_recipe_is_drawn_and_applied(name: str) -> None:
    active = {
        "geometry": {"rotation_degrees": 20},
        "bias": {"probability": 1, "strength": [0.2, 0.3]},
        "ghosting": {"probability": 1, "strength": [0.4, 0.5]},
        "window": {"probability": 1, "windows": [[0.2, 0.5]]},
        "equalise": {"probability": 1},
        "tone": {"gamma": [0.5, 0.6]},
        "stain": {"probability": 1, "ratio": 0.5},
        "colour": {"saturation": [0.1, 0.2]},
        "depth_gain": {"probability": 1, "slope": 2},
        "blur": {"probability": 1, "sigma": [10, 20]},
        "speckle": {"probability": 1, "strength": [0.1, 0.2]},
        "noise": {"probability": 1, "strength": [0.1, 0.2]},
    }
    nothing = {"weak": {"geometry": {"crop_area": [1, 1], "crop_aspect": [1, 1]}}}
    modality = cxr.MODALITY.with_augment(nothing)
    seen, wish = batch(channels=3), [ViewWish(1, "weak", None)]
    plain = plain_view(seen, modality)
    assert torch.equal(make_views(seen, wish, modality, 0, 0)[0], plain)
    changed = make_views(seen, wish, modality.with_augment({name: active[name]}), 0, 0)[0]
    assert bool((changed != plain).flatten(1).any(1).all())


def test_logged_parameters_make_the_same_views_again_bit_for_bit() -> None:
    seen = batch()
    wish = [ViewWish(1, "strong", None), ViewWish(1, "weak", 16)]
    made = make_views(seen, wish, oct.MODALITY, seed=1, epoch=2)
    kept = [
        {
            name: {key: torch.tensor(value.tolist(), dtype=torch.float64) for key, value in drawn.items()}
            if isinstance(drawn, dict)
            else drawn
            for name, drawn in view.items()
        }
        for view in sample_views(seen, wish, oct.MODALITY, seed=1, epoch=2)
    ]
    for first, again in zip(made, apply_views(seen.image, kept)):
        assert torch.equal(first, again)


@pytest.mark.parametrize("pixels", [1, 24 * 24 * 4, 2**20])
def test_a_view_does_not_depend_on_its_batch_nor_on_the_pieces(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = batch()
    whole = make_views(seen, TWO_STRONG, oct.MODALITY, 0, 0)
    monkeypatch.setattr(views, "_CACHED_PIXELS", pixels)
    for k in range(6):
        alone = Batch(seen.image[k : k + 1], seen.sample_id[k : k + 1], [None], seen.content[k : k + 1])
        for one, all_ in zip(make_views(alone, TWO_STRONG, oct.MODALITY, 0, 0), whole):
            assert torch.equal(one[0], all_[k])
    for first, second in zip(make_views(seen, TWO_STRONG, oct.MODALITY, 0, 0), whole):
        assert torch.equal(first, second)


def test_seed_epoch_view_and_content_each_change_them() -> None:
    seen = batch(2, hashes=["same", "same"])
    first, second = make_views(seen, TWO_STRONG, oct.MODALITY, 0, 0)
    others = [
        second,
        make_views(seen, TWO_STRONG, oct.MODALITY, 1, 0)[0],
        make_views(seen, TWO_STRONG, oct.MODALITY, 0, 1)[0],
        first.flip(0),
    ]
    for other in others:
        assert not torch.equal(first, other)


def test_the_same_image_64_times_is_64_views_and_64_others_in_the_next_epoch() -> None:
    def drawn(epoch: int, workers: int) -> dict[str, str]:
        loader = Loader(held(64, hashes=["one"] * 64), np.arange(64), 16, seed=0, workers=workers)
        result = {}
        for seen in loader.iterate(4 * epoch, 4 * epoch + 4):
            made = make_views(seen, [ViewWish(1, "strong", None)], oct.MODALITY, 0, loader.epoch_of(4 * epoch))
            result.update({name: _hash(view) for name, view in zip(seen.sample_id, made[0])})
        return result

    first, second = drawn(0, 0), drawn(1, 0)
    assert len(first) == 64
    assert len(set(first.values()) | set(second.values())) == 128
    for workers in (2, 4):
        assert drawn(0, workers) == first
        assert drawn(1, workers) == second


def log(start: int, stop: int, workers: int = 0, rank: int = 0, world: int = 1) -> list[tuple[str, ...]]:
    """Return id and view hashes of every image in those steps of 23 images in batches of 4."""
    loader = Loader(held(23), np.arange(23), 4, 0, rank, world, workers)
    entries: list[tuple[str, ...]] = []
    for step, seen in enumerate(loader.iterate(start, stop), start):
        made = make_views(seen, TWO_STRONG, cxr.MODALITY, 0, loader.epoch_of(step))
        entries += [(name, _hash(a), _hash(b)) for name, a, b in zip(seen.sample_id, *made)]
    return entries


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_interrupted_in_an_epoch_ids_and_views_go_on_alike(workers: int, world: int) -> None:
    for rank in range(world):
        whole = log(0, 15, 0, rank, world)
        assert log(0, 8, workers, rank, world) + log(8, 15, workers, rank, world) == whole


def test_two_ranks_see_together_what_one_process_sees() -> None:
    alone = log(0, 15)
    assert sorted(log(0, 15, rank=0, world=2) + log(0, 15, rank=1, world=2)) == sorted(alone)
    assert len({hashed for entry in alone for hashed in entry[1:]}) == 2 * 15 * 4


def _hash(view: torch.Tensor) -> str:
    return hashlib.blake2b(view.numpy().tobytes(), digest_size=8).hexdigest()


def test_masks_go_where_the_images_go() -> None:
    seen = batch(4, size=96)
    ramp = torch.linspace(0, 1, 96)
    smooth = (0.6 * ramp[:, None] + 0.4 * ramp**2).expand(4, 1, 96, 96)
    masks = (smooth > 0.5).to(torch.int64)
    modality = oct.MODALITY.with_augment({"tone": {"probability": 0}, "blur": {"probability": 0}})
    drawn = sample_views(seen, [ViewWish(1, "strong", 48)], modality, 0, 0)[0]
    warped = apply_to_masks(masks, drawn)
    assert warped.dtype == torch.int64
    assert warped.shape == (4, 1, 48, 48)
    expected = views.geometry.apply(smooth, drawn["geometry"], size=(48, 48)) > 0.5
    assert float((warped.bool() == expected).float().mean()) > 0.98


def test_16_bits_and_8_bits_of_the_same_image_give_the_same_view() -> None:
    narrow = batch()
    wide = Batch((narrow.image.to(torch.int32) * 257).to(torch.uint16), *[narrow.sample_id] * 2, narrow.content)
    for a, b in zip(
        make_views(narrow, TWO_STRONG, oct.MODALITY, 0, 0), make_views(wide, TWO_STRONG, oct.MODALITY, 0, 0)
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_a_plain_view_is_the_standardised_image() -> None:
    seen = batch()
    pixels = seen.image.double().flatten(1)
    expected = (pixels - pixels.mean(1, keepdim=True)) / pixels.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(plain_view(seen, oct.MODALITY).flatten(1).double(), expected, atol=1e-5, rtol=0)
    assert plain_view(seen, oct.MODALITY, size=12).shape == (6, 1, 12, 12)


def test_the_stored_images_are_not_changed() -> None:
    seen = batch()
    before = seen.image.clone()
    make_views(seen, TWO_STRONG, oct.MODALITY, 0, 0)
    assert torch.equal(seen.image, before)


def test_volumes_are_viewed_by_the_same_code() -> None:
    volumes = torch.randint(0, 255, (2, 1, 12, 14, 16), dtype=torch.uint8)
    seen = Batch(volumes, ["a", "b"], [None, None], ["x", "y"])
    modality = cxr.MODALITY.with_augment({"geometry": {"elastic": 0.02}})
    made = make_views(seen, [ViewWish(1, "strong", size) for size in (None, 8, (4, 8, 6))], modality, 0, 0)
    assert [tuple(view.shape) for view in made] == [(2, 1, 12, 14, 16), (2, 1, 8, 8, 8), (2, 1, 4, 8, 6)]


def test_crops_of_a_volume_with_few_slices_show_them_and_nothing_else_changes() -> None:
    volumes = torch.zeros(64, 1, 24, 24, 24, dtype=torch.uint8)
    volumes[:, :, 4:9, 2:22, 2:22] = 200
    names = [f"v{k}" for k in range(64)]
    ends = np.array([occupied(one.numpy()) for one in volumes]).reshape(64, 3, 2)
    np.testing.assert_allclose(
        ends[0], [[4 / 12 - 1, 9 / 12 - 1], [2 / 12 - 1, 22 / 12 - 1], [2 / 12 - 1, 22 / 12 - 1]]
    )
    crops = {"geometry": {"crop_area": [0.02, 0.3], "rotation_degrees": 0}}
    modality = ct.MODALITY.with_augment(crops)
    whole = Batch(volumes, names, [None] * 64, names)
    inside = Batch(volumes, names, [None] * 64, names, occupied=torch.from_numpy(ends))
    drawn = [sample_views(batch, [ViewWish(1, "strong", None)], modality, 0, 0)[0] for batch in (whole, inside)]
    shown = [
        views.geometry.apply(views.intensities(volumes), one["geometry"]).gt(0.3).float().mean(dim=(1, 2, 3, 4))
        for one in drawn
    ]
    assert float(shown[0].min()) == 0
    assert float(shown[1].min()) > 0.2
    geometries = [one["geometry"] for one in drawn]
    low, high = geometries[1]["center"] - geometries[1]["extent"], geometries[1]["center"] + geometries[1]["extent"]
    longer = geometries[1]["extent"] * 2 > torch.from_numpy(ends[..., 1] - ends[..., 0])
    first, last = torch.from_numpy(ends).unbind(-1)
    assert bool(((low >= first - 1e-9) & (high <= last + 1e-9))[~longer].all())
    assert bool(((low <= first + 1e-9) & (high >= last - 1e-9))[longer].all())
    assert float(low.min()) >= -1 - 1e-9
    assert float(high.max()) <= 1 + 1e-9
    for name in ("extent", "zoom", "flip", "rotation_degrees"):
        assert torch.equal(geometries[0][name], geometries[1][name])


def test_a_whole_image_is_drawn_as_before_bit_by_bit() -> None:
    seen = batch()
    plain = make_views(seen, TWO_STRONG, oct.MODALITY, 0, 0)
    seen.occupied = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64).expand(6, 2, 2)
    for a, b in zip(make_views(seen, TWO_STRONG, oct.MODALITY, 0, 0), plain):
        assert torch.equal(a, b)


def test_the_loader_tells_what_is_occupied_from_the_store() -> None:
    store = held(4)
    assert Loader(store, np.arange(4), 4, seed=0).batch(0).occupied is None
    store.index["occupied"] = [[-1.0, 1.0, -1.0, 1.0]] * 4
    assert Loader(store, np.arange(4), 4, seed=0).batch(0).occupied is None
    store.index["occupied"] = [[-0.1 * k, 1.0, -1.0, 0.2] for k in range(4)]
    seen = Loader(store, np.arange(4), 4, seed=0).batch(0)
    for name, ends in zip(seen.sample_id, seen.occupied):
        assert ends.tolist() == [[-0.1 * int(name[1:]), 1.0], [-1.0, 0.2]]


def test_every_other_view_is_of_the_partner_and_all_are_drawn_from_the_image_itself() -> None:
    seen = batch()
    order = [1, 0, 3, 2, 4, 5]
    other = dataclasses.replace(seen, image=seen.image[order], content=[seen.content[k] for k in order])
    paired = dataclasses.replace(seen, partner=other)
    wish = [ViewWish(2, "strong", None), ViewWish(2, "strong", 16)]
    own, mixed = (make_views(one, wish, oct.MODALITY, 0, 0) for one in (seen, paired))
    drawn = sample_views(seen, wish, oct.MODALITY, 0, 0)
    of_partner = apply_views(other.image, drawn)
    for number, (alone, both, partner) in enumerate(zip(own, mixed, of_partner, strict=True)):
        assert torch.equal(both, partner if number % 2 else alone)
        assert torch.equal(alone[4:], both[4:])  # these pair with themselves
        assert torch.equal(alone, both) == (number % 2 == 0)


def test_crops_of_a_partner_stay_where_the_partner_is_occupied() -> None:
    seen = batch()
    left, right = (torch.tensor([[[-1.0, 1.0], ends]] * 6) for ends in ([-1.0, 0.0], [0.0, 1.0]))
    paired = dataclasses.replace(seen, occupied=left, partner=dataclasses.replace(seen, occupied=right))
    swapped = dataclasses.replace(paired.partner, partner=dataclasses.replace(seen, occupied=left))
    first, second = (sample_views(one, TWO_STRONG, oct.MODALITY, 0, 0) for one in (paired, swapped))
    alone = sample_views(dataclasses.replace(seen, occupied=right), TWO_STRONG, oct.MODALITY, 0, 0)
    for name, value in alone[1]["geometry"].items():
        assert torch.equal(first[1]["geometry"][name], value)
    assert any(
        not torch.equal(first[1]["geometry"][name], second[1]["geometry"][name]) for name in first[1]["geometry"]
    )
