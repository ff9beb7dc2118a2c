"""Checkpoints: complete states of a run, each a folder that is there whole or not at all.

`checkpoints/step-00000120/state.pt` holds plain values and tensors only (`torch.load(..., weights_only=True)`), and
`MANIFEST.json` its hash. The two newest are kept, and the one that the online kNN liked best. The length of
`metrics.jsonl` at that moment is part of the state, so that what was logged after it is cut off on resume.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medssl.errors import DataError, StoppedError
from medssl.files import atomic_folder, storage_errors, truncate, verify_folder
from medssl.training import runs
from medssl.training.loop import Hook, Training
from medssl.training.stopping import StopSignals

_KEPT = 2


def folders(run: Path) -> list[Path]:
    """Return a run's checkpoints, oldest first."""
    return sorted(path for path in (Path(run) / runs.CHECKPOINTS).glob("step-*") if path.is_dir())


def path_of(run: Path, step: int) -> Path:
    """Return where the checkpoint of a step stands."""
    return Path(run) / runs.CHECKPOINTS / f"step-{step:08d}"


def save(run: Path, state: dict[str, Any], best: int | None = None) -> Path:
    """Write a checkpoint, then remove all but the two newest and the best.

    Args:
        run: The run folder.
        state: Plain values and tensors, `step` among them.
        best: The step whose checkpoint is kept whatever its age.

    Raises:
        StorageError: The disk is full or cannot be written; earlier checkpoints are untouched.
    """
    log = Path(run) / runs.LOG
    state = {**state, "log_bytes": log.stat().st_size if log.exists() else 0}
    target = path_of(run, state["step"])
    with atomic_folder(target) as folder:
        _write(state, folder / "state.pt")
    kept = {*folders(run)[-_KEPT:], target, *([path_of(run, best)] if best is not None else [])}
    for old in folders(run):
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)
    return target


def _write(state: dict[str, Any], path: Path) -> None:
    """Save a state; torch turns a full disk into a RuntimeError, so the file is opened here."""
    with storage_errors(path), path.open("wb") as handle:
        try:
            torch.save(state, handle)
        except RuntimeError as error:
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load(folder: Path) -> dict[str, Any]:
    """Return the state in a checkpoint, on the CPU, without ever running code from the file.

    Raises:
        DataError: A file is missing or damaged.
    """
    verify_folder(folder)
    try:
        return torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises anything on foreign bytes
        raise DataError("The state cannot be read", where=folder / "state.pt") from error


def newest(run: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the newest state that is whole (None if there is none) and a remark for each that is not."""
    remarks: list[str] = []
    for folder in reversed(folders(run)):
        try:
            return load(folder), remarks
        except DataError as error:
            remarks.append(f"Checkpoint {folder.name} was passed over: {error}")
    return None, remarks


def cut_log(run: Path, state: dict[str, Any] | None) -> None:
    """Cut the log back to where it was when the state was saved; without a state, to nothing."""
    truncate(Path(run) / runs.LOG, state["log_bytes"] if state else 0)


class Checkpointer(Hook):
    """Save the state every few minutes, at each new best, at the end, and when a signal asks to stop."""

    name = "checkpointer"

    def __init__(
        self,
        run: Path,
        minutes: float,
        signals: StopSignals,
        best: Callable[[], int | None] = lambda: None,
        agree_every: int = 10,
    ) -> None:
        """Save under a run folder.

        Args:
            run: The run folder.
            minutes: Wall-clock minutes between checkpoints.
            signals: Where a request to stop is noted.
            best: Returns the best step so far by the online kNN.
            agree_every: Among several processes, steps between asking each other whether one was told to stop.
        """
        self.run, self.minutes, self.signals, self.best, self.agree_every = run, minutes, signals, best, agree_every
        self._saved_at = time.monotonic()
        self._saved_step = -1

    def start(self, training: Training) -> None:
        self._saved_at, self._saved_step = time.monotonic(), training.step

    def after_step(self, training: Training) -> None:
        if self._asked(training):
            self._save(training)
            training.device.wait()
            raise StoppedError(
                f"Stopped on {self.signals.asked or 'request'} after step {training.step} of {training.plan.steps}; "
                "the state is saved",
                where=self.run,
                fix=f"Go on with: --resume -o {self.run}",
            )
        due = time.monotonic() - self._saved_at >= 60 * self.minutes
        if due or self.best() == training.step:
            self._save(training)

    def finish(self, training: Training) -> None:
        if self._saved_step != training.step:
            self._save(training)

    def _asked(self, training: Training) -> bool:
        asked = self.signals.asked is not None
        if training.device.world > 1:
            return training.step % self.agree_every == 0 and training.device.any(asked)
        return asked

    def _save(self, training: Training) -> None:
        if training.device.rank == 0:
            save(self.run, training.state(), self.best())
        self._saved_at, self._saved_step = time.monotonic(), training.step
