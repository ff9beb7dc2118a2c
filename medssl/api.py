"""What the commands do, as functions that return objects one can look into.

Example:
    run = medssl.pretrain("oct", "mae", data="manifest.parquet", settings={"train": {"epochs": 20}})
    run.metrics.query("kind == 'step'").plot(x="step", y="loss")
    features = run.backbone()(images).pooled
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl import files, kept
from medssl.errors import SettingsError
from medssl.settings import united

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from medssl.ablation import Ablation
    from medssl.data.store import Store
    from medssl.data.verify import Checked
    from medssl.evaluation.sweep import Sweep
    from medssl.settings import Choice
    from medssl.training.pretraining import Prepared

Progress = Callable[[str, dict[str, Any]], None]

SET_BY_YOU = "set by you"


@dataclass(frozen=True)
class Run:
    """A pretraining run on disk.

    Attributes:
        folder: Where it is.
    """

    folder: Path

    @property
    def settings(self) -> dict[str, Any]:
        """Every resolved value."""
        return kept.mapping(self.folder / "settings.yaml")

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the weights come from."""
        return kept.mapping(self.folder / "provenance.json")

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a line of `metrics.jsonl`; the column `kind` tells steps, monitors and remarks apart."""
        import pandas as pd

        return pd.DataFrame(kept.lines(self.folder / "metrics.jsonl"))

    def backbone(self, which: str = "last") -> nn.Module:
        """Return the backbone in eval mode: the last weights, or the "best" by online kNN.

        Raises:
            DataError: The run has none.
        """
        from medssl.backbones.weights import load_backbone

        return load_backbone(self.folder / ("backbone-best" if which == "best" else "backbone"))


def pretrain(
    modality: str | None = None,
    method: str | None = None,
    *,
    data: str | Path | None = None,
    backbone: str | None = None,
    purpose: str | None = None,
    preset: str = "auto",
    settings: Mapping[str, Any] | None = None,
    base: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Pretrain a backbone without labels.

    Args:
        modality: Name of a modality, such as "oct", or a file of values, `my_modality.yaml`.
        method: Name of a method, such as "mae".
        data: A manifest or a folder of images; None for the built-in synthetic cohort.
        backbone: Name of a variant, such as "vit_small"; chosen by the preset if None.
        purpose: "classification" or "segmentation": chooses the method, in place of naming one.
        preset: "auto" chooses what is not set for device, memory and amount of data; "none" keeps the defaults.
        settings: Values that win over what is chosen: `{"train": {"epochs": 20}}` or `{"train.epochs": 20}`. They must
            not say otherwise than the other arguments.
        base: A `settings.yaml` to repeat.
        out: The run folder; named after modality, method, backbone and time below `runs/` if None.
        resume: Go on in `out`, or in the newest unfinished run that was asked for with equal settings.
        dry_run: Choose, estimate, and stop before anything is written.
        progress: Called with what happens: "plan", "start", "step", "monitor", "remark", ...

    Returns:
        The run; after a dry run its folder does not exist.

    Raises:
        SettingsError: A name or value is wrong.
        DataError: The images cannot be used.
        StorageError: The folder is in use, not empty or cannot be written.
        StoppedError: A signal asked to stop; the state is saved and `resume` goes on.
    """
    asked = _asked(settings, modality=modality, method=method, backbone=backbone, data=data)
    wanted = {"purpose": purpose} if purpose else {}
    request = json.loads(
        json.dumps({"preset": preset, "base": str(base) if base else None, "settings": asked, **wanted})
    )
    folder = _folder_to_resume(out, request) if resume else None
    from medssl.training import runs

    user = _with_method(_user(asked, base, folder), purpose, resumed=folder is not None)
    if folder is not None and runs.is_finished(folder):
        _finish(folder, progress)
        return Run(folder)
    if folder is not None:
        runs.check_logs(folder)
    prepared = _prepared(user, preset, progress)
    named = out or folder or runs.new_name(*(getattr(prepared.settings, n) for n in ("modality", "method", "backbone")))
    folder = Path(prepared.device.share(str(named)))
    _tell(progress, "plan", prepared=prepared, folder=str(folder))
    if not dry_run:
        _train(folder, prepared, request, resume=resume, progress=progress)
    return Run(folder)


