"""Labelled images as transfer sees them: rows of a packed store with label and patient, and their views."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from medssl.batch import Batch
from medssl.data.loader import Loader
from medssl.data.store import Store
from medssl.methods.parts.wish import ViewWish
from medssl.modalities.parts.modality import Modality
from medssl.training.views import make_views, plain_view

_WEAK = [ViewWish(count=1, strength="weak")]
_LEAST_CROP = 0.8  # share of the image's area
_CROP_ASPECT = (0.9, 1.1)


@dataclass(frozen=True)
class Examples:
    """Some images of a store.

    Attributes:
        store: The packed images.
        rows: (N,) places in the store.
        patients: (N,) patient keys.
        labels: (N,) of 0 and 1, NaN where unknown.
        modality: Whose views are shown.
    """

    store: Store
    rows: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    modality: Modality

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> "Examples":
        """Return the examples at those places."""
        return replace(self, rows=self.rows[index], patients=self.patients[index], labels=self.labels[index])

    def loader(self, batch_size: int, seed: int) -> Loader:
        """Return shuffled batches with labels; fewer images than a batch are one batch."""
        labels = np.full(len(self.store), np.nan)
        labels[self.rows] = self.labels
        return Loader(self.store, self.rows, batch_size, seed, workers=0, labels=labels)

    def plain(self, size: int, device: torch.device) -> Iterator[torch.Tensor]:
        """Yield views without augmentation, in order, (B, C, *spatial) float32 with B at most `size`."""
        for start in range(0, len(self), size):
            rows = self.rows[start : start + size]
            unnamed = [""] * len(rows)
            batch = Batch(torch.from_numpy(self.store.images[rows]), unnamed, list(unnamed), unnamed)
            yield plain_view(batch, self.modality, device)

    def augmented(self, batch: Batch, seed: int, epoch: int, device: torch.device) -> torch.Tensor:
        """Return one gently augmented view of each image, (B, C, *spatial) float32."""
        return make_views(batch, _WEAK, self._gentle, seed, epoch, device)[0]

    @cached_property
    def _gentle(self) -> Modality:
        """The modality, its weak crops kept so large that what the label is about stays in the picture.

        A lesion that is cut off makes the label wrong; masked pretraining, from whose recipe this starts, has no label.
        """
        crops = self.modality.recipe("weak").geometry.crop_area
        kept = tuple(max(_LEAST_CROP, area) for area in crops)
        return self.modality.with_augment({"weak": {"geometry": {"crop_area": kept, "crop_aspect": _CROP_ASPECT}}})
