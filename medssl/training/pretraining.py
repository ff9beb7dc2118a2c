"""Pretraining from settings to a run folder: the task, the plan, and what is kept at the end."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medssl import backbones, discovery, files, methods
from medssl.batch import Batch
from medssl.chance import Chance, key
from medssl.counting import counted
from medssl.data.loader import Loader
from medssl.data.manifest import Manifest
from medssl.data.store import Store
from medssl.errors import DataError, SettingsError
from medssl.modalities.parts import own
from medssl.modalities.parts.modality import Modality
from medssl.modalities.parts.storing import stored
from medssl.settings import Choice, validate
from medssl.training import checkpoint, estimate, optim, pairing, presets, provenance, results, runs
from medssl.training.collapse import Alarms
from medssl.training.device import Device, memory_bytes, open_device
from medssl.training.loop import Plan, Training
from medssl.training.monitors import Monitor, Watched, choose_watched
from medssl.training.optim import parameter_groups, scaled_learning_rate
from medssl.training.recorder import Journal, Progress, Recorder
from medssl.training.settings import PretrainSettings, own_groups, to_text
from medssl.training.source import Selection, Source, open_source, select, stored_batch
from medssl.training.stopping import StopSignals
from medssl.training.views import make_views, plain_view

_LOOKED_AT_ONCE = 100


class Pretraining:
    """A self-supervised method on views of a modality, as the loop's task."""

    def __init__(self, method: nn.Module, modality: Modality, seed: int, steps_per_epoch: int, target: torch.device):
        """Say what is trained on whose views."""
        self.module, self.modality, self.seed = method, modality, seed
        self.steps_per_epoch, self.target = steps_per_epoch, target
        self.contrasts = bool(getattr(method, "contrasts", False))

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the optimizer's groups for everything in the method."""
        return parameter_groups(self.module, weight_decay)

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Make the views of a batch and return the method's loss on them."""
        epoch = step // self.steps_per_epoch
        views = make_views(batch, self.module.wish, self.modality, self.seed, epoch, self.target)  # type: ignore[arg-type]
        chance = Chance([key(self.seed, epoch, content, "method") for content in batch.content])
        kin = {} if batch.kin is None or not self.contrasts else {"kin": batch.kin.to(self.target)}
        return module(views, chance, **kin)

    def after_step(self, step: int, total: int) -> None:
        """Let the method do what follows a step."""
        self.module.after_step(step, total)  # type: ignore[operator]


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start: nothing is written yet.

    Attributes:
        source: Its images.
        settings: Resolved.
        choices: Where each value came from.
        device: Where it will run.
        estimate: Time and memory.
    """

    source: Source
    settings: PretrainSettings
    choices: dict[str, Choice]
    device: Device
    estimate: estimate.Estimate

    @property
    def peak_learning_rate(self) -> float:
        """The highest learning rate of the run."""
        train = self.settings.train
        return train.learning_rate or scaled_learning_rate(train.base_learning_rate, train.batch_size)


def prepare(user: dict[str, Choice], preset: str = "auto", progress: Progress | None = None) -> Prepared:
    """Find the images, choose what was not set, and estimate time and memory.

    Args:
        user: What was set, by dotted name.
        preset: A name of `presets.PRESETS`.
        progress: Told how scanning goes.

    Raises:
        SettingsError: A name or value is wrong.
        DataError: The images cannot be used.
    """
    nobody = presets.Machine("cpu", 1e9)
    first = presets.resolve(user, nobody, images=1000, preset=preset).settings
    source = open_source(first.data, own.like(first.modality, first.own_modality), progress)
    asked = (user.get(f"train.{name}") for name in ("device", "precision"))
    device = open_device(*("auto" if choice is None else str(choice.value) for choice in asked))
    kind = device.target.type
    machine = presets.this_machine(kind, memory_bytes(kind), device.world, device.precision)
    user = {name: choice for name, choice in user.items() if choice.value != "auto"}
    if source.label is not None:
        user.setdefault("data.label", Choice(source.label, "the label of the built-in cohort"))
    amount = partial(presets.resolve, user, machine, source.images, preset=preset, patients_known=source.patients_known)
    resolved = amount()
    cost = measure(resolved.settings, device)
    resolved = amount(flops=cost.flops)
    train = resolved.settings.train
    late = [epoch for epoch in train.keep_epochs if epoch > train.epochs]
    if late:
        raise SettingsError(
            f"train.keep_epochs names epoch {late[0]}, but the run has {train.epochs}", fix="Set train.epochs too"
        )
    pairing.among(resolved.settings, source.manifest.table, np.flatnonzero(~source.held), source.manifest.name)
    steps = train.epochs * max(1, source.images // train.batch_size)
    averages = optim.AVERAGES[train.optimizer]
    expected = estimate.expect(cost, min(train.batch_size, source.images), steps, device.world, averages)
    return Prepared(source, resolved.settings, resolved.choices, device, expected)


def modality_of(settings: PretrainSettings) -> Modality:
    """Return the modality with the run's changes to its views."""
    modality = own.named(settings.modality, settings.own_modality)
    data = settings.data
    return modality.reading(data.transforms, voi_lut=data.voi_lut).with_augment(settings.augment)


