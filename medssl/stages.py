"""Recipes: a complete staged study in one YAML file, run stage by stage, going on where it was.

A recipe lies in `pipelines/` (installed as the package `medssl_pipelines`) or anywhere else as a file.
"""

from collections.abc import Callable
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from medssl import api, files
from medssl.errors import DataError, SettingsError, unknown_name
from medssl.settings import Settings, dump_yaml, load_yaml, merged, validate

Progress = Callable[[str, dict[str, Any]], None]


class PretrainStage(Settings):
    """One pretraining run.

    Attributes:
        name: Its name in the recipe and of its folder.
        modality: The modality.
        method: The method.
        backbone: The backbone; None leaves the choice to the preset.
        settings: Any settings, as `--set` takes them.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    modality: str
    method: str
    backbone: str | None = None
    settings: dict[str, Any] = {}


class SweepStage(Settings):
    """One label-fraction sweep.

    Attributes:
        name: Its name in the recipe and of its folder.
        arms: Names of arms, each with the pretraining stages that are its seeds.
        fractions: Label fractions in per cent of patients.
        draws: Label draws a fraction.
        mode: "probe" or "finetune".
        options: Further arguments of `medssl.sweep`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    arms: dict[str, list[str]]
    fractions: list[float] = [1, 5, 10, 33, 100]
    draws: int = Field(5, ge=1)
    mode: Literal["probe", "finetune"] = "probe"
    options: dict[str, Any] = {}


class Recipe(Settings):
    """A study: pretraining runs, then sweeps over them, each with its report."""

    title: str
    summary: str
    pretrain: list[PretrainStage]
    sweep: list[SweepStage] = []


def names() -> list[str]:
    """Return the names of the recipes that come with medssl."""
    folder = package_files("medssl_pipelines")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(name_or_path: str) -> Recipe:
    """Return a recipe by name, or from a YAML file.

    Raises:
        SettingsError: No recipe has that name, or it breaks the schema or refers to a stage that it does not have.
        DataError: The file cannot be read.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
    elif name_or_path in names():
        path = Path(str(package_files("medssl_pipelines") / f"{name_or_path}.yaml"))
    else:
        raise unknown_name("recipe", name_or_path, names())
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise DataError("Expected a recipe as NAME: VALUE", where=path)
    recipe = validate(Recipe, values, where=path.name)
    known = {stage.name for stage in recipe.pretrain}
    for stage in recipe.sweep:
        for run in (run for runs in stage.arms.values() for run in runs):
            if run not in known:
                raise unknown_name("pretraining stage", run, known, where=f"{path.name}, sweep {stage.name}")
    return recipe


def run(
    name_or_path: str,
    out: Path,
    *,
    data: Path | None = None,
    ood: list[Path] | None = None,
    label: str | None = None,
    positive: list[str] | None = None,
    negative: list[str] | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Run a recipe's stages into folders below `out`, and return the folders.

    A finished stage is not run again; an unfinished one goes on with `resume`.

    Args:
        name_or_path: A recipe's name, or a YAML file.
        out: The study's folder.
        data: Manifest or folder of images; None means the built-in cohort.
        ood: Manifests of other sites.
        label: The label column; needed with `data` if there are sweeps.
        positive: Words of the label that count as positive.
        negative: Words of the label that count as negative.
        settings: Settings over those of every pretraining stage.
        resume: Go on in a folder that holds something.
        progress: Called with the events of the stages, and ("stage", {"command": ...}) before each.

    Raises:
        MedsslError: As `medssl.pretrain` and `medssl.sweep` raise it.
    """
    recipe = load(name_or_path)
    if data is not None and label is None and recipe.sweep:
        raise SettingsError("A sweep needs a label", fix="Add --label COLUMN")
    words = {"label": label, "positive": positive, "negative": negative}
    with files.claimed(out, resume=resume):
        done = [_pretrain(stage, out, data, words, settings or {}, progress) for stage in recipe.pretrain]
        files.write_text(out / "recipe.yaml", dump_yaml(recipe.model_dump(mode="json")))
        return done + [_sweep(stage, out, data, ood, words, progress) for stage in recipe.sweep]


def commands(recipe: Recipe, out: Path, *, data: Path | None = None, ood: list[Path] | None = None) -> list[str]:
    """Return the command of each stage, as a person would type it."""
    return [_pretrain_command(stage, out, data) for stage in recipe.pretrain] + [
        _sweep_command(stage, out, data, ood or []) for stage in recipe.sweep
    ]


def _pretrain(
    stage: PretrainStage,
    out: Path,
    data: Path | None,
    words: dict[str, Any],
    settings: dict[str, Any],
    progress: Progress | None,
) -> Path:
    _tell(progress, _pretrain_command(stage, out, data))
    folder = out / stage.name
    asked = {name: value for name, value in words.items() if value is not None}
    api.pretrain(
        stage.modality,
        stage.method,
        data=data,
        backbone=stage.backbone,
        settings=merged(stage.settings, {"data": asked} if asked else {}, settings),
        out=folder,
        resume=folder.exists(),
        progress=progress,
    )
    return folder


def _sweep(
    stage: SweepStage,
    out: Path,
    data: Path | None,
    ood: list[Path] | None,
    words: dict[str, Any],
    progress: Progress | None,
) -> Path:
    _tell(progress, _sweep_command(stage, out, data, ood or []))
    folder = out / stage.name
    api.sweep(
        {arm: [out / run for run in runs] for arm, runs in stage.arms.items()},
        data=data,
        ood=ood,
        **words,
        fractions=stage.fractions,
        draws=stage.draws,
        mode=stage.mode,
        out=folder,
        resume=folder.exists(),
        progress=progress,
        **stage.options,
    )
    return folder


def _pretrain_command(stage: PretrainStage, out: Path, data: Path | None) -> str:
    words = ["medssl pretrain", "--modality", stage.modality, "--method", stage.method]
    words += ["--backbone", stage.backbone] if stage.backbone else []
    words += ["--data", str(data)] if data else []
    words += [f"--set {name}={value}" for name, value in _flat(stage.settings)]
    return " ".join([*words, "-o", str(out / stage.name)])


def _sweep_command(stage: SweepStage, out: Path, data: Path | None, ood: list[Path]) -> str:
    arms = [f"{arm}={','.join(str(out / run) for run in runs)}" for arm, runs in stage.arms.items()]
    words = ["medssl sweep", "--arms", *arms]
    words += ["--data", str(data)] if data else []
    words += ["--ood", *map(str, ood)] if ood else []
    words += ["--fractions", *(f"{fraction:g}" for fraction in stage.fractions), "--draws", str(stage.draws)]
    words += ["--mode", stage.mode]
    for name, value in stage.options.items():
        values = (
            [f"{key}={_plain(part)}" for key, part in value.items()] if isinstance(value, dict) else [_plain(value)]
        )
        words += [f"--{name.replace('_', '-')}", *values]
    return " ".join([*words, "-o", str(out / stage.name)])


def _plain(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _flat(settings: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in settings.items():
        pairs += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]
    return pairs


def _tell(progress: Progress | None, command: str) -> None:
    if progress:
        progress("stage", {"command": command})
