"""Features of every image of a manifest, by a run's backbone or by a baseline that has learnt nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from medssl import __version__, files, kept
from medssl.backbones.weights import CONFIG
from medssl.counting import counted_of
from medssl.data.columns import COLUMNS
from medssl.data.manifest import ARROW, Manifest
from medssl.data.scan import keep
from medssl.errors import DataError, SettingsError, unknown_name
from medssl.evaluation.arms import Pretrained, check_checkpoint, open_run
from medssl.evaluation.cohort import Cohort, Progress, modality_of
from medssl.evaluation.learners import (
    Architecture,
    PixelFeatures,
    PretrainedFeatures,
    RandomFeatures,
    ShortcutFeatures,
    Source,
)
from medssl.evaluation.shortcut import device_names
from medssl.modalities.parts.storing import stored
from medssl.training import runs

BASELINES = ("random", "pixels", "shortcut")
KEPT = (
    "sample_id", "patient_id", "study_id", "series_id", "instance_id", "id_key", "frame", "modality", "manufacturer",
    "model", "site", "laterality", "split",
)  # fmt: skip
"""The columns of a manifest that stand beside features; no path, no date, and no label that was not asked for."""
FEATURES = "features"
_NEVER = frozenset({"path", "planes", "patient_id", "study_id", "series_id", "instance_id", "sample_id", "id_key"})
_KEY = b"medssl"


@dataclass(frozen=True)
class Images:
    """The images of a manifest as a run sees them.

    Attributes:
        run: The run.
        cohort: The images; `target` and `patient_key` of its table are unknown where the manifest does not tell.
        labels: Columns that the user asked for, or the one that the run watched.
        remarks: Sentences on what was left out.
    """

    run: Pretrained
    cohort: Cohort
    labels: tuple[str, ...]
    remarks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cohort)

    @property
    def table(self) -> pd.DataFrame:
        """The manifest's rows, in the order of the features."""
        return self.cohort.table

    def features(self, source: Source, device: torch.device) -> np.ndarray:
        """Return what a source says of every image, (N, D)."""
        return source.compute(self.cohort, device)

    def patients(self) -> np.ndarray:
        """Return a key a row; an image of unknown patient is a patient of its own."""
        sites = self.table["site"].fillna("").astype(str)
        own = self.table["patient_id"].astype(object).where(self.table["patient_id"].notna(), self.table["sample_id"])
        return (sites + "/" + own.astype(str)).to_numpy(dtype=object)


def open_images(
    run: Path,
    data: Path,
    *,
    labels: Sequence[str] = (),
    checkpoint: str = "last",
    where: str | None = None,
    progress: Progress | None = None,
) -> Images:
    """Prepare the usable images of a manifest as a finished run sees them.

    Args:
        run: Its folder, `RUN@N` for the weights that it kept after epoch N.
        data: The manifest.
        labels: Its columns that go with the features; the one that the run watched, where it is there, if none.
        checkpoint: "last" or "best".
        where: A condition on the manifest's columns.
        progress: Told of the packing.

    Raises:
        SettingsError: There is no such column, or the condition cannot be used.
        DataError: The run or the manifest cannot be used, or no image can be prepared.
    """
    check_checkpoint(checkpoint)
    pretrained = open_run(run, checkpoint)
    manifest = Manifest.load(data)
    names = _labels(manifest, labels, pretrained)
    chosen = keep(manifest, where).usable().table
    if not len(chosen):
        reasons = manifest.table["reason"].dropna()
        first = f"; the first: {reasons.iloc[0]}" if len(reasons) else ""
        raise DataError(
            f"None of the {len(manifest)} rows is an image that can be read{first}",
            where=data,
            fix="Look at the columns `status` and `reason`",
        )
    recipe = pretrained.recipe
    store = stored(manifest, modality_of(recipe), recipe.image_size, progress or (lambda *_: None))
    table = chosen[chosen["sample_id"].isin(store.index["sample_id"])].reset_index(drop=True)
    if not len(table):
        raise DataError(f"None of the {len(chosen)} images could be prepared", where=data, fix=_why(store.left_out))
    lost = len(chosen) - len(table)
    remarks = [f"{lost} of {len(chosen)} images could not be prepared: {_why(store.left_out)}"] if lost else []
    rows = pd.Index(store.index["sample_id"]).get_indexer(table["sample_id"])
    table = table.assign(target=np.nan, patient_key=None)
    cohort = Cohort(manifest.name, "id", table, {recipe: (store, rows)})
    return Images(pretrained, cohort, names, (*remarks, *_seen(pretrained, table)))


