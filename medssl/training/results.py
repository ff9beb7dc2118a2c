"""What a finished run holds: backbones to use, the table of images it saw, and samples to look at."""

import copy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
from torch import nn

from medssl import files, kept, methods
from medssl.backbones import weights
from medssl.chance import Chance, key
from medssl.data.store import Store
from medssl.errors import DataError
from medssl.training import checkpoint, runs
from medssl.training.loop import Hook, Training
from medssl.training.settings import PretrainSettings
from medssl.training.source import Selection, Source, stored_batch
from medssl.training.views import make_views, plain_view

_SAMPLES = 6


def write_images_used(run: Path, table: pd.DataFrame) -> None:
    """Write `pretrained_on.parquet` before the first step; a run goes on with the images that it began with only.

    Raises:
        DataError: The run began with others.
    """
    begun = kept.table(run / runs.IMAGES)
    if begun is not None and not begun.equals(table):
        raise DataError(
            "The images are not those that this run began with: files have changed",
            where=run / runs.IMAGES,
            fix="Put the old ones back, or start a new run with another -o",
        )
    with files.atomic_path(run / runs.IMAGES) as temporary:
        table.to_parquet(temporary, index=False)


def card(settings: PretrainSettings, source: Source, images: int, training: Training) -> dict[str, Any]:
    """Return what a user of the backbone should know, in plain values."""
    data = {"manifest": source.manifest.name, "images": images, "synthetic": source.synthetic}
    return {
        "modality": settings.modality,
        "method": settings.method,
        "data": data,
        "training": {"epochs": training.epoch + 1, "steps": training.step, "seed": settings.train.seed},
        "normalisation": "each image has mean 0 and standard deviation 1",
        "limits": "For research. Not a medical device; not validated for any clinical use.",
    }


def export_backbones(
    run: Path, method: nn.Module, about: dict[str, Any], best_step: int | None, best: float | None
) -> None:
    """Write `backbone/` with the last weights, and `backbone-best/` with those the online kNN liked best."""
    backbone = methods.exported(method)
    if best_step is None:
        shutil.rmtree(run / runs.BEST, ignore_errors=True)
    else:
        state = checkpoint.load(checkpoint.path_of(run, best_step))["module"]
        then = copy.deepcopy(method)
        then.load_state_dict(state)
        other = methods.exported(then)
        other.name, other.family = backbone.name, backbone.family
        chosen = {"step": best_step, "knn_auroc": best, "rule": "highest AUROC of the online kNN on training patients"}
        weights.export(other, run / runs.BEST, {**about, "chosen": chosen})
    weights.export(backbone, run / runs.LAST, about)


class Snapshots(Hook):
    """Keep the backbone after certain epochs, so that a sweep can show what more pretraining brings."""

    name = "snapshots"

    def __init__(
        self, run: Path, backbone: nn.Module, steps: Mapping[int, int], about: Callable[[Training], dict[str, Any]]
    ) -> None:
        """Keep it under a run folder.

        Args:
            run: The run folder.
            backbone: What is trained.
            steps: The epoch that ends with each step.
            about: Returns the card.
        """
        self.run, self.backbone, self.steps, self.about = run, backbone, steps, about

    def after_step(self, training: Training) -> None:
        """Export at the end of such an epoch; before any checkpoint of that step, so that a resumed run has it."""
        epoch = self.steps.get(training.step)
        if epoch is not None and training.device.rank == 0:
            weights.export(self.backbone, runs.snapshot(self.run, epoch), self.about(training))


def write_samples(run: Path, training: Training, store: Store, selection: Selection) -> None:
    """Write `samples.safetensors`: a few images, with reconstructions where the method makes them, else two views.

    Arrays are (n, C, *spatial) float32: `original`, and `masked` and `reconstruction` or `view_0` and `view_1`.
    """
    task: Any = training.task
    content = store.index["content"].to_numpy(dtype=object)
    rows = np.array(sorted(selection.rows, key=lambda row: key("sample", content[row]))[:_SAMPLES])
    batch = stored_batch(store, rows)
    target = training.device.target
    original = plain_view(batch, task.modality, target)
    pictures = {"original": original}
    if hasattr(task.module, "reconstruct"):
        chance = Chance([key("sample", name) for name in batch.content])
        pictures["masked"], pictures["reconstruction"] = task.module.reconstruct(original, chance)
    else:
        loader: Any = training.loader
        batch = loader.with_partners(batch, rows, 0)
        views = make_views(batch, task.module.wish, task.modality, task.seed, 0, target)
        pictures |= {f"view_{i}": view for i, view in enumerate(views[:2])}
    kept = {name: value.detach().float().cpu().contiguous() for name, value in pictures.items()}
    files.write_bytes(run / "samples.safetensors", safetensors.torch.save(kept))
