"""Batches as a function of the step: nothing is remembered, so nothing can be lost by an interruption.

The order of an epoch is f(seed, epoch, content hash): images are sorted by a number drawn for each from these. It
does not depend on the order of the manifest, on threads, or on ranks, which share each batch contiguously. What is
left at the end of an epoch, fewer images than a batch, is left out; they are others in every epoch.
"""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from medssl.batch import Batch
from medssl.chance import Chance, key
from medssl.data.partners import Partners
from medssl.data.store import Store
from medssl.errors import DataError, SettingsError

_AHEAD = 2  # batches each thread may be ahead


def epoch_order(content: list[str], seed: int, epoch: int) -> np.ndarray:
    """Return places in `content`, in the order of an epoch, (N,) integers.

    Args:
        content: Content hashes, no two alike.
        seed: The run's seed.
        epoch: From 0.
    """
    return _order(np.array([key(one) for one in content], dtype=np.uint64), seed, epoch)


def _order(keys: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    numbers = Chance(keys).spawn(key(seed, epoch, "order")).uniform()
    return np.lexsort((keys, numbers))


class Loader:
    """Batches of some images of a store.

    Attributes:
        steps_per_epoch: At least one; each is a whole batch.
        batch_size: Images a step over all ranks: what was asked for, or as many as there are, shared evenly.

    Example:
        for batch in Loader(store, rows, batch_size=64, seed=0).iterate(0, 100):
            views = make_views(batch, ...)
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        *,
        labels: np.ndarray | None = None,
        partners: Partners | None = None,
    ) -> None:
        """Say which images and how many at a time.

        Args:
            store: The images.
            rows: Places in the store, (N,) integers, or a boolean for each of its images.
            batch_size: Images a step over all ranks together.
            seed: The run's seed.
            rank: Which process this is, from 0.
            world: How many processes there are.
            workers: Threads that read ahead; 0 reads in the caller's. They change the speed only.
            labels: A label for each image of the store, NaN where unknown, or None.
            partners: Who may be whose positive among the store's images; None where views are of one image.

        Raises:
            DataError: There is no image, or fewer than processes.
            SettingsError: The batch cannot be shared evenly by the processes.
        """
        self.rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=np.int64)
        self.batch_size = _batch_size(len(self.rows), batch_size, world)
        self.steps_per_epoch = len(self.rows) // self.batch_size
        self.store, self.seed, self.rank, self.world, self.workers = store, seed, rank, world, workers
        self._labels, self.partners = labels, partners
        self._index = store.index[["sample_id", "content", "spacing_mm"]]
        self._occupied = _occupied(store)
        patients = store.index["patient_id"]
        self._patients = patients.astype(object).where(patients.notna(), None)
        self._keys = np.array([key(one) for one in self._index["content"].iloc[self.rows]], dtype=np.uint64)
        self._last: tuple[int, np.ndarray] = (-1, self.rows)

    def epoch_of(self, step: int) -> int:
        """Return the epoch that a step belongs to, both from 0."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """Return this rank's part of the batch of a step, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.steps_per_epoch)
        share = self.batch_size // self.world
        start = place * self.batch_size + self.rank * share
        rows = self._ordered(epoch)[start : start + share]
        return self.with_partners(self._read(rows), rows, epoch)

    def with_partners(self, batch: Batch, rows: np.ndarray, epoch: int) -> Batch:
        """Return the batch with the partners that its images, at those places of the store, have in an epoch."""
        if self.partners is None:
            return batch
        partners = self.partners.of(rows, batch.content, self.seed, epoch)
        return replace(batch, partner=self._read(partners), kin=torch.from_numpy(self.partners.kin[rows]))

    def iterate(self, start: int, stop: int) -> Generator[Batch]:
        """Yield the batches of steps start to stop - 1, read ahead by threads; closing it ends them."""
        if self.workers == 0:
            yield from (self.batch(step) for step in range(start, stop))
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="medssl-loader")
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(start, stop):
                waiting.append(pool.submit(self.batch, step))
                if len(waiting) > _AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ordered(self, epoch: int) -> np.ndarray:
        known, order = self._last
        if known != epoch:
            order = self.rows[_order(self._keys, self.seed, epoch)]
            self._last = (epoch, order)
        return order

    def _read(self, rows: np.ndarray) -> Batch:
        about = self._index.iloc[rows]
        return Batch(
            image=torch.from_numpy(self.store.images[rows]),
            sample_id=about["sample_id"].tolist(),
            patient_id=self._patients.iloc[rows].tolist(),
            content=about["content"].tolist(),
            label=None if self._labels is None else torch.from_numpy(np.asarray(self._labels[rows], np.float32)),
            spacing_mm=torch.from_numpy(np.stack(about["spacing_mm"].tolist())),
            occupied=None if self._occupied is None else torch.from_numpy(self._occupied[rows]),
        )


def _occupied(store: Store) -> np.ndarray | None:
    """Return (N, D, 2) ends of the occupied part of each image, or None where all are whole."""
    if "occupied" not in store.index:
        return None
    ends = np.stack(store.index["occupied"].tolist()).astype(np.float64).reshape(len(store), -1, 2)
    return ends if np.any(ends != (-1.0, 1.0)) else None


def _batch_size(images: int, batch_size: int, world: int) -> int:
    if images == 0:
        raise DataError("There is no image to train on", fix="Look at the manifest's rows and at --where")
    if batch_size < 1 or batch_size % world:
        raise SettingsError(
            f"A batch of {batch_size} cannot be shared evenly by {world} processes",
            where="train.batch_size",
            fix=f"Use a multiple of {world}",
        )
    if images < world:
        raise DataError(f"There are {images} images for {world} processes", fix=f"Use at most {images} processes")
    return batch_size if images >= batch_size else images // world * world