def build(settings: PretrainSettings) -> nn.Module:
    """Return the method around a fresh backbone; the weights are a function of the seed.

    Raises:
        SettingsError: Method, backbone and image size do not go together.
    """
    modality, family = modality_of(settings), backbones.names()[settings.backbone]
    module = discovery.load("methods", settings.method)
    values = validate(own_groups(settings.method, settings.backbone)[settings.method], settings.group(settings.method))
    with torch.random.fork_rng([]):
        torch.manual_seed(key(settings.train.seed, "weights") >> 1)
        backbone = backbones.build(
            settings.backbone,
            in_channels=modality.channels,
            spatial_dims=modality.spatial_dims,
            image_size=settings.data.image_size,
            overrides=settings.group(family),
        )
        return module.Method(backbone, values)


def measure(settings: PretrainSettings, device: Device) -> estimate.Cost:
    """Return what a step of this run costs."""
    modality, method, train = modality_of(settings), build(settings), settings.train
    shape = (modality.channels, *(settings.data.image_size,) * modality.spatial_dims)

    def views(images: int) -> list[torch.Tensor]:
        names = [str(number) for number in range(images)]
        batch = Batch(torch.randint(256, (images, *shape), dtype=torch.uint8), names, [None] * images, names)
        return make_views(batch, method.wish, modality, train.seed, 0, device.target)  # type: ignore[arg-type]

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        return optim.optimizer(train.optimizer, parameter_groups(module, train.weight_decay))

    return estimate.measure(method, shape, device, train.batch_size, views, optimizer)


def write_beginning(run: Path, prepared: Prepared, request: dict[str, Any]) -> Prepared:
    """Write what is known before the first step, and the manifest if it was made for this run."""
    source = prepared.source
    record = provenance.begin(prepared.settings, source, prepared.device, request, source.remarks)
    files.write_json(run / runs.PROVENANCE, record)  # first, since it marks the folder as a run's
    if prepared.source.scanned:
        prepared.source.manifest.save(run / runs.MANIFEST)
    prepared = with_kept_manifest(run, prepared)
    choices = {name: [choice.value, choice.source] for name, choice in prepared.choices.items()}
    files.write_json(run / runs.CHOICES, choices)
    files.write_text(run / runs.SETTINGS, to_text(prepared.settings))
    return prepared


def with_kept_manifest(run: Path, prepared: Prepared) -> Prepared:
    """Use the manifest kept beside the run, where a folder was scanned for it: nothing is written into the folder."""
    if not prepared.source.scanned:
        return prepared
    path = (run / runs.MANIFEST).absolute()
    data = prepared.settings.data.model_copy(update={"manifest": str(path)})
    source = replace(prepared.source, manifest=Manifest.load(path))
    return replace(prepared, settings=prepared.settings.model_copy(update={"data": data}), source=source)


def check_same_manifest(folder: Path, prepared: Prepared) -> None:
    """Refuse to go on with other images than the run began with: what its weights saw could no longer be told.

    Raises:
        DataError: The manifest has changed.
    """
    if prepared.source.manifest.content_hash() != runs.record(folder)["manifest"]["hash"]:
        raise DataError(
            "The manifest is not the one that this run began with",
            where=prepared.settings.data.manifest or folder,
            fix="Put the old one back, or start a new run with another -o",
        )


def run(folder: Path, prepared: Prepared, progress: Progress | None = None) -> None:
    """Train in a run folder from its newest checkpoint, or from the beginning, and export what was learnt.

    Raises:
        StoppedError: A signal asked to stop; the state is saved.
        StorageError: The disk is full or cannot be written.
        MedsslError: A loss is not finite.
    """
    signals = StopSignals()
    session = Session.open(folder, prepared, signals, progress)
    with signals:  # not before: packing a large archive should end at once
        session.training.run()
        if prepared.device.rank == 0:
            session.conclude()
        prepared.device.wait()