def pack(
    data: str | Path,
    modality: str,
    *,
    settings: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Store:
    """Make the packed store ahead of training: the one that `pretrain` would make, so that it finds it.

    Args:
        data: A manifest or a folder of images.
        modality: Name of a modality, such as "ct".
        settings: Settings of `data`, as `pretrain` takes them; image_size is chosen for this machine if not among them.
        cache: Where stores lie; MEDSSL_CACHE_DIR or beside the manifest if None. A folder of images is only read, so
            it needs one of the first two.
        progress: Told of the packing.

    Raises:
        SettingsError: A name or value is wrong, or there is no place for the store of a folder.
        DataError: The images cannot be used.
        StorageError: The place cannot be written.
    """
    from medssl.training.packing import pack as packed

    return packed(Path(data), modality, settings or {}, Path(cache) if cache else None, progress)


def verify(path: str | Path, *, repair: bool = False, progress: Progress | None = None) -> list[Checked]:
    """Look for flipped bits in a store, in the stores of a manifest, or in a run and its stores.

    Args:
        path: A store, a folder of stores, a manifest or a run.
        repair: Remove damaged stores; they are packed anew from their images when they are needed next.
        progress: Told how far it is: "verify" with `done` and `total`.

    Returns:
        What was found in each folder; `damage` is empty where it is whole.

    Raises:
        DataError: There is nothing that can be verified.
    """
    from medssl.data import verify as checking
    from medssl.training.verified import folders

    found = []
    places = folders(Path(path))
    for done, place in enumerate(places, start=1):
        found.append(checking.check(place) if checking.is_store(place) else checking.check_listed(place))
        _tell(progress, "verify", done=done, total=len(places))
        if repair and found[-1].damage and checking.is_store(place):
            checking.remove(place)
    return found


def sweep(
    arms: Sequence[str | Path] | Mapping[str, Sequence[str | Path]],
    *,
    data: str | Path | None = None,
    label: str | None = None,
    ood: Sequence[str | Path] | None = None,
    positive: Sequence[str] | None = None,
    negative: Sequence[str] | None = None,
    fractions: Sequence[float] = (1, 5, 10, 33, 100),
    draws: int = 5,
    mode: str = "probe",
    out: str | Path | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Sweep:
    """Compare pretrained arms with each other and with the built-in ones, by label fraction, ID and OOD.

    Args:
        arms: Run folders or `NAME=RUN,RUN`, or a dictionary of name to run folders (the seeds of that arm).
        data: The in-distribution manifest; None for what the first run was pretrained on.
        label: Its label column; None for the one that the first run watched.
        ood: Manifests of other places; none for the other device of the built-in cohort. "shift:all" or "shift:blur"
            also shows the in-distribution test images under acquisition shifts.
        positive: Words of the label that count as positive.
        negative: Words that count as negative.
        fractions: Per cent of the training patients that are labelled.
        draws: Label draws a fraction.
        mode: "probe" or "finetune".
        out: The sweep's folder; named after data, label, mode and time below `sweeps/` if None.
        resume: Go on in `out`, or in the newest unfinished sweep with equal settings.
        dry_run: Plan only; nothing is written.
        progress: Called with what happens: "plan", "pack", "cell", "statistics".
        options: ood_labels, drop_overlap, where, checkpoint, margin, primary, seed, budget, resamples, device, as
            `medssl.evaluation.sweep.sweep` has them.

    Returns:
        The sweep: folder, settings, predictions, results; after a dry run without the last two.

    Raises:
        SettingsError: A name or value is wrong.
        DataError: The data cannot be used, or test images are in training or pretraining.
        StorageError: The folder is in use, not empty or cannot be written.
        StoppedError: A signal asked to stop; finished cells are kept and `resume` goes on.
    """
    from medssl.evaluation import sweep as evaluation
    from medssl.evaluation.arms import open_arms
    from medssl.report.build import report

    first = open_arms(arms, "last")[0].runs[0].settings
    manifest, words, others = _sweep_data(first, data, (label, positive, negative), ood, progress)
    done = evaluation.sweep(
        arms,
        manifest,
        words[0],
        ood=others,
        positive=words[1],
        negative=words[2],
        fractions=fractions,
        draws=draws,
        mode=mode,
        out=None if out is None else Path(out),
        resume=resume,
        dry_run=dry_run,
        progress=progress,
        **options,
    )
    if not dry_run:
        report(done.folder)
    return done


def ablate(
    what: str,
    modality: str | Path,
    *,
    out: str | Path,
    data: str | Path | None = None,
    label: str | None = None,
    positive: Sequence[str] | None = None,
    negative: Sequence[str] | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    values: Mapping[str, Sequence[float]] | None = None,
    seeds: int = 1,
    score: str = "probe",
    device: str = "auto",
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Ablation:
    """Pretrain over a grid of settings and score each training on its own training patients, never on test patients.

    Args:
        what: "augmentations" (SimCLR with the operations of the strong views alone and in pairs), "batch" (batch size
            against epochs, SimCLR and BYOL), "temperature" (of SimCLR) or "mask" (the mask ratio of MAE).
        modality: Name of a modality, such as "oct", or a file of values, `my_modality.yaml`.
        out: The ablation's folder; each training is a run below `runs/`.
        data: A manifest or a folder of images; None for the built-in synthetic cohort.
        label: The column that scores are made of, never trained on; needed with `data`.
        positive: Words of the label that count as positive.
        negative: Words that count as negative.
        backbone: Name of a variant, as `pretrain` takes it.
        settings: Settings of every training, as `pretrain` takes them.
        values: Other values of what varies: `{"mae.mask_ratio": [0.5, 0.75]}`.
        seeds: Trainings a cell, whose scores are averaged.
        score: What the page draws: "probe" or "knn"; its table has both.
        device: Where scores are computed: "auto", "cpu" or "cuda".
        resume: Go on in `out` where it was, or begin there.
        dry_run: Prepare every training, and stop before anything is written.
        progress: Called with what happens in each training, and "trained" with `done` and `total`.

    Returns:
        The ablation: `scores` is a table with a row a training, `baseline` the scores of random weights, `report` the
        page; after a dry run `cells()` lists the trainings.

    Raises:
        SettingsError: A name or value is wrong, or other than when the ablation was begun.
        DataError: The images cannot be used, or were missing for some trainings, which `resume` tries again: the page
            has the others.
        StorageError: The folder is in use, not empty or cannot be written.
        StoppedError: A signal asked to stop; finished trainings are kept and `resume` goes on.

    Example:
        found = medssl.ablate("mask", "oct", data="ours.parquet", label="disease", out="ablation")
        found.scores.groupby("row").probe.mean()
    """
    from medssl.ablation import Ablation
    from medssl.data.builtin import LABEL
    from medssl.evaluation.cohort import LabelSpec
    from medssl.modalities.parts import own

    if data is not None and label is None:
        raise SettingsError("An ablation needs a label to score by", fix="Give the name of a column as label")
    words = (list(given) if given else None for given in (positive, negative))
    ablation = Ablation(
        what,
        Path(out),
        label=LabelSpec(label or LABEL, *words),
        data=None if data is None else Path(data),
        backbone=backbone,
        settings=settings or {},
        values=values or {},
        seeds=seeds,
        score=score,
        **own.asked(str(modality)),
    )
    if dry_run:
        ablation.check(pretrain, progress)
    else:
        ablation.run(pretrain, resume=resume, device=device, progress=progress)
    return ablation


def check_sweep(
    arms: Sequence[str],
    modality: str,
    *,
    data: str | Path | None,
    label: str | None,
    ood: Sequence[str | Path] | None,
    positive: Sequence[str] | None,
    negative: Sequence[str] | None,
    progress: Progress | None = None,
    **asked: Any,
) -> None:
    """Look for mistakes in a sweep over runs that do not exist yet.

    Args:
        arms: The arms' names.
        modality: Of the first run, whose built-in cohort is taken where no data are named.
        data: As `sweep` takes it.
        label: As `sweep` takes it.
        ood: As `sweep` takes it.
        positive: As `sweep` takes it.
        negative: As `sweep` takes it.
        progress: Told how the built-in cohort is made.
        asked: fractions, draws, mode, and the options of `sweep`.

    Raises:
        SettingsError: A name or value is wrong.
        DataError: A manifest cannot be used.
    """
    from medssl.evaluation.sweep import check

    first = {"modality": modality, "data": {}}
    manifest, words, others = _sweep_data(first, data, (label, positive, negative), ood, progress)
    check(arms, manifest, words[0], positive=words[1], negative=words[2], ood=others, **asked)


def _sweep_data(
    first: Mapping[str, Any],
    data: str | Path | None,
    words: tuple[str | None, Sequence[str] | None, Sequence[str] | None],
    ood: Sequence[str | Path] | None,
    progress: Progress | None,
) -> tuple[Path, tuple[str, list[str] | None, list[str] | None], list[str]]:
    """Return manifest, label with its words, and other manifests: as given, else the first run's, else built in."""
    from medssl.data import builtin
    from medssl.evaluation import shifts
    from medssl.modalities.parts import own

    label, *classes = words
    positive, negative = (list(given) if given else None for given in classes)
    others = [str(other) for other in ood or []]
    if data is None and first["data"].get("manifest") is None:
        made = builtin.cohort(own.like(first["modality"], first.get("own_modality")), progress=progress)
        unnamed = ood is None or (others and not shifts.split(others)[1])
        elsewhere = [str(made.ood)] if unnamed else []
        return made.manifest, (label or made.label, positive, negative), [*elsewhere, *others]
    if data is None and label is None:
        label, positive, negative = (first["data"].get(name) for name in ("label", "positive", "negative"))
    if label is None:
        raise SettingsError("A sweep needs a label", fix="Add --label COLUMN")
    return Path(data or first["data"]["manifest"]), (label, positive, negative), others


def _asked(settings: Mapping[str, Any] | None, **named: Any) -> dict[str, Any]:
    """Return what the user set, nested; a path becomes absolute, so that the settings hold elsewhere."""
    if not isinstance(settings or {}, Mapping):
        raise SettingsError(
            f"Expected settings as a dictionary, but got {settings!r}", fix='Write {"train": {"epochs": 20}}'
        )
    data = named.pop("data")
    arguments = {name: value for name, value in named.items() if value is not None}
    if data is not None:
        arguments["data"] = {"manifest": str(data)}
    if arguments.get("modality") is not None:
        from medssl.modalities.parts import own

        arguments |= own.asked(str(arguments["modality"]))
    asked = united(settings or {}, arguments)
    if isinstance(asked.get("data"), Mapping) and isinstance(asked["data"].get("manifest"), str):
        asked["data"]["manifest"] = str(Path(asked["data"]["manifest"]).absolute())
    return asked


def _folder_to_resume(out: str | Path | None, request: dict[str, Any]) -> Path | None:
    from medssl.training import runs

    if out is None:
        return runs.newest_unfinished(request)
    return Path(out) if runs.has_begun(Path(out)) else None


def _user(asked: dict[str, Any], base: str | Path | None, folder: Path | None) -> dict[str, Choice]:
    """Return what is set, by dotted name: the run's own settings on resume, else the file's with the user's over it."""
    from medssl.training import presets, runs
    from medssl.training.settings import read

    if folder is not None:
        return presets.chosen_by(runs.settings_to_resume(folder, asked), "settings of the run")
    filed = presets.chosen_by(read(Path(base)), f"{Path(base).name}") if base else {}
    if "modality" in filed and asked.get("modality", filed["modality"].value) != filed["modality"].value:
        filed = {name: choice for name, choice in filed.items() if name.partition(".")[0] != presets.OWN}
    return {**filed, **presets.chosen_by(asked, SET_BY_YOU)}


def _with_method(user: dict[str, Choice], purpose: str | None, *, resumed: bool) -> dict[str, Choice]:
    """Return what is set with the method for that purpose; a run that goes on has its own, which has to be that one."""
    if purpose is None:
        return user
    from medssl.training.purpose import method_for

    if resumed:
        has, wants = user["method"].value, method_for(purpose, user["backbone"].value).value
        if has != wants:
            raise SettingsError(
                f"The run has the method '{has}', and '{purpose}' would choose '{wants}'",
                fix="Leave --for out to go on, or choose another folder",
            )
        return user
    if "method" in user:
        raise SettingsError(
            f"The method '{user['method'].value}' is set, and a purpose, '{purpose}', would choose one",
            fix="Leave one of them out",
        )
    return {**user, "method": method_for(purpose, user["backbone"].value if "backbone" in user else None)}


def _prepared(user: dict[str, Choice], preset: str, progress: Progress | None) -> Prepared:
    from medssl.training import pretraining

    return pretraining.prepare(user, preset, progress)


def _train(
    folder: Path, prepared: Prepared, request: dict[str, Any], *, resume: bool, progress: Progress | None
) -> None:
    from medssl.training import pretraining, runs

    first = prepared.device.rank == 0
    with contextlib.ExitStack() as held:
        if first:
            held.enter_context(files.claimed(folder, resume=resume, marks=(runs.PROVENANCE,)))
            runs.remove_leftovers(folder)
        if first and not runs.has_begun(folder):
            held.enter_context(runs.begun(folder))
            prepared = pretraining.write_beginning(folder, prepared, request)
        prepared.device.wait()
        prepared = pretraining.with_kept_manifest(folder, prepared)
        pretraining.check_same_manifest(folder, prepared)
        pretraining.run(folder, prepared, progress)
        if first:
            from medssl.report.build import run_report  # matplotlib, which the first step need not wait for

            run_report(folder)


def _finish(folder: Path, progress: Progress | None) -> None:
    """Say that a run has come to its end, and write its report where that is missing."""
    from medssl.report.build import NAME, run_report

    _tell(progress, "finished", folder=str(folder))
    if not (folder / NAME).exists():
        run_report(folder)


def _tell(progress: Progress | None, kind: str, **values: Any) -> None:
    if progress is not None:
        progress(kind, values)
