"""Ablations: the pictures that every lecture on self-supervision shows, on one's own images; resumable.

`augmentations` is figure 5 of SimCLR (Chen et al. 2020, https://arxiv.org/abs/2002.05709): the operations of the
modality's strong views by themselves and in pairs. Both views are augmented here, where the paper's figure leaves one
branch with crops alone. `batch` is its figure 9, batch size against epochs, with BYOL beside SimCLR; each cell is a
training of its own with its own schedule. `temperature` is its table 5, `mask` is figure 5 of MAE (He et al. 2022,
https://arxiv.org/abs/2111.06377).

Each cell is a run like any other, below `runs/`; it is scored on its own training patients (`evaluation.validated`).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssl import api, discovery, files
from medssl.data import builtin
from medssl.errors import DataError, MedsslError, SettingsError, StoppedError, StorageError, unknown_name
from medssl.evaluation.cohort import LabelSpec
from medssl.evaluation.validated import validate
from medssl.modalities.parts.modality import ViewRecipe
from medssl.report import ablated
from medssl.settings import dump_yaml, flat, load_yaml, united
from medssl.training.device import open_device

Progress = Callable[[str, dict[str, Any]], None]
DEFAULTS: dict[str, dict[str, tuple[float, ...]]] = {
    "augmentations": {},
    "batch": {"train.batch_size": (16, 64, 256), "train.epochs": (10, 30, 100)},
    "temperature": {"simclr.temperature": (0.05, 0.1, 0.2, 0.5, 1.0)},
    "mask": {"mae.mask_ratio": (0.3, 0.45, 0.6, 0.75, 0.9)},
}
"""What can be ablated, with the settings that vary and the values that they take."""
METHODS = {"augmentations": ("simclr",), "batch": ("simclr", "byol"), "temperature": ("simclr",), "mask": ("mae",)}
_PLAN = "ablation.yaml"


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        name: Its folder's name.
        method: The method.
        row: Where it stands: the first varied value, or operation.
        column: The second one.
        seed: Of the training.
        settings: What is set for it.
    """

    name: str
    method: str
    row: str | float
    column: str | float
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Ablation:
    """What is varied, on which images, and where.

    Attributes:
        what: A name of `DEFAULTS`.
        out: The folder.
        modality: The modality.
        label: The column that scores are made of, with its words.
        data: The manifest; the built-in cohort if None.
        backbone: The backbone; None leaves the choice to the preset.
        settings: Settings of every run.
        values: Other values of what varies, by setting.
        seeds: Trainings a cell, whose scores are averaged.
        score: "probe" or "knn": what is drawn.
    """

    what: str
    out: Path
    modality: str
    label: LabelSpec
    data: Path | None = None
    backbone: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seeds: int = 1
    score: str = "probe"

    def __post_init__(self) -> None:
        if self.what not in DEFAULTS:
            raise unknown_name("ablation", self.what, DEFAULTS)
        for name in flat(self.settings):
            if name in DEFAULTS[self.what] or (self.what == "augmentations" and name.startswith("augment.")):
                raise SettingsError(f"'{name}' is what this ablation varies", where="--set", fix="Use --values for it")
        unknown = next((name for name in self.values if name not in DEFAULTS[self.what]), None)
        if unknown is not None:
            raise unknown_name("varied setting", unknown, DEFAULTS[self.what], where="--values")
        for name, values in self.values.items():
            broken = next((value for value in values if _is_whole(name) and not float(value).is_integer()), None)
            if broken is not None:
                raise SettingsError(f"Expected whole numbers for {name}, but got {broken:g}", where="--values")

    def plan(self) -> dict[str, Any]:
        """Return everything that decides the result, as plain values."""
        return {
            "what": self.what,
            "modality": self.modality,
            "data": str(Path(self.data).absolute()) if self.data else None,
            "label": [self.label.column, self.label.positive, self.label.negative],
            "backbone": self.backbone,
            "settings": dict(flat(self.settings)),
            "values": {name: list(values) for name, values in self.varied().items()},
            "seeds": self.seeds,
        }

    def varied(self) -> dict[str, tuple[float, ...]]:
        """Return the settings that vary with their values, in ascending order."""
        return {name: tuple(sorted(set(self.values.get(name, values)))) for name, values in DEFAULTS[self.what].items()}

    def cells(self) -> list[Cell]:
        """Return every training, the seeds of a cell after one another."""
        points = self._pairs() if self.what == "augmentations" else self._grid()
        return [
            Cell(
                f"{name}-{seed}", method, row, column, seed, united(self.settings, settings, {"train": {"seed": seed}})
            )
            for method in METHODS[self.what]
            for name, row, column, settings in ((f"{method}-{n}", r, c, s) for n, r, c, s in points)
            for seed in range(self.seeds)
        ]

    def _grid(self) -> list[tuple[str, float, float, dict[str, Any]]]:
        names, values = list(self.varied()), list(self.varied().values())
        points = []
        for chosen in itertools.product(*values):
            put = {name: int(value) if _is_whole(name) else value for name, value in zip(names, chosen, strict=True)}
            points.append(("-".join(f"{value:g}" for value in chosen), chosen[0], chosen[-1], put))
        return points

    def _pairs(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        strong = discovery.load("modalities", self.modality).MODALITY.recipe("strong")
        fields = ViewRecipe.model_fields
        used = [name for name in fields if getattr(strong, name) != fields[name].get_default()]
        points = []
        for first, second in itertools.combinations_with_replacement(used, 2):
            off = {f"augment.{name}": False for name in used if name not in (first, second)}
            points.append((f"{first}-{second}", first, second, off))
        return points

    def check(self) -> None:
        """Look for mistakes before the first training begins: every cell is prepared as a dry run.

        Raises:
            SettingsError: A name or value is wrong.
            DataError: The images cannot be used.
        """
        if self.modality not in discovery.names("modalities"):
            raise unknown_name("modality", self.modality, discovery.names("modalities"))
        if self.data is not None and not Path(self.data).is_file():
            raise DataError(
                "There is no such manifest", where=self.data, fix="Make one with: medssl scan FOLDER -o FILE"
            )
        seen: set[str] = set()
        for cell in self.cells():
            if cell.method not in seen or self.what in ("temperature", "mask", "batch"):
                self._pretrain(cell, None, dry_run=True)
                seen.add(cell.method)

    def run(self, *, resume: bool = False, device: str = "auto", progress: Progress | None = None) -> Path:
        """Train and score every cell, write the page, and return its path. A finished cell is not done again.

        Raises:
            SettingsError: A name or value is wrong, or other than when this was begun.
            DataError: The images cannot be used, or no cell could be scored.
            StorageError: The folder is in use, not empty or cannot be written.
            StoppedError: A signal asked to stop; `resume` goes on.
        """
        with files.claimed(self.out, resume=resume, marks=(_PLAN,)):
            self._begin()
            cells, done = self.cells(), []
            for place, cell in enumerate(cells, start=1):
                done.append(self._cell(cell, device, progress))
                if progress:
                    progress("trained", {"done": place, "total": len(cells)})
            if all("failed" in one for one in done):
                raise DataError("No cell could be trained and scored", where=self.out, fix=str(done[0]["failed"]))
            return ablated.write(
                self.out, self.plan(), done, self._baseline(cells, done, device), self.score, self._synthetic()
            )

    def _begin(self) -> None:
        path = self.out / _PLAN
        if not path.is_file():
            self.check()
            files.write_text(path, dump_yaml(self.plan()))
            return
        kept = load_yaml(path)
        changed = next((name for name, value in self.plan().items() if kept.get(name) != value), None)
        if changed is not None:
            raise SettingsError(
                f"The ablation was begun with {changed}={kept.get(changed)}, but {self.plan()[changed]} is asked for",
                where=self.out,
                fix="Resume without changes, or choose another -o",
            )

    def _cell(self, cell: Cell, device: str, progress: Progress | None) -> dict[str, Any]:
        """Return the scores of a cell, or why there are none; what was done before is read."""
        path = self.out / "cells" / f"{cell.name}.json"
        if path.is_file():
            return files.read_mapping(path)
        place = {"method": cell.method, "row": cell.row, "column": cell.column, "seed": cell.seed}
        try:
            self._pretrain(cell, progress)
            scores = validate(self._folder(cell), self._manifest(), self.label, open_device(device).target)
            result = {**place, **vars(scores)}
        except StoppedError as error:
            raise StoppedError(error.what, where=error.where, fix=f"Go on with: --resume -o {self.out}") from error
        except (StorageError, SettingsError):
            raise
        except MedsslError as error:  # a training that diverges is a result of its settings
            result = {**place, "failed": error.what}
        files.write_json(path, result)
        return result

    def _baseline(self, cells: list[Cell], done: list[dict[str, Any]], device: str) -> dict[str, Any]:
        """Return the scores of random weights of the first run that was trained."""
        first = next(cell for cell, one in zip(cells, done, strict=True) if "failed" not in one)
        target = open_device(device).target
        return vars(validate(self._folder(first), self._manifest(), self.label, target, baseline="random"))

    def _pretrain(self, cell: Cell, progress: Progress | None, *, dry_run: bool = False) -> None:
        spec = self.label
        words = {"label": spec.column, "positive": spec.positive, "negative": spec.negative}
        watched = {"data": {name: value for name, value in words.items() if value}} if self.data else {}
        api.pretrain(
            self.modality,
            cell.method,
            data=self.data,
            backbone=self.backbone,
            settings=united(cell.settings, watched),
            out=self._folder(cell),
            resume=not dry_run,
            dry_run=dry_run,
            progress=progress,
        )

    def _folder(self, cell: Cell) -> Path:
        return self.out / "runs" / cell.name

    def _manifest(self) -> Path:
        return Path(self.data) if self.data else builtin.cohort(self.modality).manifest

    def _synthetic(self) -> bool:
        return builtin.is_builtin(self._manifest())


def _is_whole(name: str) -> bool:
    return name.startswith("train.")
