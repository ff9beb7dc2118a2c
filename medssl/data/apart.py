"""Work on foreign bytes in child processes: a file that crashes its decoder, hangs or eats memory costs one row.

Children are forked, so that what they need is there already and a start costs milliseconds; where a platform has no
fork, everything runs in this process and the limits do not hold.
"""

import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from medssl.errors import MedsslError

T = TypeVar("T")
R = TypeVar("R")

SECONDS = 10.0
MEMORY = 2**30  # bytes beyond what the process held before
_WORTH_A_PROCESS = 100  # files, which take about as long as another process takes to begin
_AHEAD = 32  # results a child that may wait for an earlier one


@dataclass(frozen=True)
class Lost:
    """An item without a result, and why, in words that follow "the file: "."""

    reason: str


def each(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    processes: int | None = None,
    seconds: float | Callable[[T], float] = SECONDS,
    memory: int = MEMORY,
) -> Generator[R | Lost]:
    """Yield the function of every item, in their order.

    Args:
        function: Called in a child; what it returns is pickled.
        items: What is worked on.
        processes: Children at a time; as many as `worth` says when None.
        seconds: Wall time that an item may take, or what gives it for an item.
        memory: Bytes that a child may take beyond what this process has.
    """
    if not items:
        return
    if "fork" not in multiprocessing.get_all_start_methods():
        yield from map(function, items)
        return
    crew = _Crew(function, min(processes or worth(len(items)), len(items)), seconds, memory)
    try:
        yield from crew.run(items)
    finally:
        crew.dismiss()


def worth(items: int) -> int:
    """Return how many children so many files are worth, at most one a core that this process may use."""
    return min(usable_cores(), 1 + items // _WORTH_A_PROCESS)


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    number: int = -1
    seconds: float = 0.0
    deadline: float = 0.0


class _Crew(Generic[T, R]):
    def __init__(
        self, function: Callable[[T], R], count: int, seconds: float | Callable[[T], float], memory: int
    ) -> None:
        self.function, self.memory = function, memory
        self.seconds = seconds if callable(seconds) else lambda _: seconds
        self.idle = [self._hire() for _ in range(count)]
        self.busy: dict[Connection, _Worker] = {}

    def run(self, items: Sequence[T]) -> Iterator[R | Lost]:
        done: dict[int, R | Lost] = {}
        given = shown = 0
        while shown < len(items):
            while self.idle and given < min(len(items), shown + _AHEAD * (len(self.idle) + len(self.busy))):
                self._give(given, items[given])
                given += 1
            done.update(self._results())
            while shown in done:
                yield done.pop(shown)
                shown += 1

    def dismiss(self) -> None:
        for worker in (*self.idle, *self.busy.values()):
            worker.process.kill()
        for worker in (*self.idle, *self.busy.values()):
            worker.process.join()
            worker.pipe.close()

    def _hire(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: a child only reads files
            process = multiprocessing.get_context("fork").Process(
                target=_work, args=(theirs, self.function, self.memory), daemon=True
            )
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _give(self, number: int, item: T) -> None:
        worker = self.idle.pop()
        try:
            worker.pipe.send(item)
        except OSError:  # it was killed while it waited, by somebody else
            worker.process.join()
            worker = self._hire()
            worker.pipe.send(item)
        worker.number, worker.seconds = number, self.seconds(item)
        worker.deadline = time.monotonic() + worker.seconds
        self.busy[worker.pipe] = worker

    def _results(self) -> dict[int, R | Lost]:
        """Wait until at least one child is done, or dead, or late."""
        left = min(worker.deadline for worker in self.busy.values()) - time.monotonic()
        ready = wait(list(self.busy), timeout=max(left, 0.0))
        if ready:
            return dict(self._received(self.busy.pop(pipe)) for pipe in ready)  # type: ignore[call-overload]
        late = [worker for worker in self.busy.values() if worker.deadline <= time.monotonic()]
        for worker in late:
            worker.process.kill()
            self._replace(self.busy.pop(worker.pipe))
        return {worker.number: Lost(f"reading it takes longer than {worker.seconds:g} s") for worker in late}

    def _received(self, worker: _Worker) -> tuple[int, R | Lost]:
        try:
            result = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return worker.number, Lost(f"reading it ends the reader ({_end_of(worker.process.exitcode)})")
        self.idle.append(worker)
        return worker.number, result

    def _replace(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self.idle.append(self._hire())


def _work(pipe: Connection, function: Callable[[Any], Any], memory: int) -> None:
    """Answer one item after the other until the parent is gone; what decoders print is dropped."""
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    _limit_memory(memory)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # threads of the parent are not here, and children are many
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            result = function(item)
        except MemoryError:
            result = Lost(f"reading it needs more than {memory / 2**30:.1f} GiB of memory")
        except MedsslError as error:
            result = Lost(error.what)
        except Exception as error:
            result = Lost(f"it cannot be read ({type(error).__name__})")
        pipe.send(result)


def _limit_memory(extra: int) -> None:
    try:
        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return  # no Linux: only the time is limited
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + extra if hard < 0 else min(now + extra, hard), hard))


def _end_of(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"
