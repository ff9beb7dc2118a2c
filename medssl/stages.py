"""Recipes: a complete staged study in one YAML file, run stage by stage, going on where it was.

A recipe lies in `pipelines/` (installed as the package `medssl_pipelines`) or anywhere else as a file.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from medssl import api, files
from medssl.errors import DataError, SettingsError, unknown_name
from medssl.settings import Settings, dump_yaml, flat, load_yaml, merged, parse_yaml, united, validate

Progress = Callable[[str, dict[str, Any]], None]
_RECIPE = "recipe.yaml"
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class PretrainStage(Settings):
    """One pretraining run.

    Attributes:
        name: Its name in the recipe and of its folder.
        modality: The modality.
        method: The method.
        backbone: The backbone; None leaves the choice to the preset.
        settings: Any settings, as `--set` takes them.
    """

    name: _Name
    modality: str
    method: str
    backbone: str | None = None
    settings: dict[str, Any] = {}


class SweepOptions(Settings):
    """Further arguments of `medssl.sweep`, with its defaults."""

    ood_labels: bool = False
    drop_overlap: Literal["train"] | None = None
    where: str | None = None
    checkpoint: Literal["last", "best"] = "last"
    margin: float = 0.02
    primary: str | None = None
    seed: int = 0
    budget: dict[str, Any] = {}
    device: Literal["auto", "cpu", "cuda"] = "auto"


class SweepStage(Settings):
    """One label-fraction sweep.

    Attributes:
        name: Its name in the recipe and of its folder.
        arms: Names of arms, each with the pretraining stages that are its seeds; STAGE@N takes the weights that it
            kept after epoch N (its `train.keep_epochs`).
        fractions: Label fractions in per cent of patients.
        draws: Label draws a fraction.
        mode: "probe" or "finetune".
        options: What else `medssl.sweep` takes.
    """

    name: _Name
    arms: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(min_length=1)
    fractions: list[float] = [1, 5, 10, 33, 100]
    draws: int = Field(5, ge=1)
    mode: Literal["probe", "finetune"] = "probe"
    options: SweepOptions = SweepOptions()


class Recipe(Settings):
    """A study: pretraining runs, then sweeps over them, each with its report."""

    title: str
    summary: str
    pretrain: list[PretrainStage] = Field(min_length=1)
    sweep: list[SweepStage] = []


def names() -> list[str]:
    """Return the names of the recipes that come with medssl."""
    folder = package_files("medssl_pipelines")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(name_or_path: str) -> Recipe:
    """Return a recipe by name, or from a YAML file.

    Raises:
        SettingsError: No recipe has that name, or it breaks the schema, names two stages alike, or has a sweep over a
            stage that is not there or over stages that cannot be seeds of one arm.
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
    _check_names(recipe, path.name)
    known = {stage.name: stage for stage in recipe.pretrain}
    for sweep in recipe.sweep:
        where = f"{path.name}, sweep {sweep.name}"
        for arm, runs in sweep.arms.items():
            _check_seeds(arm, [_stage_of(run, known, where) for run in runs], where)
    return recipe


def _stage_of(run: str, known: Mapping[str, PretrainStage], where: str) -> PretrainStage:
    """Return the stage that an arm names, with or without an epoch whose weights it keeps."""
    name = run.partition("@")[0]
    if name not in known:
        raise unknown_name("pretraining stage", name, known, where=where)
    return known[name]


def _check_names(recipe: Recipe, where: str) -> None:
    names = [stage.name for stage in recipe.pretrain] + [sweep.name for sweep in recipe.sweep]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"Two stages are called '{twice}'", where=where, fix="Every stage has a folder of its name")


def _check_seeds(arm: str, stages: list[PretrainStage], where: str) -> None:
    """Refuse stages that cannot be seeds of one arm, before the first of them has run for hours."""
    settings = [flat(stage.settings) for stage in stages]
    seeds = [values.get("train.seed", 0) for values in settings]
    if len(set(seeds)) < len(seeds):
        raise SettingsError(
            f"Two stages of the arm '{arm}' have one seed", where=where, fix="Give each its own train.seed"
        )
    seen = {(stage.modality, values.get("data.image_size")) for stage, values in zip(stages, settings, strict=True)}
    if len(seen) > 1:
        raise SettingsError(f"The stages of the arm '{arm}' differ in modality or image size", where=where)


