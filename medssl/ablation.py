"""Ablations: the pictures that every lecture on self-supervision shows, on one's own images; resumable.

`augmentations` is figure 5 of SimCLR (Chen et al. 2020, https://arxiv.org/abs/2002.05709): the operations of the
modality's strong views by themselves and in pairs. Both views are augmented here, where the paper's figure leaves one
branch with crops alone. `batch` is its figure 9, batch size against epochs, with BYOL beside SimCLR; each cell is a
training of its own with its own schedule. `temperature` is its table 5, `mask` is figure 5 of MAE (He et al. 2022,
https://arxiv.org/abs/2111.06377).

Each cell is a run like any other, below `runs/`, trained by the function that is handed in, `medssl.pretrain`; it is
scored on its own training patients (`evaluation.validated`). What a training came to is kept, its collapse included; a
cell that lacked its images or files is not, and is done again on resume.
"""

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from medssl import discovery, files, kept
from medssl.counting import counted_of
from medssl.data import builtin
from medssl.data.manifest import Manifest
from medssl.errors import DataError, MedsslError, SettingsError, StoppedError, StorageError, unknown_name
from medssl.evaluation.cells import plain
from medssl.evaluation.cohort import LabelSpec
from medssl.evaluation.validated import SCORES, Validated, validate
from medssl.modalities.parts import own
from medssl.modalities.parts.modality import ViewRecipe
from medssl.report import ablated
from medssl.settings import dump_yaml, flat, load_yaml, united
from medssl.training import runs
from medssl.training.device import open_device
from medssl.training.source import scanned
from medssl.transfer.features import NotFiniteError

Progress = Callable[[str, dict[str, Any]], None]
Pretrain = Callable[..., Any]
"""`medssl.pretrain`, which stands on a floor above."""
DEFAULTS: dict[str, dict[str, tuple[float, ...]]] = {
    "augmentations": {},
    "batch": {"train.batch_size": (16, 64, 256), "train.epochs": (10, 30, 100)},
    "temperature": {"simclr.temperature": (0.05, 0.1, 0.2, 0.5, 1.0)},
    "mask": {"mae.mask_ratio": (0.3, 0.45, 0.6, 0.75, 0.9)},
}
"""What can be ablated, with the settings that vary and the values that they take."""
METHODS = {"augmentations": ("simclr",), "batch": ("simclr", "byol"), "temperature": ("simclr",), "mask": ("mae",)}
_REPEAT = "Repeat the command with --resume"
_SCORED = tuple(one.name for one in fields(Validated))
_PLAN = "ablation.yaml"
_CELLS, _BASELINE = "cells", "baseline.json"


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

    @property
    def place(self) -> dict[str, Any]:
        """What tells it from the others, as its result has it."""
        return {"method": self.method, "row": self.row, "column": self.column, "seed": self.seed}


