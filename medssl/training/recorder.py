"""The log of a run: one line a logging step in `metrics.jsonl`, remarks said aloud and kept, and a pulse for people."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medssl.files import append_json_line
from medssl.training.collapse import Alarms
from medssl.training.loop import Hook, Training

Progress = Callable[[str, dict[str, Any]], None]
WALL_CLOCK = ("images_per_second", "data_wait_share", "seconds")

_FLAT = 0.99  # less than one hundredth below where it began
_FLAT_FROM = 0.25  # of all steps
_FLAT_LINES = 8  # lines of the log that are needed to say so


class Journal:
    """Where lines go: the run's log if there is one (first process only), and whoever watches."""

    def __init__(self, log: Path | None = None, progress: Progress | None = None) -> None:
        self.log, self.progress = log, progress

    def line(self, kind: str, values: dict[str, Any]) -> None:
        """Keep a line and show it."""
        if self.log is not None:
            append_json_line(self.log, {"kind": kind, **values})
        self.show(kind, values)

    def show(self, kind: str, values: dict[str, Any]) -> None:
        """Show something without keeping it."""
        if self.progress is not None:
            self.progress(kind, values)

    def remark(self, step: int, text: str) -> None:
        """Say something aloud, and keep it."""
        self.line("remark", {"step": step, "text": text})


class Recorder(Hook):
    """Log the means of all loss terms over the steps since the last line, and the speed.

    The sums of an unfinished window are part of the state, so that a resumed run logs the same numbers.
    """

    name = "recorder"

    def __init__(self, journal: Journal, every: int, alarms: Alarms | None = None) -> None:
        """Write a line to `journal` every so many steps, and show it to `alarms`, which may end the run."""
        self.journal, self.every, self.alarms = journal, every, alarms
        self._sums: dict[str, torch.Tensor] = {}
        self._steps, self._images = 0, 0
        self._first: float | None = None
        self._recent: list[float] = []
        self._told = False
        self._since = (0.0, 0.0)

    def start(self, training: Training) -> None:
        self._mark(training)

    def after_step(self, training: Training) -> None:
        for name, value in training.losses.items():
            so_far = self._sums[name].to(value.device) if name in self._sums else torch.zeros_like(value)
            self._sums[name] = so_far + value
        self._steps += 1
        self._images += len(training.batch or ()) * training.device.world
        if training.step % self.every == 0 or training.step == training.plan.steps or training.stopped:
            self._write(training)
        self.journal.show("pulse", {"step": training.step, "total": training.plan.steps})

    def state(self) -> dict[str, Any]:
        return {
            "sums": {name: value.clone() for name, value in self._sums.items()},
            "steps": self._steps,
            "first": self._first,
            "recent": list(self._recent),
            "told": self._told,
            "held": list(self.alarms.held) if self.alarms else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._sums, self._steps = dict(state["sums"]), state["steps"]
        self._first, self._recent, self._told = state["first"], list(state["recent"]), state["told"]
        if self.alarms and state.get("held"):
            self.alarms.held = list(state["held"])

    def _write(self, training: Training) -> None:
        means = {name: float(training.device.mean(value / self._steps)) for name, value in self._sums.items()}
        seconds, waited = self._elapsed(training)
        line = {
            "step": training.step,
            "epoch": training.epoch,
            **means,
            "lr": training.learning_rate,
            "images_per_second": round(self._images / max(seconds, 1e-9), 1),
            "data_wait_share": round(waited / max(seconds, 1e-9), 4),
            "seconds": round(training.clock.seconds, 2),
        }
        self.journal.line("step", line)
        self._look(training, means["loss"])
        if self.alarms:
            self.alarms.look(training.step, means, self._steps)
        self._sums, self._steps = {}, 0
        self._mark(training)

    def _look(self, training: Training, loss: float) -> None:
        """Say once when the loss has hardly moved after a quarter of the steps."""
        self._first = loss if self._first is None else self._first
        self._recent = [*self._recent, loss][-_FLAT_LINES:]
        late = training.step >= _FLAT_FROM * training.plan.steps
        if self._told or not late or len(self._recent) < _FLAT_LINES:
            return
        mean = sum(self._recent) / len(self._recent)
        if mean > _FLAT * self._first > 0:
            self._told = True
            self.journal.remark(
                training.step,
                f"The loss is flat: {self._first:.4g} at first, {mean:.4g} now. "
                "Try a higher train.base_learning_rate, or look at the images in the report",
            )

    def _mark(self, training: Training) -> None:
        self._since, self._images = (time.perf_counter(), training.clock.waited), 0

    def _elapsed(self, training: Training) -> tuple[float, float]:
        return time.perf_counter() - self._since[0], training.clock.waited - self._since[1]
