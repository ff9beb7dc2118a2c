"""A label-fraction sweep: every arm on the same nested label draws, in and out of distribution.

The plan is written down first, then cells are computed one by one and kept, then one table of predictions is put
together and every statistic is computed from it. Interrupted at any moment, it goes on with the cells that are left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medssl import files
from medssl.data.manifest import Manifest
from medssl.data.scan import keep
from medssl.evaluation import plan, shifts
from medssl.evaluation.arms import BUILT_IN, Arm, check_name, open_arms
from medssl.evaluation.bootstrap import RESAMPLES
from medssl.evaluation.cells import CellFolder
from medssl.evaluation.cohort import LabelSpec, Progress, labelled, patients_of, with_words, words_for
from medssl.evaluation.computing import Interrupt, Planned, compute, entries, plan_cells
from medssl.evaluation.conclusion import conclude
from medssl.evaluation.learners import Bench
from medssl.evaluation.plan import SweepSettings
from medssl.evaluation.preparation import Prepared, prepare
from medssl.training.device import Device, open_device
from medssl.training.loop import Hook
from medssl.training.stopping import StopSignals


@dataclass(frozen=True)
class Sweep:
    """A finished sweep, or a plan, where `results` is empty.

    Attributes:
        folder: Where it lies, or would.
        settings: The plan.
        cells: How many cells there are.
        predictions: One row a prediction.
        results: Every statistic, as in `results.json`.
    """

    folder: Path
    settings: SweepSettings
    cells: int
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)
    results: dict[str, Any] = field(default_factory=dict)


def sweep(
    arms: Sequence[str | Path] | Mapping[str, Sequence[str | Path]],
    manifest: Path,
    label: str,
    *,
    ood: Sequence[str | Path] = (),
    ood_labels: bool = False,
    positive: list[str] | None = None,
    negative: list[str] | None = None,
    fractions: Sequence[float] = (1, 5, 10, 33, 100),
    draws: int = 5,
    mode: str = "probe",
    drop_overlap: str | None = None,
    where: str | None = None,
    checkpoint: str = "last",
    margin: float = 0.02,
    primary: str | None = None,
    seed: int = 0,
    budget: Mapping[str, Any] | None = None,
    resamples: int = RESAMPLES,
    device: str = "auto",
    out: Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Sweep:
    """Compare arms over label fractions, in and out of distribution.

    Args:
        arms: Run folders or `NAME=RUN,RUN`, or a dictionary of name to run folders (the seeds of that arm).
        manifest: The in-distribution manifest; its held-out patients are the test set.
        label: Its label column.
        ood: Manifests of other places; "shift:all" or "shift:blur" adds the in-distribution test images under
            acquisition shifts (`medssl.evaluation.shifts`).
        ood_labels: Hold out patients of the other places too, test on those only, and also learn from the labels of
            their other patients, over the same fractions: what the next place reaches with labels of its own.
        positive: Words of the label that count as positive.
        negative: Words that count as negative.
        fractions: Per cent of the training patients that are labelled.
        draws: Label draws a fraction.
        mode: "probe" or "finetune".
        where: A condition on the columns of every manifest; other images are neither trained nor tested on.
        drop_overlap: "train" leaves out training images that share patient or pixels with a test image.
        checkpoint: "last", or "best" by online kNN.
        margin: The smallest AUROC difference that matters.
        primary: The arm of the primary comparison, the first unless named.
        seed: Of draws, folds, initial weights and resamples.
        budget: Changes to `medssl.transfer.finetune.Budget`.
        resamples: Of the bootstrap, for AUROC.
        device: "auto", "cpu" or "cuda".
        out: The sweep's folder.
        resume: Go on in it, or in the newest unfinished sweep with equal settings.
        dry_run: Plan only; nothing is written.
        progress: Told "plan" (folder, cells), "pack", "cell" (done, total, seconds_left, arm, run, fraction, draw),
            "statistics".

    Raises:
        SettingsError: A name or value is not valid.
        DataError: The data cannot be used, or test images are in training or pretraining.
        StorageError: The folder is in use, not empty, or cannot be written.
        StoppedError: A signal asked to stop; finished cells are kept.
    """
    opened = open_arms(arms, checkpoint)
    settings, data, others = _planned(
        opened, manifest, ood, fractions=fractions, primary=primary, drop_overlap=drop_overlap, budget=budget,
        device=device, label=label, positive=positive or None, negative=negative or None, draws=draws, mode=mode,
        seed=seed, checkpoint=checkpoint, margin=margin, ood_labels=ood_labels,
        where=where,
    )  # fmt: skip
    _check_labels(settings, data, others)
    folder = plan.choose_folder(settings, None if out is None else Path(out), resume)
    tell = progress or _silent
    benches = 1 + len(others) * ood_labels
    total = benches * len(settings.fractions) * draws * (sum(len(arm.runs) for arm in opened) + len(BUILT_IN))
    tell("plan", {"folder": str(folder), "cells": total, "settings": settings.model_dump(mode="json")})
    if dry_run:
        return Sweep(folder, settings, total)
    with files.claimed(folder, resume=resume, marks=("settings.yaml",)), StopSignals() as signals:
        interrupt = Interrupt(signals)
        prepared = prepare(settings, opened, data, others, tell)
        plan.write_settings(settings, folder)
        cells = plan_all(settings, opened, prepared, folder, open_device(device), [interrupt])
        kept = CellFolder(folder / "cells")
        compute(cells, settings, kept, tell, interrupt)
        tell("statistics", {})
        table, results = conclude(folder, settings, opened, prepared, cells, kept, resamples)
    return Sweep(folder, settings, total, table, results)


def plan_all(
    settings: SweepSettings,
    arms: Sequence[Arm],
    prepared: Prepared,
    folder: Path,
    device: Device,
    hooks: Sequence[Hook],
) -> list[Planned]:
    """Return every cell: learnt from the in-distribution labels, then from the labels of each other place."""
    cells = []
    for pool, tests, draws in [
        (prepared.pool, prepared.tests, prepared.draws),
        *((place.pool, {place.test.name: place.test}, place.draws) for place in prepared.places.values()),
    ]:
        bench = Bench(pool, tests, folder, device, settings.budget, settings.seed, hooks)
        cells += plan_cells(entries(arms, bench, settings.mode), bench, draws, settings)
    return cells


def check(arms: Sequence[str], manifest: Path, label: str, *, ood: Sequence[str | Path], **asked: Any) -> None:
    """Look for mistakes in a sweep whose runs do not exist yet; the arguments are those of `sweep`.

    Raises:
        SettingsError: A name or value is not valid.
        DataError: A manifest cannot be read, or has no such label or no patients.
    """
    for name in arms:
        check_name(name)
    unknown = [Arm(name, ()) for name in arms]
    settings, data, others = _planned(unknown, manifest, ood, label=label, **asked)
    _check_labels(settings, data, others)


def _check_labels(settings: SweepSettings, data: Manifest, others: Mapping[str, Manifest]) -> None:
    """Look whether every manifest has the label and knows its patients, before any image is read."""
    spec = LabelSpec(settings.label, settings.positive, settings.negative)
    manifests = [data, *others.values()]
    first, *specs = words_for(manifests, spec)
    known, label = labelled(data, first)
    patients_of(known)
    for other, words in zip(others.values(), specs, strict=True):
        patients_of(labelled(other, with_words(words, label))[0])


def _planned(
    arms: Sequence[Arm], manifest: Path, ood: Sequence[str | Path], where: str | None = None, **asked: Any
) -> tuple[SweepSettings, Manifest, dict[str, Manifest]]:
    """Return the plan, the in-distribution manifest, and the others by name."""
    changes, elsewhere = shifts.split([str(place) for place in ood])
    data, others = Manifest.load(manifest), plan.open_ood([Path(place) for place in elsewhere])
    if where:
        data = keep(data, where)
        others = {name: (path, keep(other, where)) for name, (path, other) in others.items()}
    settings = plan.resolve(arms, (Path(manifest), data), others, shifts=changes, where=where, **asked)
    return settings, data, {name: other for name, (_, other) in others.items()}


def _silent(kind: str, values: dict[str, Any]) -> None:
    """Tell nobody."""
