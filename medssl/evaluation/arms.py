"""Arms: what a sweep compares. Pretrained ones are named by run folders, four others are always there.

`scratch` is trained end to end from random weights, `random` is probed frozen, `pixels` and `shortcut` are probes on
what needs no learning at all. Without them a figure says nothing about pretraining.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medssl import discovery, files, kept
from medssl.backbones.weights import WEIGHTS
from medssl.errors import DataError, SettingsError
from medssl.modalities.parts import own
from medssl.modalities.parts.modality import Modality
from medssl.training import runs
from medssl.training.settings import check

BUILT_IN = {
    "scratch": "the first arm's architecture, trained end to end from random weights to its plateau",
    "random": "the first arm's architecture with random weights, frozen, best of three by validation log loss",
    "pixels": "the image reduced to 16 x 16",
    "shortcut": "brightness, contrast, histogram, border, source size, compressibility and device",
}
CHECKPOINTS = {"last": runs.LAST, "best": runs.BEST}


class Recipe(NamedTuple):
    """How a run sees an image.

    Attributes:
        modality: By which modality.
        image_size: At which size.
        own: The values of a modality of the user's own as JSON; empty for one of ours.
        transforms: MONAI transforms that come first, as JSON.
        voi_lut: Whether intensities are read through the VOI LUT of a file.
    """

    modality: str
    image_size: int
    own: str = ""
    transforms: str = "[]"
    voi_lut: bool = False

    def identity(self) -> list[Any]:
        """Return it as plain values for a key; what is not set is left out."""
        pairs = ((self.own, ""), (self.transforms, "[]"), (self.voi_lut, False))
        set_ones = [value for value, unset in pairs if value != unset]
        return [self.modality, self.image_size, *set_ones]


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining run.

    Attributes:
        name: The folder's name.
        folder: The run folder.
        backbone: The folder with the weights that are used.
        settings: All resolved settings.
        weights_hash: SHA-256 of the weights.
        epoch: After which the weights were kept, for a snapshot; None for those of the end, or the best.
    """

    name: str
    folder: Path
    backbone: Path
    settings: dict[str, Any]
    weights_hash: str
    epoch: int | None = None

    @property
    def argument(self) -> str:
        """What names these weights to `open_run`."""
        return str(self.folder) if self.epoch is None else f"{self.folder}@{self.epoch}"

    @property
    def seed(self) -> int:
        """The seed of the pretraining."""
        return int(self.settings["train"]["seed"])

    @property
    def recipe(self) -> Recipe:
        """How this run sees an image."""
        data, values = self.settings["data"], self.settings.get("own_modality")
        told = json.dumps(values, sort_keys=True) if values else ""
        transforms = json.dumps(data.get("transforms") or [], sort_keys=True)
        return Recipe(self.settings["modality"], int(data["image_size"]), told, transforms, bool(data.get("voi_lut")))

    @property
    def modality(self) -> Modality:
        """The modality with the augmentations of this run."""
        modality = own.named(self.settings["modality"], self.settings.get("own_modality"))
        return modality.with_augment(self.settings.get("augment") or {})

    @property
    def strengths(self) -> list[str]:
        """The strengths of the views that the method was shown."""
        return list(discovery.load("methods", self.settings["method"]).STRENGTHS)

    def pretrained_on(self) -> pd.DataFrame:
        """Return patient_key and pixel_hash of every image that was seen, in this run and in the stages before it.

        Raises:
            DataError: The list is not there or damaged, so that overlap with test patients cannot be excluded.
        """
        path = self.folder / runs.IMAGES
        table = runs.images_seen(self.folder)
        if table is None:
            raise DataError(
                f"The run '{self.name}' does not say which images it was pretrained on",
                where=path,
                fix="Without that list no test set can be trusted: pretrain again",
            )
        return table

    def minutes(self) -> float | None:
        """Return the wall time of the training up to these weights, None where the log does not tell."""
        lines = [line for line in kept.lines(self.folder / runs.LOG) if line.get("kind") == "step"]
        told = [[line.get("step"), line.get("seconds")] for line in lines]
        steps, seconds = np.array([one for one in told if None not in one], dtype=float).reshape(-1, 2).T
        if not len(steps) or self.backbone.name == runs.BEST:
            return None
        share = 1.0 if self.epoch is None else self.epoch / int(self.settings["train"]["epochs"])
        return round(float(np.interp(share * steps[-1], [0, *steps], [0, *seconds])) / 60, 2)

    def monitored_labels(self) -> int:
        """Return how many labels the online kNN used, which chose the best checkpoint."""
        lines = kept.lines(self.folder / runs.LOG)
        return max((int(line.get("knn_n") or 0) for line in lines if line.get("kind") == "monitor"), default=0)


