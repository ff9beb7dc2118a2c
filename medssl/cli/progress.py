"""Progress for people: a bar on a terminal, a plain line every few seconds anywhere else; always on standard error."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_EVERY = 5.0  # seconds between plain lines

_TITLES = {
    "phantom": "drawing the synthetic cohort",
    "scan": "scanning",
    "pack": "packing images",
    "read": "reading images",
    "verify": "verifying",
    "step": "training",
    "map": "drawing maps",
    "kept": "features across training",
    "trained": "trainings",
    "download": "downloading, MB",
    "unpack": "unpacking, MB",
}


@contextmanager
def shown() -> Iterator["Bar | Lines"]:
    """Yield what to hand over as `progress=`: a bar where standard error is a terminal, lines otherwise."""
    if sys.stderr.isatty():
        with Bar() as bar:
            yield bar
    else:
        yield Lines()


class Narrator:
    """Say some events at once as text on standard error, and hand all others on to a display."""

    def __init__(self, display: "Bar | Lines", tellers: Mapping[str, Callable[[dict[str, Any]], str]]) -> None:
        """Take who shows the rest, and for each kind of event that is said what makes its text."""
        self.display, self.tellers = display, tellers

    def __call__(self, kind: str, values: dict[str, Any]) -> None:
        """Take an event."""
        if kind in self.tellers:
            self.display.say(self.tellers[kind](values))
        else:
            self.display(kind, values)


class Lines:
    """A plain line every few seconds; remarks and monitors at once."""

    def __init__(self, every: float = _EVERY) -> None:
        """Write at most a line each so many seconds."""
        self.every = every
        self._pace = Pace()
        self._wrote = float("-inf")
        self._last: dict[str, Any] = {}

    def __call__(self, kind: str, values: dict[str, Any]) -> None:
        """Take an event."""
        said = sentence(kind, values)
        if said:
            self.say(said)
        if kind in ("start", "step"):  # a run that starts has no figures yet
            self._last = values if kind == "step" else {}
        counted = count(kind, values)
        if counted is None:
            return
        title, done, total = counted
        left = self._pace.left(title, done, total)
        now = time.monotonic()
        if now - self._wrote >= self.every or done == total:
            self._wrote = now
            figures = speed(self._last) if title == _TITLES["step"] else ""
            self.say(" | ".join(filter(None, [f"{title} {done}/{total}", figures, left])))

    def say(self, text: str) -> None:
        """Write text at once."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class Bar:
    """A bar a stage, with loss, images a second, share of time spent waiting for data, and time left."""

    def __init__(self) -> None:
        """Set up the display; `with` shows it."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}", markup=False),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._pace = Pace()
        self._figures = ""
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Bar":
        self._display.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._display.stop()

    def __call__(self, kind: str, values: dict[str, Any]) -> None:
        """Take an event."""
        said = sentence(kind, values)
        if said:
            self.say(said)
        if kind in ("start", "step"):
            self._figures = speed(values) if kind == "step" else ""
        counted = count(kind, values)
        if counted is None:
            return
        title, done, total = counted
        if title not in self._tasks:
            self._tasks[title] = self._display.add_task(title, total=total, figures="")
        elif self._pace.begins(title, done):
            self._display.reset(self._tasks[title], total=total)
        left = self._pace.left(title, done, total)
        figures = " | ".join(filter(None, [self._figures if title == _TITLES["step"] else "", left]))
        self._display.update(self._tasks[title], completed=done, total=total, figures=figures)

    def say(self, text: str) -> None:
        """Write text above the bars; whatever looks like markup in it is text."""
        self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Pace:
    """Time left of a stage, from the pace since it began in this process; counting down begins it again."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, int]] = {}
        self._last: dict[str, int] = {}

    def begins(self, title: str, done: int) -> bool:
        """Tell whether this count is the first of a stage."""
        return done < self._last.get(title, done + 1)

    def left(self, title: str, done: int, total: int) -> str:
        """Return "2 min left", or nothing while that is unknown."""
        now = time.monotonic()
        if self.begins(title, done):
            self._began[title] = now, done
        self._last[title] = done
        start, first = self._began[title]
        if done <= first or done >= total or now - start < 1:
            return ""
        return f"{duration((now - start) / (done - first) * (total - done))} left"


def count(kind: str, values: dict[str, Any]) -> tuple[str, int, int] | None:
    """Return title, done and total of an event that counts something, else None."""
    done = values.get("done", values.get("step"))
    if done is None or not values.get("total"):
        return None
    title = _TITLES["step"] if kind in ("start", "pulse", "step") else _TITLES.get(kind, kind)
    return title, int(done), int(values["total"])


def speed(values: dict[str, Any]) -> str:
    """Return loss, images a second and the share of waiting for data, as far as they are known."""
    parts = []
    if "loss" in values:
        parts.append(f"loss {values['loss']:.4g}")
    if "images_per_second" in values:
        parts.append(f"{values['images_per_second']:.0f} images/s")
    if "data_wait_share" in values:
        parts.append(f"{values['data_wait_share']:.0%} waiting for data")
    return " | ".join(parts)


def sentence(kind: str, values: dict[str, Any]) -> str | None:
    """Return what is said at once: remarks, and looks at the features."""
    if kind == "remark":
        return f"note: {values['text']}"
    if kind != "monitor":
        return None
    score = values.get("knn_auroc")
    parts = [] if score is None else [f"kNN AUROC {score:.3f} (n={values.get('knn_n')})"]
    parts += [f"{name} {values[key]:.3g}" for name, key in _SHOWN if values.get(key) is not None]
    when = "before training" if values.get("step") == 0 else f"epoch {values['epoch'] + 1}"
    return f"{when}: {', '.join(parts)}" if parts else None


_SHOWN = (("spread", "feature_std"), ("effective rank", "effective_rank"))


def duration(seconds: float) -> str:
    """Return a time in its two largest fitting units.

    Example:
        >>> duration(5), duration(70), duration(4000)
        ('5 s', '1 min', '1.1 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