def source_of(images: Images, baseline: str | None = None, seed: int = 0) -> Source:
    """Return where features come from: the run's backbone, or a baseline.

    Args:
        images: The images and the run.
        baseline: "random" for the run's architecture with random weights, "pixels" for the image reduced to 16 x 16,
            "shortcut" for trivial statistics; None for the backbone.
        seed: Of the random weights.

    Raises:
        SettingsError: There is no such baseline.
    """
    if baseline is None:
        return PretrainedFeatures(images.run)
    if baseline == "random":
        return RandomFeatures(Architecture.of(images.run), seed)
    if baseline == "pixels":
        return PixelFeatures(images.run.recipe)
    if baseline == "shortcut":
        devices = {str(name) for name in device_names(images.table) if name}
        return ShortcutFeatures(images.run.recipe, tuple(sorted(devices)))
    raise unknown_name("baseline", baseline, BASELINES)


def snapshots(run: Pretrained) -> list[Pretrained]:
    """Return the weights that a run kept on the way (`train.keep_epochs`), by epoch, each checked."""
    return [open_run(Path(f"{run.folder}@{epoch}")) for epoch in runs.kept_epochs(run.folder)]


def epoch_of(run: Pretrained) -> int | None:
    """Return after which epoch the weights were taken, the best ones too; None where their card does not tell."""
    if run.epoch is not None:
        return run.epoch
    if run.backbone.name == runs.LAST:
        return int(run.settings["train"]["epochs"])
    card = kept.mapping(run.backbone / CONFIG).get("card") or {}
    training, chosen = card.get("training") or {}, card.get("chosen") or {}
    if not chosen.get("step") or not training.get("steps"):
        return None
    return -(-int(chosen["step"]) * int(training["epochs"]) // int(training["steps"]))


def known(images: Images) -> pd.DataFrame:
    """Return what stands beside features: the columns of `KEPT` that there are, and the labels; a row an image."""
    names = dict.fromkeys((*KEPT, *images.labels))
    return images.table[[name for name in names if name in images.table.columns]].reset_index(drop=True)


def save(images: Images, features: np.ndarray, baseline: str | None, path: Path) -> None:
    """Write features as Parquet, whole or not at all.

    One row an image: the columns of `KEPT` that the manifest has, the labels, and `features`, a list of float32 of the
    same length in every row (`numpy.stack(table["features"])` gives the matrix). The key `medssl` of the file's
    metadata says by which weights and which preparation, in JSON.
    """
    table = known(images)
    kinds = {column.name: column.kind for column in COLUMNS}
    schema = pa.schema([pa.field(name, ARROW[kinds.get(name, "text")]) for name in table.columns])
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    width = features.shape[1]
    flat = pa.array(np.ascontiguousarray(features, dtype=np.float32).reshape(-1))
    arrow = arrow.append_column(FEATURES, pa.FixedSizeListArray.from_arrays(flat, width))
    meta = {_KEY: json.dumps(about(images, baseline, width)).encode()}
    with files.atomic_path(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(meta), temporary)


def about(images: Images, baseline: str | None, width: int) -> dict[str, Any]:
    """Return by what features were made, in plain values."""
    run = images.run
    names = {"method": run.settings["method"], "backbone": run.settings.get("backbone"), "epoch": epoch_of(run)}
    weights = {"run": run.name, **names, "weights": run.weights_hash} if baseline is None else {"baseline": baseline}
    recipe = {"modality": run.recipe.modality, "image_size": run.recipe.image_size}
    return {"version": __version__, "width": width, **weights, **recipe}


def _labels(manifest: Manifest, asked: Sequence[str], run: Pretrained) -> tuple[str, ...]:
    columns = manifest.table.columns
    for name in asked:
        if name not in columns:
            raise unknown_name("label column", name, manifest.label_names, where=manifest.name)
        if name in _NEVER:
            raise SettingsError(
                f"The column '{name}' names people or files, and is no label", fix="Choose another --label"
            )
    watched = run.settings["data"].get("label")
    return tuple(dict.fromkeys(asked)) or ((watched,) if watched in columns else ())


def _seen(run: Pretrained, table: pd.DataFrame) -> list[str]:
    seen = int(table["sample_id"].isin(run.pretrained_on()["sample_id"]).sum())
    told = counted_of(seen, len(table), "image", "was", "were")
    return [f"{told} seen in pretraining, without their labels"] if seen else []


def _why(left_out: Sequence[Any]) -> str:
    return f"sample {left_out[0].sample_id}: {left_out[0].reason}" if left_out else ""
