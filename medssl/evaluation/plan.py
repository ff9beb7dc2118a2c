"""The plan of a sweep: every setting resolved and written down before the first cell is computed."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from medssl import __version__, files
from medssl.data.manifest import Manifest, absolute
from medssl.errors import DataError, SettingsError, StorageError, unknown_name
from medssl.evaluation.arms import BUILT_IN, Arm
from medssl.settings import Settings, dump_yaml, load_yaml, validate
from medssl.transfer.finetune import ON_CPU, Budget

HOLDOUT = 0.3
SWEEPS = Path("sweeps")
DEVICES = ("auto", "cpu", "cuda")
_LATER = {"shifts": [], "ood_labels": False}  # what earlier versions did not write down
_SETTINGS, _RESULTS = "settings.yaml", "results.json"


class SweepSettings(Settings):
    """Everything that decides a sweep.

    Attributes:
        arms: Name of each pretrained arm, and its run folders.
        weights: SHA-256 of the weights, in the same order.
        data: The in-distribution manifest.
        data_hash: Of its rows.
        ood: Name of each out-of-distribution test set, and its manifest.
        ood_hashes: Of their rows.
        ood_labels: Whether the other places are also learnt from, apart: from the labels of their training patients.
        shifts: Acquisition shifts that the in-distribution test images are also shown under.
        where: The condition that the images of all manifests met, if one was given.
        label: The label column.
        positive: Its words that count as positive, None where they follow from the column.
        negative: Likewise.
        fractions: Per cent of the training patients, ascending.
        draws: Label draws a fraction.
        mode: "probe" (frozen features) or "finetune" (the whole network); scratch is always trained end to end.
        seed: Of draws, folds, initial weights and resamples.
        checkpoint: "last", or "best" by the online kNN.
        margin: The smallest difference in AUROC that matters.
        primary: The arm of the primary comparison, against scratch.
        drop_overlap: Whether training images that share patient or pixels with a test image are left out.
        holdout: Share of patients in the test part, where the manifest gives none.
        budget: What finding settings may cost.
        version: Of medssl.
    """

    arms: dict[str, list[str]]
    weights: dict[str, list[str]]
    data: str
    data_hash: str
    ood: dict[str, str]
    ood_hashes: dict[str, str]
    ood_labels: bool = False
    shifts: list[str] = []
    where: str | None = None
    label: str
    positive: list[str] | None = None
    negative: list[str] | None = None
    fractions: list[float]
    draws: int = Field(ge=1)
    mode: Literal["probe", "finetune"]
    seed: int = Field(ge=0)
    checkpoint: Literal["last", "best"]
    margin: float = Field(gt=0, lt=1)
    primary: dict[str, Any]
    drop_overlap: bool
    holdout: float = Field(gt=0, lt=1)
    budget: Budget
    version: str = __version__


def resolve(
    arms: Sequence[Arm],
    data: tuple[Path, Manifest],
    ood: Mapping[str, tuple[Path, Manifest]],
    *,
    fractions: Sequence[float],
    primary: str | None,
    drop_overlap: str | None,
    budget: Mapping[str, Any] | None,
    device: str,
    **asked: Any,
) -> SweepSettings:
    """Return the plan.

    Args:
        arms: The pretrained arms.
        data: The in-distribution manifest and where it lies.
        ood: The others by name.
        fractions: Per cent of the training patients, in any order.
        primary: The arm of the primary comparison, None for the first.
        drop_overlap: "train" or None.
        budget: Changes to the budget of training.
        device: "auto", "cpu" or "cuda".
        asked: The other settings as they were given.

    Raises:
        SettingsError: A value is not valid.
    """
    if drop_overlap not in (None, "train"):
        raise SettingsError(
            f"Expected --drop-overlap train, but got '{drop_overlap}'",
            fix="Only training images can be left out: dropping test images would change the published test set",
        )
    if asked.get("ood_labels") and not ood:
        raise SettingsError("No other place is named whose labels could be learnt from", fix="Add --ood MANIFEST")
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES, where="--device")
    ascending = resolve_fractions(fractions)
    values = {
        "arms": {arm.name: [run.argument for run in arm.runs] for arm in arms},
        "weights": {arm.name: [run.weights_hash for run in arm.runs] for arm in arms},
        "data": str(absolute(data[0])),
        "data_hash": data[1].content_hash(),
        "ood": {name: str(absolute(path)) for name, (path, _) in ood.items()},
        "ood_hashes": {name: manifest.content_hash() for name, (_, manifest) in ood.items()},
        "fractions": ascending,
        "primary": resolve_primary(primary, arms, ascending),
        "drop_overlap": drop_overlap == "train",
        "holdout": resolve_holdout(arms),
        "budget": resolve_budget(budget or {}, device),
    }
    return validate(SweepSettings, {**values, **asked})


def resolve_fractions(fractions: Sequence[float]) -> list[float]:
    """Return the fractions in ascending order, each once.

    Raises:
        SettingsError: There is none, or one is outside (0, 100].
    """
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 100]
    if wrong or not fractions:
        value = f"{wrong[0]:g}" if wrong else "none"
        raise SettingsError(f"Expected label fractions above 0 and up to 100 per cent, but got {value}")
    return sorted({float(fraction) for fraction in fractions})


def resolve_primary(primary: str | None, arms: Sequence[Arm], fractions: Sequence[float]) -> dict[str, Any]:
    """Return the primary comparison: an arm (the first unless named) against scratch at the smallest fraction, ID.

    Raises:
        SettingsError: There is no such arm.
    """
    names = [arm.name for arm in arms]
    if primary is not None and primary not in [*names, *BUILT_IN]:
        raise unknown_name("arm", primary, [*names, *BUILT_IN], where="--primary")
    if primary == "scratch":
        raise SettingsError("The primary comparison is against scratch itself", where="--primary")
    return {"test_set": "id", "a": primary or names[0], "b": "scratch", "fraction": fractions[0], "metric": "auroc"}


def resolve_holdout(arms: Sequence[Arm]) -> float:
    """Return the smallest share of patients that the runs kept for tests, so that no test patient was pretrained on."""
    kept = [float(run.settings["data"].get("holdout", HOLDOUT)) for arm in arms for run in arm.runs]
    return min([share for share in kept if share > 0], default=HOLDOUT)


def resolve_budget(changes: Mapping[str, Any], device: str) -> Budget:
    """Return the budget of training: a smaller one without a GPU, with the changes over it.

    Raises:
        SettingsError: A name or value is wrong.
    """
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    return validate(Budget, {**(ON_CPU if on_cpu else {}), **changes}, where="budget")


def open_ood(paths: Sequence[Path]) -> dict[str, tuple[Path, Manifest]]:
    """Return the out-of-distribution manifests by name: the file's, with its folder's before it where names repeat.

    Raises:
        SettingsError: The same manifest is given twice.
    """
    result: dict[str, tuple[Path, Manifest]] = {}
    for path in map(Path, paths):
        if absolute(path) in [absolute(other) for other, _ in result.values()]:
            raise SettingsError(f"The manifest '{path}' is given twice", where="--ood")
        manifest = Manifest.load(path)
        names = (manifest.name, f"{manifest.folder.name}-{manifest.name}", str(absolute(path)))
        result[next(name for name in names if name not in result and name != "id")] = (path, manifest)
    return result


def choose_folder(settings: SweepSettings, out: Path | None, resume: bool) -> Path:
    """Return the sweep's folder: `out`, the newest unfinished one with equal settings, or a new one.

    Raises:
        DataError: `resume` without `out`, and there is no unfinished sweep with these settings.
        SettingsError: The sweep in `out` was planned otherwise; the first setting that differs is named.
    """
    if out is None and resume:
        return _newest_unfinished(settings)
    if out is None:
        stem = f"{Path(settings.data).stem}-{settings.label}-{settings.mode}"
        return SWEEPS / f"{stem.replace('/', '_')}-{time.strftime('%Y%m%d-%H%M%S')}"
    if resume and (out / _SETTINGS).is_file():
        _check_same(load_yaml(out / _SETTINGS), settings, out)
    return out


def write_settings(settings: SweepSettings, folder: Path) -> None:
    """Write the plan, unless it is there already."""
    if not (folder / _SETTINGS).is_file():
        files.write_text(folder / _SETTINGS, dump_yaml(settings.model_dump(mode="json")))


def _newest_unfinished(settings: SweepSettings) -> Path:
    found = sorted(SWEEPS.glob(f"*/{_SETTINGS}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        if not (path.parent / _RESULTS).is_file() and _difference(load_yaml(path), settings) is None:
            return path.parent
    raise DataError(
        "There is no unfinished sweep with these settings",
        where=SWEEPS,
        fix="Name its folder with -o, or drop --resume",
    )


def _check_same(old: Any, settings: SweepSettings, folder: Path) -> None:
    if not isinstance(old, dict) or "arms" not in old:
        raise StorageError("The folder holds something else than a sweep", where=folder, fix="Choose another -o")
    name = _difference(old, settings)
    if name is not None:
        new = settings.model_dump(mode="json")
        raise SettingsError(
            f"The sweep in this folder has {name} = {old.get(name, _LATER.get(name))}, now it is {new[name]}",
            where=folder,
            fix="Repeat its command, or choose another -o",
        )


def _difference(old: Any, settings: SweepSettings) -> str | None:
    """Return the first setting that differs; another version is none, it only computes cells anew."""
    new = settings.model_dump(mode="json")
    old = {**_LATER, **(old if isinstance(old, dict) else {})}
    return next((name for name in new if name != "version" and old.get(name) != new[name]), None)