@dataclass(frozen=True)
class Study:
    """A recipe with what it is to work on, and where.

    Attributes:
        recipe: The stages.
        out: The study's folder; every stage has its own below it.
        data: Manifest, or a folder of images where there is no sweep; None means the built-in cohort.
        ood: Manifests of other sites, or acquisition shifts.
        label: The label column; needed with `data` if there are sweeps.
        positive: Words of the label that count as positive.
        negative: Words of the label that count as negative.
        settings: Settings over those of every pretraining stage.
    """

    recipe: Recipe
    out: Path
    data: Path | None = None
    ood: list[str] | None = None
    label: str | None = None
    positive: list[str] | None = None
    negative: list[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def commands(self) -> list[str]:
        """Return the command of each stage, as a person would type it."""
        return [self._pretrain_command(stage) for stage in self.recipe.pretrain] + [
            self._sweep_command(stage) for stage in self.recipe.sweep
        ]

    def check(self, progress: Progress | None = None) -> None:
        """Look for mistakes in every stage, as far as can be told before the first has run.

        Raises:
            MedsslError: As `medssl.pretrain` and `medssl.sweep` raise it.
        """
        self._check_sweeps(progress)
        for stage in self.recipe.pretrain:
            self._pretrain(stage, progress, dry_run=True)

    def run(self, *, resume: bool = False, progress: Progress | None = None) -> list[Path]:
        """Run the stages, and return their folders. A finished stage is not run again.

        Args:
            resume: Go on in a folder where this was begun.
            progress: Called with the events of the stages, and ("stage", {"command": ...}) before each.

        Raises:
            MedsslError: As `medssl.pretrain` and `medssl.sweep` raise it.
        """
        names = [stage.name for stage in self.recipe.pretrain] + [stage.name for stage in self.recipe.sweep]
        with files.claimed(self.out, resume=resume, marks=(_RECIPE, *names)):
            self._check_sweeps(progress)
            for stage in self.recipe.pretrain:
                _tell(progress, self._pretrain_command(stage))
                self._pretrain(stage, progress)
                files.write_text(self.out / _RECIPE, dump_yaml(self.recipe.model_dump(mode="json")))
            for sweep in self.recipe.sweep:
                _tell(progress, self._sweep_command(sweep))
                self._sweep(sweep, progress)
            return [self.out / name for name in names]

    def _pretrain(self, stage: PretrainStage, progress: Progress | None, *, dry_run: bool = False) -> None:
        folder = self.out / stage.name
        api.pretrain(
            stage.modality,
            stage.method,
            data=self.data,
            backbone=stage.backbone,
            settings=self._settings(stage),
            out=folder,
            resume=folder.exists() and not dry_run,
            dry_run=dry_run,
            progress=progress,
        )

    def _settings(self, stage: PretrainStage) -> dict[str, Any]:
        given = {name: value for name, value in self._words.items() if value is not None}
        return merged(stage.settings, united({"data": given} if given else {}, self.settings))

    @property
    def _words(self) -> dict[str, Any]:
        return {"label": self.label, "positive": self.positive, "negative": self.negative}

    def _sweep(self, stage: SweepStage, progress: Progress | None) -> None:
        folder = self.out / stage.name
        api.sweep(
            {arm: [self.out / run for run in runs] for arm, runs in stage.arms.items()},
            out=folder,
            resume=folder.exists(),
            progress=progress,
            **self._sweep_arguments(stage),
        )

    def _sweep_arguments(self, stage: SweepStage) -> dict[str, Any]:
        return {
            "data": self.data,
            "ood": self.ood,
            **self._words,
            "fractions": stage.fractions,
            "draws": stage.draws,
            "mode": stage.mode,
            **stage.options.model_dump(),
        }

    def _check_sweeps(self, progress: Progress | None) -> None:
        if self.data is not None and self.label is None and self.recipe.sweep:
            raise SettingsError("A sweep needs a label", fix="Add --label COLUMN")
        self._check_epochs()
        modalities = {stage.name: stage.modality for stage in self.recipe.pretrain}
        for stage in self.recipe.sweep:
            api.check_sweep(
                list(stage.arms),
                modalities[next(iter(stage.arms.values()))[0].partition("@")[0]],
                progress=progress,
                **self._sweep_arguments(stage),
            )

    def _check_epochs(self) -> None:
        """Refuse an arm of weights that its stage does not keep."""
        stages = {stage.name: stage for stage in self.recipe.pretrain}
        for run in {run for sweep in self.recipe.sweep for runs in sweep.arms.values() for run in runs if "@" in run}:
            name, _, epoch = run.partition("@")
            kept = flat(self._settings(stages[name])).get("train.keep_epochs")
            if not isinstance(kept, list | tuple) or epoch not in map(str, kept):
                raise SettingsError(
                    f"The stage '{name}' keeps no weights after epoch '{epoch}'",
                    where="train.keep_epochs",
                    fix=f"Add it there: [..., {epoch}]",
                )

    def _pretrain_command(self, stage: PretrainStage) -> str:
        words = ["medssl", "pretrain", "--modality", stage.modality, "--method", stage.method]
        words += ["--backbone", stage.backbone] if stage.backbone else []
        settings = flat(merged(stage.settings, self.settings))
        words += self._data_words()
        words += ["--set", *(f"{name}={_plain(value)}" for name, value in settings.items())] if settings else []
        return shlex.join([*words, "-o", str(self.out / stage.name)])

    def _sweep_command(self, stage: SweepStage) -> str:
        arms = [f"{arm}={','.join(str(self.out / run) for run in runs)}" for arm, runs in stage.arms.items()]
        words = ["medssl", "sweep", "--arms", *arms, *self._data_words()]
        words += ["--ood", *map(str, self.ood)] if self.ood else []
        words += ["--fractions", *(f"{fraction:g}" for fraction in stage.fractions), "--draws", str(stage.draws)]
        words += ["--mode", stage.mode]
        for name, value in stage.options.model_dump(exclude_defaults=True).items():
            several = [f"{key}={_plain(part)}" for key, part in value.items()] if isinstance(value, dict) else []
            words += [f"--{name.replace('_', '-')}", *([] if value is True else several or [_plain(value)])]
        return shlex.join([*words, "-o", str(self.out / stage.name)])

    def _data_words(self) -> list[str]:
        words = ["--data", str(self.data)] if self.data else []
        words += ["--label", self.label] if self.label else []
        words += ["--positive", *self.positive] if self.positive else []
        return words + (["--negative", *self.negative] if self.negative else [])


def _plain(value: Any) -> str:
    """Return a value as `--set` reads it; text that could be something else is quoted."""
    return value if isinstance(value, str) and parse_yaml(value) == value else json.dumps(value)


def _tell(progress: Progress | None, command: str) -> None:
    if progress:
        progress("stage", {"command": command})
