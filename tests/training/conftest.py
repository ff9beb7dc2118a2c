"""A task, a loader and a plan that are small enough to be trained a hundred times."""

import copy
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medssl.batch import Batch
from medssl.chance import Chance, key
from medssl.data.keys import AS_THEY_ARE
from medssl.data.scan import scan
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


SMALL = {
    "data": {"image_size": 16, "holdout": 0},
    "vit": {"width": 32, "depth": 1, "heads": 2, "patch_size": 4, "drop_path": 0.1},
    "mae": {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2},
    "train": {
        "batch_size": 4,
        "epochs": 2,
        "log_every": 3,
        "monitor_epochs": 1,
        "monitor_images": 20,
        "workers": 0,
        "precision": "fp32",
    },
}


def write_manifest(folder: Path, images: int, *, same: dict[int, int] | None = None) -> Path:
    """Write small PNG files of blobs and noise, two a patient, and their manifest; `same` copies pixels."""
    folder.mkdir()
    rows = ["file,patient_id,disease"]
    pictures = {}
    for i in range(images):
        chance = Chance([key("picture", i)])
        picture = chance.uniform(0, 90, (24, 24))[0]
        top, left = 2 + (i % 5), 3 if i % 4 < 2 else 12
        picture[top : top + 8, left : left + 8] += 120
        pictures[i] = pictures[(same or {}).get(i, i)] if i in (same or {}) else picture.astype(np.uint8)
        Image.fromarray(pictures[i]).save(folder / f"image{i:03d}.png")
        rows.append(f"image{i:03d}.png,patient{i // 2:02d},{'no' if i % 4 < 2 else 'yes'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    path = folder / "manifest.parquet"
    scan([folder], labels=folder / "labels.csv", key=AS_THEY_ARE).save(path)
    return path


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 24 images of 12 patients."""
    return write_manifest(tmp_path_factory.mktemp("images") / "archive", 24)


@pytest.fixture(scope="session")
def manifest_of() -> Callable[..., Path]:
    return write_manifest


@pytest.fixture(scope="session")
def small_settings() -> dict[str, Any]:
    """A run of two short epochs; not to be changed."""
    return SMALL


@pytest.fixture
def small() -> dict[str, Any]:
    """The same, to be changed."""
    return copy.deepcopy(SMALL)
