"""The loader: batches as a function of (seed, step), whatever the workers, ranks, order and interruptions."""

import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.batch import Batch
from medssl.data.loader import Loader, epoch_order
from medssl.data.store import Store
from medssl.errors import DataError, SettingsError


def held(count: int, order: Iterable[int] | None = None) -> Store:
    """Return a store in memory whose image k is filled with k, its rows in the given order."""
    places = list(range(count) if order is None else order)
    images = np.stack([np.full((1, 4, 4), place, np.uint8) for place in places])
    index = pd.DataFrame(
        {
            "sample_id": [f"s{place}" for place in places],
            "patient_id": [None if place == 0 else f"p{place // 2}" for place in places],
            "content": [f"hash{place}" for place in places],
            "spacing_mm": [[0.1 * place, float("nan")] for place in places],
        }
    )
    return Store(Path("nowhere"), "key", images, index, [])


def ids(batches: Iterable[Batch]) -> list[list[str]]:
    return [batch.sample_id for batch in batches]


def test_every_epoch_is_another_order_of_everything() -> None:
    content = [f"hash{k}" for k in range(50)]
    orders = [epoch_order(content, 0, epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert len({tuple(order) for order in orders}) == 3
    assert tuple(epoch_order(content, 1, 0)) != tuple(orders[0])
    np.testing.assert_array_equal(epoch_order(content, 0, 0), orders[0])


def test_every_place_is_equally_likely() -> None:
    first = np.array([epoch_order(["a", "b", "c", "d"], 0, epoch)[0] for epoch in range(2000)])
    counts = np.bincount(first, minlength=4)
    assert (abs(counts - 500) < 100).all(), counts


def test_the_order_of_the_manifest_does_not_matter() -> None:
    shuffled = [3, 7, 0, 5, 1, 2, 8, 6, 4]
    first = Loader(held(9), np.arange(9), 4, seed=3)
    second = Loader(held(9, shuffled), np.arange(9), 4, seed=3)
    assert ids(first.iterate(0, 8)) == ids(second.iterate(0, 8))


def test_batches_carry_what_belongs_together() -> None:
    labels = np.arange(9) * 10.0
    labels[4] = np.nan
    batch = Loader(held(9), np.arange(9), 9, seed=0, labels=labels).batch(0)
    numbers = [int(name[1:]) for name in batch.sample_id]
    assert sorted(numbers) == list(range(9))
    assert batch.image[:, 0, 0, 0].tolist() == numbers
    assert batch.content == [f"hash{k}" for k in numbers]
    assert batch.patient_id == [None if k == 0 else f"p{k // 2}" for k in numbers]
    assert batch.label is not None
    assert batch.spacing_mm is not None
    np.testing.assert_array_equal(batch.label, labels[numbers])
    np.testing.assert_allclose(batch.spacing_mm[:, 0], 0.1 * np.array(numbers))
    assert bool(torch.isnan(batch.spacing_mm[:, 1]).all())
    assert Loader(held(9), np.arange(9), 9, seed=0).batch(0).label is None


def test_only_the_rows_asked_for_are_seen() -> None:
    chosen = np.array([False, True, False, True, True])
    for rows in (chosen, np.flatnonzero(chosen)):
        assert sorted(Loader(held(5), rows, 3, seed=0).batch(0).sample_id) == ["s1", "s3", "s4"]


def test_a_rest_of_one_is_left_out_and_is_another_one_in_every_epoch() -> None:
    loader = Loader(held(9), np.arange(9), 4, seed=0)
    assert loader.steps_per_epoch == 2
    batches = ids(loader.iterate(0, 2 * 20))
    assert {len(batch) for batch in batches} == {4}
    left = [set(range(9)) - {int(name[1:]) for name in batches[k] + batches[k + 1]} for k in range(0, 40, 2)]
    assert {len(rest) for rest in left} == {1}
    assert len(set.union(*left)) > 4


def test_fewer_images_than_a_batch_are_one_step() -> None:
    loader = Loader(held(3), np.arange(3), 8, seed=0)
    assert loader.steps_per_epoch == 1
    assert [sorted(batch) for batch in ids(loader.iterate(0, 3))] == [["s0", "s1", "s2"]] * 3


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("world", [1, 2])
def test_stopped_in_an_epoch_and_resumed_it_goes_on_alike(workers: int, world: int) -> None:
    def loader(workers: int, rank: int) -> Loader:
        return Loader(held(23), np.arange(23), 4, 0, rank, world, workers)

    for rank in range(world):
        steps = 3 * loader(0, rank).steps_per_epoch
        whole = ids(loader(0, rank).iterate(0, steps))
        parts = ids(loader(workers, rank).iterate(0, 8)) + ids(loader(workers, rank).iterate(8, steps))
        assert parts == whole


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batch_of_one_process(world: int) -> None:
    alone = ids(Loader(held(23), np.arange(23), 8, 0).iterate(0, 6))
    ranks = [ids(Loader(held(23), np.arange(23), 8, 0, rank, world).iterate(0, 6)) for rank in range(world)]
    assert [[name for part in parts for name in part] for parts in zip(*ranks)] == alone


def test_fewer_images_than_a_batch_are_shared_evenly() -> None:
    loaders = [Loader(held(5), np.arange(5), 8, 0, rank, 2) for rank in range(2)]
    assert [loader.batch_size for loader in loaders] == [4, 4]
    first, second = (loader.batch(0).sample_id for loader in loaders)
    assert len(first) == len(second) == 2
    assert not set(first) & set(second)


def test_what_cannot_be_shared_is_refused_before_training() -> None:
    with pytest.raises(DataError, match="no image"):
        Loader(held(3), np.zeros(3, bool), 8, 0)
    with pytest.raises(DataError, match="1 images for 2 processes"):
        Loader(held(3), np.array([1]), 8, 0, 0, 2)
    with pytest.raises(SettingsError, match=r"batch of 6 .* 4 processes"):
        Loader(held(9), np.arange(9), 6, 0, 0, 4)
    with pytest.raises(SettingsError, match="batch of 0"):
        Loader(held(9), np.arange(9), 0, 0)


def test_closing_ends_the_threads() -> None:
    batches = Loader(held(9), np.arange(9), 2, 0, workers=2).iterate(0, 1000)
    next(batches)
    assert any(thread.name.startswith("medssl-loader") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("medssl-loader") for thread in threading.enumerate())


def test_it_reads_a_few_batches_ahead_and_no_more() -> None:
    loader = Loader(held(9), np.arange(9), 1, 0, workers=2)
    read: list[int] = []
    real = loader.batch
    loader.batch = lambda step: (read.append(step), real(step))[1]  # type: ignore[method-assign]
    batches = loader.iterate(0, 1000)
    for _ in range(10):
        next(batches)
    limit = time.monotonic() + 10
    while len(read) < 14 and time.monotonic() < limit:  # two a thread are asked for ahead
        time.sleep(0.01)
    batches.close()
    assert 10 < len(read) <= 16


def test_an_error_while_reading_reaches_the_caller() -> None:
    store = held(9)
    images = store.images
    store = Store(store.folder, store.key, images[:2], store.index, [])
    with pytest.raises(IndexError):
        list(Loader(store, np.arange(9), 4, 0, workers=1).iterate(0, 2))
