"""A task, a loader and a plan that are small enough to be trained a hundred times."""

from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import nn

from medssl.batch import Batch
from medssl.chance import Chance, key
from medssl.training.optim import parameter_groups


class Blobs:
    """Batches of points that are a pure function of the step."""

    def __init__(self, steps_per_epoch: int = 5, size: int = 4) -> None:
        self.steps_per_epoch, self.size, self.served = steps_per_epoch, size, []

    def batch(self, step: int) -> Batch:
        names = [f"{step}-{i}" for i in range(self.size)]
        image = torch.from_numpy(Chance([key(name) for name in names]).normal(size=(3,))).float()
        return Batch(image=image, sample_id=names, patient_id=names, content=names, label=image.sum(1))

    def iterate(self, start: int, stop: int) -> Generator[Batch]:
        for step in range(start, stop):
            self.served.append(step)
            yield self.batch(step)


class Regression:
    """A small network with dropout that learns the sum of three numbers."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.module = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
        self.after: list[int] = []

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return parameter_groups(self.module, weight_decay)

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        error = (module(batch.image)[:, 0] - batch.label).square().mean()
        return {"loss": error + 0.0, "error": error}

    def after_step(self, step: int, total: int) -> None:
        self.after.append(step)


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def regression() -> Regression:
    return Regression()