@dataclass(frozen=True)
class Arm:
    """Runs that differ by their seed only."""

    name: str
    runs: tuple[Pretrained, ...]


def open_arms(arguments: Sequence[str | Path] | Mapping[str, Sequence[str | Path]], checkpoint: str) -> list[Arm]:
    """Return the pretrained arms.

    Args:
        arguments: `NAME=RUN,RUN` or plain run folders (named after their method; those whose settings are equal
            apart from the seed are seeds of one arm), or a dictionary of name to runs. `RUN@N` takes the weights that
            the run kept after epoch N (`train.keep_epochs`).
        checkpoint: "last" or "best".

    Raises:
        SettingsError: No arm, a name twice or built in, a seed twice within an arm, an unknown checkpoint.
        DataError: A folder is not a finished run.
    """
    check_checkpoint(checkpoint)
    named, plain = _split(arguments)
    arms = [Arm(name, tuple(open_run(run, checkpoint) for run in folders)) for name, folders in named.items()]
    arms += _grouped([open_run(run, checkpoint) for run in plain], {arm.name for arm in arms})
    if not arms:
        raise SettingsError("There is no arm to compare", fix="Give at least one pretraining run: --arms RUN")
    for arm in arms:
        _check_seeds(arm)
    return arms


def check_checkpoint(name: str) -> None:
    """Refuse what is not the name of a run's weights.

    Raises:
        SettingsError: It is neither "last" nor "best".
    """
    if name not in CHECKPOINTS:
        raise SettingsError(f"Expected checkpoint 'last' or 'best', but got '{name}'")


def open_run(folder: Path, checkpoint: str = "last") -> Pretrained:
    """Open a finished run, `RUN@N` with the weights that it kept after epoch N.

    Raises:
        DataError: It does not exist, is not a run, is unfinished, kept no such weights, or they are damaged.
    """
    folder, epoch = _parted(Path(folder))
    if not folder.is_dir():
        raise DataError("There is no such run folder", where=folder, fix="Give a folder that `medssl pretrain` wrote")
    settings = _run_settings(folder)
    if not runs.is_finished(folder):
        raise DataError("The run is unfinished", where=folder, fix=f"Run `medssl pretrain --resume -o {folder}` first")
    backbone = (folder / CHECKPOINTS[checkpoint] if epoch is None else runs.snapshot(folder, epoch)).resolve()
    if epoch is not None and not backbone.is_dir():
        raise _not_kept(folder, epoch, int(settings["train"]["epochs"]))
    if not backbone.is_dir():
        raise DataError(
            "The run has no best checkpoint: it had no labels for the online kNN",
            where=folder,
            fix="Use --checkpoint last, or pretrain with --label",
        )
    files.verify_folder(backbone)
    weights = files.sha256(backbone / WEIGHTS)
    name = folder.resolve().name if epoch is None else f"{folder.resolve().name}@{epoch}"
    return Pretrained(name, folder.resolve(), backbone, settings, weights, epoch)


def _parted(folder: Path) -> tuple[Path, int | None]:
    """Return the folder of a run and the epoch behind an @, where there is one and no folder is called so."""
    path, at, epoch = str(folder).rpartition("@")
    if not at or folder.exists():
        return folder, None
    if epoch.isdecimal():
        return Path(path), int(epoch)
    if not (Path(path) / runs.SETTINGS).is_file():
        return folder, None
    raise DataError(
        f"Expected the number of an epoch behind the @, but got '{epoch}'",
        where=folder,
        fix=f"{path} alone takes its last weights, {path} with --checkpoint best those of the best look"
        if epoch in CHECKPOINTS
        else f"{_kept_after(Path(path))}; {path} alone takes its last weights",
    )


def _not_kept(folder: Path, epoch: int, last: int) -> DataError:
    """Return the error for weights that a run did not keep: those that it kept, and how to have these."""
    if epoch == last:
        fix = f"Epoch {last} is its last: {folder} alone takes these weights"
    elif epoch > last or not epoch:
        fix = f"It was trained for epochs 1 to {last}; {folder} alone takes the weights of the last"
    elif runs.kept_epochs(folder):
        fix = f"Use one of those, or {folder} alone for its last, epoch {last}"
    else:
        fix = f"Pretrain anew with --set train.keep_epochs=[{epoch}], or use {folder} alone for its last, epoch {last}"
    return DataError(f"The run has no weights of epoch {epoch}. {_kept_after(folder)}", where=folder, fix=fix)


