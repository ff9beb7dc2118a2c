"""Computing cells: which there are, in which order, what is kept of each, and how long the rest will take."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from medssl.errors import StoppedError
from medssl.evaluation.arms import Arm
from medssl.evaluation.cells import Cell, CellFolder
from medssl.evaluation.cohort import Progress
from medssl.evaluation.learners import (
    INITIALISATIONS,
    Architecture,
    Bench,
    PixelFeatures,
    PretrainedFeatures,
    ProbeLearner,
    RandomFeatures,
    ShortcutFeatures,
    TrainingLearner,
    fine_tuned,
    scratch,
)
from medssl.evaluation.plan import SweepSettings
from medssl.evaluation.preparation import Draw, initial_seed
from medssl.evaluation.shortcut import device_names
from medssl.training.loop import Hook, Training
from medssl.training.stopping import StopSignals


@dataclass(frozen=True)
class Entry:
    """One arm or one of its seeds, as it is computed.

    Attributes:
        arm: The arm's name.
        run: The pretraining run, "" for built-in arms.
        seed: Of the pretraining; None where each draw has initial weights of its own.
        learner: What turns labels into scores.
    """

    arm: str
    run: str
    seed: int | None
    learner: ProbeLearner | TrainingLearner


@dataclass(frozen=True)
class Planned:
    """A cell with what is needed to compute it.

    Attributes:
        cell: Which.
        entry: The arm.
        bench: Where its images are.
        rows: Of the bench's pool, those with a label.
    """

    cell: Cell
    entry: Entry
    bench: Bench
    rows: np.ndarray

    @property
    def place(self) -> str:
        """Whose labels are learnt from: "id", or the test set of another place ("own:NAME")."""
        return next(iter(self.bench.tests))


class Interrupt(Hook):
    """Ends a training at once when a signal asks for it; the cell under way is computed again later."""

    name = "interrupt"

    def __init__(self, signals: StopSignals) -> None:
        """Say whose signals."""
        self.signals = signals

    def after_step(self, training: Training) -> None:  # noqa: ARG002
        """Look for a signal."""
        self.check()

    def check(self) -> None:
        """Raise a `StoppedError` if a signal came."""
        if self.signals.asked:
            raise StoppedError(
                f"Stopped by {self.signals.asked}; finished cells are kept", fix="Add --resume to the same command"
            )


@dataclass
class Pace:
    """Seconds that cells took, and so what the rest will take: by learner and fraction, else by learner, else all."""

    seconds: dict[tuple[Any, ...], list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, cell: Cell, seconds: float) -> None:
        """Remember a cell."""
        for name in ((cell.learner, cell.fraction), (cell.learner,), ()):
            self.seconds[name].append(seconds)

    def left(self, cells: Sequence[Cell]) -> float | None:
        """Return the expected seconds of these cells, None before any was seen."""
        if not self.seconds:
            return None
        return float(sum(self._expected(cell) for cell in cells))

    def _expected(self, cell: Cell) -> float:
        names = ((cell.learner, cell.fraction), (cell.learner,), ())
        return float(np.mean(next(self.seconds[name] for name in names if name in self.seconds)))


def entries(arms: Sequence[Arm], bench: Bench, mode: str) -> list[Entry]:
    """Return the pretrained arms and the four built-in ones, which are the same in both modes."""
    first = arms[0].runs[0]
    architecture = Architecture.of(first)
    known = device_names(bench.pool.table)
    devices = tuple(sorted({str(name) for name in known if name}))
    random = tuple(RandomFeatures(architecture, seed) for seed in range(INITIALISATIONS))
    return [
        *(
            Entry(arm.name, run.name, run.seed, _learner(run, mode))
            for arm in arms
            for run in arm.runs
        ),
        Entry("scratch", "", None, scratch(architecture)),
        Entry("random", "", 0, ProbeLearner(random)),
        Entry("pixels", "", 0, ProbeLearner((PixelFeatures(first.recipe),))),
        Entry("shortcut", "", 0, ProbeLearner((ShortcutFeatures(first.recipe, devices),))),
    ]  # fmt: skip


def _learner(run: Any, mode: str) -> ProbeLearner | TrainingLearner:
    return fine_tuned(run) if mode == "finetune" else ProbeLearner((PretrainedFeatures(run),))


def plan_cells(
    arms: Sequence[Entry], bench: Bench, draws: dict[Draw, np.ndarray], settings: SweepSettings
) -> list[Planned]:
    """Return every cell of a bench, the smallest fraction first."""
    tests, identities = bench.test_images(), [entry.learner.identity(bench) for entry in arms]
    return [
        Planned(
            Cell(
                arm=entry.arm,
                run=entry.run,
                seed=draw if entry.seed is None else entry.seed,
                fraction=fraction,
                draw=draw,
                mode=settings.mode,
                learner=entry.learner.name,
                parts={
                    "identity": identity,
                    "labels": bench.label_set(rows),
                    "tests": tests,
                    "seed": settings.seed,
                },
            ),
            entry,
            bench,
            rows,
        )
        for (fraction, draw), rows in draws.items()
        for entry, identity in zip(arms, identities, strict=True)
    ]


def compute(
    cells: Sequence[Planned], settings: SweepSettings, kept: CellFolder, progress: Progress, interrupt: Interrupt
) -> None:
    """Compute the cells that are not finished, one after the other, and keep each."""
    left = [planned for planned in cells if not kept.finished(planned.cell)]
    pace, done = Pace(), len(cells) - len(left)
    for place, planned in enumerate(left):
        interrupt.check()
        cell, bench = planned.cell, planned.bench
        seconds_left = pace.left([later.cell for later in left[place:]])
        where = {"arm": cell.arm, "run": cell.run, "fraction": cell.fraction, "draw": cell.draw}
        progress("cell", {"done": done + place, "total": len(cells), "seconds_left": seconds_left, **where})
        start = time.perf_counter()
        scores, choice = planned.entry.learner.learn(bench, planned.rows, initial_seed(settings, cell.draw))
        seconds = time.perf_counter() - start
        pace.note(cell, seconds)
        kept.keep(cell, _rows(cell, bench, scores), {"choice": choice, "seconds": round(seconds, 3)})
    progress("cell", {"done": len(cells), "total": len(cells), "seconds_left": 0.0})


def _rows(cell: Cell, bench: Bench, scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return a cell's rows of the prediction table."""
    parts = [
        pd.DataFrame(
            {
                "test_set": name,
                "domain": test.domain,
                "sample_id": test.table["sample_id"].astype(object),
                "patient_id": test.table["patient_key"].astype(object),
                "site": test.table["site"].astype(object),
                "label": test.table["target"].astype(int),
                "score": scores[name],
            }
        )
        for name, test in bench.tests.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(**cell.label_columns())