@dataclass(frozen=True)
class Session:
    """A run under way in this process."""

    folder: Path
    prepared: Prepared
    store: Store
    selection: Selection
    method: nn.Module
    training: Training
    monitor: Monitor
    of_pairs: str | None

    @classmethod
    def open(cls, folder: Path, prepared: Prepared, signals: StopSignals, progress: Progress | None) -> "Session":
        """Pack the images, build everything, and take up the newest checkpoint."""
        settings, device, source = prepared.settings, prepared.device, prepared.source
        modality, positives = modality_of(settings), pairing.chosen(settings, prepared.choices, folder)
        store = stored(source.manifest, modality, settings.data.image_size, progress)
        selection = select(source, store.index)
        pairs = pairing.after_packing(settings, positives, store.index, selection.rows, source.manifest.name)
        settings = pairs.settings
        device.wait()  # until every process has read what is written now
        if device.rank == 0:
            pairing.keep(folder, pairs)
            results.write_images_used(folder, selection.table())
        train = settings.train
        loader = Loader(
            store,
            selection.rows,
            train.batch_size,
            train.seed,
            device.rank,
            device.world,
            workers=train.workers,
            partners=pairs.partners,
        )
        method = build(settings).to(device.target)
        log = folder / runs.LOG if device.rank == 0 else None
        journal = Journal(log, progress if device.rank == 0 else None)
        monitor = Monitor(
            journal,
            _watched(store, selection, modality, train.monitor_images),
            methods.exported(method),
            every=train.monitor_epochs * loader.steps_per_epoch,
            stops=train.stop_when_collapsed,
        )
        saver = checkpoint.Checkpointer(folder, train.checkpoint_minutes, signals, lambda: monitor.best_step)
        snapshots = results.Snapshots(
            folder,
            methods.exported(method),
            {epoch * loader.steps_per_epoch: epoch for epoch in train.keep_epochs},
            lambda training: results.card(settings, source, len(selection), training),
        )
        plan = plan_of(settings, loader)
        watched = getattr(method, "alarms", []) if train.stop_when_collapsed else []
        alarms = Alarms(watched, plan.warmup_steps, plan.steps)
        hooks = [Recorder(journal, train.log_every, alarms), monitor, snapshots, saver]
        task = Pretraining(method, modality, train.seed, loader.steps_per_epoch, device.target)
        training = Training(task, loader, plan, device, hooks)
        prepared = replace(prepared, settings=settings)
        session = cls(folder, prepared, store, selection, method, training, monitor, pairs.remark)
        session._take_up(journal)
        return session

    def _take_up(self, journal: Journal) -> None:
        state, remarks = checkpoint.newest(self.folder)
        self.prepared.device.wait()
        if self.prepared.device.rank == 0:
            checkpoint.cut_log(self.folder, state)
        if state is not None:
            self.training.restore(state)
        for text in remarks:
            journal.remark(self.training.step, text)
        for text in self.remarks:
            journal.show("remark", {"step": self.training.step, "text": text})
        journal.show(
            "start", {"step": self.training.step, "total": self.training.plan.steps, "images": len(self.selection)}
        )

    @property
    def remarks(self) -> list[str]:
        """What people should know of the images."""
        left_out = self.store.left_out
        first = (
            f"{counted(len(left_out), 'image')} could not be prepared; "
            f"the first ({left_out[0].sample_id}): {left_out[0].reason}"
            if left_out
            else None
        )
        return [*self.selection.remarks, *self.store.remarks, *(text for text in (first, self.of_pairs) if text)]

    def conclude(self) -> None:
        """Write what a finished run holds: backbones, samples to look at, and the closed record."""
        training, folder = self.training, self.folder
        card = results.card(self.prepared.settings, self.prepared.source, len(self.selection), training)
        results.export_backbones(folder, self.method, card, self.monitor.best_step, self.monitor.best)
        results.write_samples(folder, training, self.store, self.selection)
        record = runs.record(folder)
        done = provenance.conclude(record, len(self.selection), training.step, training.clock.seconds, self.remarks)
        files.write_json(folder / runs.PROVENANCE, done)


def plan_of(settings: PretrainSettings, loader: Loader) -> Plan:
    """Return the steps of a run: epochs and warm-up in steps, the peak scaled with the batch."""
    train = settings.train
    steps = train.epochs * loader.steps_per_epoch
    rate = train.learning_rate or scaled_learning_rate(train.base_learning_rate, loader.batch_size)
    return Plan(
        steps=steps,
        learning_rate=rate,
        warmup_steps=min(round(train.warmup_epochs * loader.steps_per_epoch), steps - 1),
        weight_decay=train.weight_decay,
        final_weight_decay=train.final_weight_decay,
        betas=train.betas,
        momentum=train.momentum,
        optimizer=train.optimizer,
        clip_norm=train.clip_norm,
        seed=train.seed,
        check_every=1 if train.device == "cpu" or not torch.cuda.is_available() else train.log_every,
    )


def _watched(store: Store, selection: Selection, modality: Modality, most: int) -> Watched:
    content = store.index["content"].to_numpy(dtype=object)[selection.rows]
    chosen = choose_watched(selection.labels, selection.patients, content, most)

    def batches() -> list[Batch]:
        places = np.array_split(selection.rows[chosen], max(1, -(-len(chosen) // _LOOKED_AT_ONCE)))
        return [stored_batch(store, rows) for rows in places]

    return Watched(
        batches,
        lambda batch, target: plain_view(batch, modality, target),
        selection.labels[chosen],
        selection.patients[chosen],
    )