def _kept_after(folder: Path) -> str:
    epochs = [str(epoch) for epoch in runs.kept_epochs(folder)]
    if not epochs:
        return "It kept none on the way (train.keep_epochs)"
    listed = " and ".join(part for part in (", ".join(epochs[:-1]), epochs[-1]) if part)
    return f"It kept those after {'epoch' if len(epochs) == 1 else 'epochs'} {listed}"


def _run_settings(folder: Path) -> dict[str, Any]:
    path = folder / runs.SETTINGS
    settings = kept.mapping(path)
    if not {"modality", "method", "data", "train"} <= settings.keys():
        raise DataError(
            f"This is not a pretraining run: {runs.SETTINGS} is missing or names no modality and method",
            where=folder,
            fix="Give a folder that `medssl pretrain` wrote",
        )
    try:
        return check(settings).model_dump(mode="json")
    except SettingsError as error:
        raise DataError(
            f"The settings of the run are damaged, or of another version: {error.what}",
            where=path,
            fix="Put the file back as it was, or pretrain again",
        ) from error


def _split(
    arguments: Sequence[str | Path] | Mapping[str, Sequence[str | Path]],
) -> tuple[dict[str, list[Path]], list[Path]]:
    if isinstance(arguments, Mapping):
        arms = {name: [Path(run) for run in folders] for name, folders in arguments.items()}
        for name in arms:
            check_name(name)
        return arms, []
    named: dict[str, list[Path]] = {}
    plain: list[Path] = []
    for argument in arguments:
        name, equals, folders = str(argument).partition("=")
        if not equals or "/" in name or Path(argument).exists():
            plain.append(Path(argument))
            continue
        check_name(name)
        if name in named:
            raise SettingsError(f"The arm '{name}' is given twice", fix=f"Write --arms {name}=RUN,RUN")
        named[name] = [Path(run) for run in folders.split(",") if run]
    return named, plain


def check_name(name: str) -> None:
    """Refuse the name of a built-in arm, and none.

    Raises:
        SettingsError: It cannot be used.
    """
    if name in BUILT_IN:
        raise SettingsError(f"The arm name '{name}' is built in", fix="Choose another name before the =")
    if not name.strip():
        raise SettingsError("An arm has no name before the =", fix="Write NAME=RUN")


def _grouped(plain: list[Pretrained], taken: set[str]) -> list[Arm]:
    """Group runs whose settings are equal apart from the seed, and name each group."""
    groups: dict[str, list[Pretrained]] = {}
    for run in plain:
        groups.setdefault(repr((_without_seed(run.settings), run.epoch)), []).append(run)
    arms: list[Arm] = []
    for group in groups.values():
        name = _unique(group[0], taken)
        taken = taken | {name}
        arms.append(Arm(name, tuple(group)))
    return arms


def _without_seed(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "train": {name: value for name, value in settings["train"].items() if name != "seed"}}


def _unique(run: Pretrained, taken: set[str]) -> str:
    at = "" if run.epoch is None else f"@{run.epoch}"
    method, backbone = f"{run.settings['method']}{at}", run.settings.get("backbone")
    for name in (method, f"{method}-{backbone}", f"{method}-{run.name}"):
        if name not in taken and name not in BUILT_IN:
            return name
    raise SettingsError(f"The run '{run.name}' is given twice", where=run.folder, fix="Name the arms: --arms NAME=RUN")


def _check_seeds(arm: Arm) -> None:
    if not arm.runs:
        raise SettingsError(f"The arm '{arm.name}' names no run", fix=f"Write --arms {arm.name}=RUN")
    kinds: dict[str, list[Any]] = {"seed": [run.seed for run in arm.runs], "name": [run.name for run in arm.runs]}
    for field, values in kinds.items():
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise SettingsError(
                f"Two runs of the arm '{arm.name}' have the {field} {twice}",
                fix="Give runs of different seeds, or name them as different arms",
            )
    if len({run.epoch for run in arm.runs}) > 1:
        raise SettingsError(f"The arm '{arm.name}' mixes weights of different epochs", fix="Make an arm of each epoch")
    if len({run.recipe for run in arm.runs}) > 1:
        raise SettingsError(f"The runs of the arm '{arm.name}' differ in modality or image size")