@dataclass(frozen=True)
class Ablation:
    """What is varied, on which images, and where; and what came of it, once it has been run.

    Attributes:
        what: A name of `DEFAULTS`.
        folder: Where it lies.
        modality: The modality, by its name.
        label: The column that scores are made of, with its words.
        data: The manifest or folder of images; the built-in cohort if None.
        backbone: The backbone; None leaves the choice to the preset.
        settings: Settings of every run.
        values: Other values of what varies, by setting.
        seeds: Trainings a cell, whose scores are averaged.
        score: "probe" or "knn": what is drawn.
        own_modality: The values of a file that stands for the modality; empty for one of medssl's.
    """

    what: str
    folder: Path
    modality: str
    label: LabelSpec
    data: Path | None = None
    backbone: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seeds: int = 1
    score: str = "probe"
    own_modality: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.what not in DEFAULTS:
            raise unknown_name("ablation", self.what, DEFAULTS)
        if self.score not in SCORES:
            raise SettingsError(f"Expected a score of {' or '.join(SCORES)}, but got '{self.score}'")
        if self.seeds < 1:
            raise SettingsError(f"Expected one seed or more, but got {self.seeds}", where="seeds")
        if self._like not in discovery.names("modalities"):
            raise unknown_name("modality", self._like, discovery.names("modalities"))
        for name in flat(self.settings):
            if name in DEFAULTS[self.what] or (self.what == "augmentations" and name.startswith("augment.")):
                raise SettingsError(
                    f"'{name}' is what this ablation varies", where="settings", fix="Give its values as values"
                )
            if name == "train.seed":
                raise SettingsError(
                    "'train.seed' is set by the ablation",
                    where="settings",
                    fix="Ask for several trainings a cell by seeds",
                )
        for name, values in self.values.items():
            self._check_values(name, values)

    def _check_values(self, name: str, values: Sequence[float]) -> None:
        if name not in DEFAULTS[self.what]:
            raise unknown_name("varied setting", name, DEFAULTS[self.what], where="values")
        if not isinstance(values, Sequence) or not values or not all(isinstance(one, int | float) for one in values):
            raise SettingsError(f"Expected a list of numbers for {name}, but got {values!r}", where="values")
        broken = next((value for value in values if _is_whole(name) and not float(value).is_integer()), None)
        if broken is not None:
            raise SettingsError(f"Expected whole numbers for {name}, but got {broken:g}", where="values")

    @property
    def report(self) -> Path:
        """The page, once the ablation has been run."""
        return self.folder / ablated.NAME

    @property
    def scores(self) -> pd.DataFrame:
        """One row a finished training: method, row, column, seed, both scores with limits, or why it `failed`.

        Raises:
            DataError: What was kept of a training is damaged.
        """
        found = [self._kept(cell) for cell in self.cells()]
        return pd.DataFrame([one for one in found if one is not None])

    @property
    def baseline(self) -> dict[str, Any]:
        """The scores of random weights, once the ablation has been run.

        Raises:
            DataError: There are none yet, or they are damaged.
        """
        return _numbers(kept.mapping(self.folder / _BASELINE))

    @property
    def _like(self) -> str:
        return own.like(self.modality, self.own_modality)

    def plan(self) -> dict[str, Any]:
        """Return everything that decides the result, as plain values."""
        return {
            "what": self.what,
            "modality": self.modality,
            **({"own_modality": dict(self.own_modality)} if self.own_modality else {}),
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
        strong = own.named(self.modality, self.own_modality).recipe("strong")
        known = ViewRecipe.model_fields
        used = [name for name in known if getattr(strong, name) != known[name].get_default()]
        points = []
        for first, second in itertools.combinations_with_replacement(used, 2):
            off = {f"augment.{name}": False for name in used if name not in (first, second)}
            points.append((f"{first}-{second}", first, second, off))
        return points

    def check(self, pretrain: Pretrain, progress: Progress | None = None) -> Manifest | None:
        """Look for mistakes before the first training begins: every cell is prepared as a dry run.

        Returns:
            The manifest of a folder of images, which is scanned once for all cells; None where nothing was scanned.

        Raises:
            SettingsError: A name or value is wrong.
            DataError: The images cannot be used.
        """
        if self.data is None or not Path(self.data).is_dir():
            self._try(pretrain, self.data)
            return None
        found = scanned(Path(self.data), progress)
        with tempfile.TemporaryDirectory() as place:
            found.save(Path(place) / runs.MANIFEST)
            try:
                self._try(pretrain, Path(place) / runs.MANIFEST)
            except DataError as error:  # which is of the folder, and the manifest will be gone
                raise DataError(error.what, where=self.data, fix=error.fix) from error
        return found

    def _try(self, pretrain: Pretrain, data: Path | None) -> None:
        """Prepare every cell; of pairs of operations one, since these differ in nothing that could be refused."""
        seen: set[str] = set()
        for cell in self.cells():
            if cell.method not in seen or self.what != "augmentations":
                self._pretrain(pretrain, cell, data, None, dry_run=True)
                seen.add(cell.method)

    def run(
        self, pretrain: Pretrain, *, resume: bool = False, device: str = "auto", progress: Progress | None = None
    ) -> None:
        """Train and score every cell and write the page. A finished cell is not done again.

        Args:
            pretrain: `medssl.pretrain`.
            resume: Go on in the folder where it was, or begin there.
            device: Where scores are computed.
            progress: Told of the trainings, and of how many are done.

        Raises:
            SettingsError: A name or value is wrong, or other than when this was begun.
            DataError: The images cannot be used, now or for some cells, which `resume` tries again; or no cell could
                be scored.
            StorageError: The folder is in use, not empty or cannot be written.
            StoppedError: A signal asked to stop; `resume` goes on.
        """
        with files.claimed(self.folder, resume=resume, marks=(_PLAN,)):
            target = open_device(device).target
            self._begin(pretrain, progress)
            cells, done = self.cells(), []
            for place, cell in enumerate(cells, start=1):
                done.append(self._cell(pretrain, cell, target, progress))
                if progress:
                    progress("trained", {"done": place, "total": len(cells)})
            self._close(cells, done, target)

    def _begin(self, pretrain: Pretrain, progress: Progress | None) -> None:
        """Write the plan, or compare it with the one that is there and look whether the next cell can be trained."""
        path = self.folder / _PLAN
        if not path.is_file():
            found = self.check(pretrain, progress)
            if found is not None:
                found.save(self.folder / runs.MANIFEST)
            files.write_text(path, dump_yaml(self.plan()))
            return
        begun = load_yaml(path)
        changed = next((name for name, value in self.plan().items() if begun.get(name) != value), None)
        if changed is not None:
            raise SettingsError(
                f"The ablation was begun with {changed}={begun.get(changed)}, but {self.plan()[changed]} is asked for",
                where=self.folder,
                fix="Resume without changes, or choose another -o",
            )
        following = [cell for cell in self.cells() if self._kept(cell) is None]  # all are read: none may be damaged
        if following:
            self._pretrain(pretrain, following[0], self._data(), None, dry_run=True)

    def _cell(self, pretrain: Pretrain, cell: Cell, target: torch.device, progress: Progress | None) -> dict[str, Any]:
        """Return the scores of a cell, or why there are none; what was done before is read."""
        before = self._kept(cell)
        if before is not None:
            return before
        try:
            result = {**cell.place, **self._trained(pretrain, cell, target, progress)}
        except StoppedError as error:
            raise StoppedError(error.what, where=error.where, fix=_REPEAT) from error
        except DataError as error:  # not kept: the images may be there the next time
            return {**cell.place, "missing": error}
        files.write_json(self._place(cell), plain(result))
        return result

    def _trained(
        self, pretrain: Pretrain, cell: Cell, target: torch.device, progress: Progress | None
    ) -> dict[str, Any]:
        """Return the scores of a training, or by what it ended.

        Raises:
            DataError: Images or files are not as they have to be, which is no result.
        """
        try:
            self._pretrain(pretrain, cell, self._data(), progress)
        except (StoppedError, StorageError, DataError):
            raise
        except MedsslError as error:  # it collapsed, diverged, or its settings were refused
            return {"failed": error.what}
        try:
            return vars(validate(self._folder(cell), self._manifest(), self.label, target))
        except NotFiniteError as error:
            return {"failed": error.what}

    def _close(self, cells: list[Cell], done: list[dict[str, Any]], target: torch.device) -> None:
        """Score random weights of the first run that can be, write the page, and say what is missing."""
        missing: list[DataError] = [one["missing"] for one in done if "missing" in one]
        first = next((cell for cell, one in zip(cells, done, strict=True) if "probe" in one), None)
        if first is None and not missing:
            raise DataError("No cell could be trained and scored", where=self.folder, fix=str(done[0]["failed"]))
        if first is not None:
            random = validate(self._folder(first), self._manifest(), self.label, target, baseline="random")
            files.write_json(self.folder / _BASELINE, plain(vars(random)))
            scored = [cell for cell, one in zip(cells, done, strict=True) if "probe" in one]
            settings = [kept.mapping(self._folder(cell) / runs.SETTINGS) for cell in scored]
            said = runs.record(self._folder(first))["remarks"]
            ablated.write(self.folder, self.plan(), done, vars(random), self.score, self._synthetic(), settings, said)
        if missing:
            fix = f"{missing[0].fix.rstrip('.')}. {_REPEAT}" if missing[0].fix else _REPEAT
            lack = counted_of(len(missing), len(cells), "training", "lacks images or files", "lack images or files")
            raise DataError(f"{lack}; the first: {missing[0].what}", where=missing[0].where, fix=fix)

    def _pretrain(
        self, pretrain: Pretrain, cell: Cell, data: Path | None, progress: Progress | None, *, dry_run: bool = False
    ) -> None:
        spec = self.label
        words = {"label": spec.column, "positive": spec.positive, "negative": spec.negative}
        watched = {"data": {name: value for name, value in words.items() if value}}
        kind = {"own_modality": dict(self.own_modality)} if self.own_modality else {}
        pretrain(
            self.modality,
            cell.method,
            data=data,
            backbone=self.backbone,
            settings=united(cell.settings, watched, kind),
            out=self._folder(cell),
            resume=not dry_run,
            dry_run=dry_run,
            progress=progress,
        )

    def _kept(self, cell: Cell) -> dict[str, Any] | None:
        """Return what was kept of a training; None where it has not come to its end.

        Raises:
            DataError: The file is damaged.
        """
        path, fix = self._place(cell), f"Delete the file. {_REPEAT}"
        try:
            found = kept.mapping(path)
        except DataError as error:
            raise DataError(error.what, where=path, fix=fix) from error
        if found and not _is_result(found, cell):
            raise DataError(f"It holds neither the scores of {cell.name} nor why it failed", where=path, fix=fix)
        return _numbers(found) if found else None

    def _place(self, cell: Cell) -> Path:
        return self.folder / _CELLS / f"{cell.name}.json"

    def _folder(self, cell: Cell) -> Path:
        return self.folder / "runs" / cell.name

    def _data(self) -> Path | None:
        """Return what is trained on: a folder of images by the manifest that was made of it."""
        made = self.folder / runs.MANIFEST
        return made if made.is_file() else self.data

    def _manifest(self) -> Path:
        data = self._data()
        return Path(data) if data else builtin.cohort(self._like).manifest

    def _synthetic(self) -> bool:
        return builtin.is_builtin(self._manifest()) or bool(self.data and builtin.is_builtin(Path(self.data) / "x"))


def _is_result(found: Mapping[str, Any], cell: Cell) -> bool:
    """Tell whether what was read is what a training came to, and of that cell."""
    if any(found.get(name) != value for name, value in cell.place.items()):
        return False
    if "failed" in found:
        return isinstance(found["failed"], str)
    return all(one in found and isinstance(found[one], int | float | None) for one in _SCORED)


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return scores as they were before they were written: JSON has null for what is undefined."""
    return {name: float("nan") if name in _SCORED and value is None else value for name, value in found.items()}


def _is_whole(name: str) -> bool:
    return name.startswith("train.")
