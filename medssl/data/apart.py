"""Work on foreign bytes in child processes: a file that crashes its decoder, hangs or eats memory costs one row.

Children are forked, so that what they need is there already and a start costs milliseconds; where a platform has no
fork, everything runs in this process and the limits do not hold.
"""

import faulthandler
import gc
import math
import mmap
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from medssl.errors import MedsslError

T = TypeVar("T")
R = TypeVar("R")
B = TypeVar("B")

SECONDS = 10.0
MEMORY = 2**30  # bytes beyond what the process held before
_WORTH_A_PROCESS = 100  # files, which take about as long as another process takes to begin
_AHEAD = 32  # results a child that may wait for an earlier one
_GARBAGE = 20_000  # objects between two looks for garbage
_PATIENCE = 1.0  # seconds after which a child hands over what it has of a batch
_IDLE = (-1, math.inf)  # since never


@dataclass(frozen=True)
class Lost:
    """An item without a result, and why, in words that follow "the file: "."""

    reason: str


class Block(NamedTuple, Generic[B]):
    """What came of neighbouring items.

    Attributes:
        start: Number of the first.
        size: How many they are.
        value: Their results put together; or `Lost`, of one item.
    """

    start: int
    size: int
    value: B | Lost


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
    done: dict[int, R | Lost] = {}
    shown = 0
    count = min(processes or worth(len(items)), max(len(items), 1))

    def near(start: int) -> bool:
        return start < shown + _AHEAD * count

    found: Generator[Block[R]] = _blocks(function, items, 1, _only, count, seconds, memory, near)
    with closing(found):
        for block in found:
            done[block.start] = block.value
            while shown in done:
                result = done.pop(shown)
                shown += 1
                yield result


def blocks(
    function: Callable[[T], R],
    items: Sequence[T],
    combine: Callable[[list[R]], B],
    *,
    size: int,
    processes: int | None = None,
    seconds: float | Callable[[T], float] = SECONDS,
    memory: int = MEMORY,
) -> Generator[Block[B]]:
    """Yield the function of every item, many at a time, as they come.

    Args:
        function: Called in a child.
        items: What is worked on.
        combine: Called in the child on neighbouring results, `Lost` ones too; what it returns is pickled.
        size: Most items that are combined.
        processes: Children at a time; as many as `worth` says when None.
        seconds: Wall time that an item may take, or what gives it for an item.
        memory: Bytes that a child may take beyond what this process has.
    """
    count = min(processes or worth(len(items)), max(len(items), 1))
    size = max(1, min(size, -(-len(items) // (4 * count))))  # children end at about the same time
    yield from _blocks(function, items, size, combine, count, seconds, memory, lambda _: True)


def _only(results: list[Any]) -> Any:
    return results[0]


def _blocks(
    function: Callable[[T], R],
    items: Sequence[T],
    size: int,
    combine: Callable[[list[Any]], B],
    processes: int,
    seconds: float | Callable[[T], float],
    memory: int,
    near: Callable[[int], bool],
) -> Generator[Block[B]]:
    if not items:
        return
    if "fork" not in multiprocessing.get_all_start_methods():
        for start in range(0, len(items), size):
            part = items[start : start + size]
            yield Block(start, len(part), combine([function(item) for item in part]))
        return
    crew = _Crew(function, combine, processes, seconds, memory)
    try:
        yield from crew.run(items, size, near)
    finally:
        crew.dismiss()


def worth(items: int) -> int:
    """Return how many children so many files are worth, at most one a core that this process may use."""
    return min(usable_cores(), 1 + items // _WORTH_A_PROCESS)


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker(Generic[T]):
    process: Any
    pipe: Connection
    now: "memoryview[float]"
    start: int = 0  # number of the first item without a result
    items: Sequence[T] = ()  # those without a result

    def at(self) -> tuple[int, float]:
        """Return the number of the item that it works on, and since when."""
        return int(self.now[0]), self.now[1]


class _Crew(Generic[T, R, B]):
    def __init__(
        self,
        function: Callable[[T], R],
        combine: Callable[[list[Any]], B],
        count: int,
        seconds: float | Callable[[T], float],
        memory: int,
    ) -> None:
        self.function, self.combine, self.memory = function, combine, memory
        self.seconds = seconds if callable(seconds) else lambda _: seconds
        self.idle = [self._hire() for _ in range(count)]
        self.busy: dict[Connection, _Worker[T]] = {}
        self.again: list[tuple[int, Sequence[T]]] = []

    def run(self, items: Sequence[T], size: int, near: Callable[[int], bool]) -> Iterator[Block[B]]:
        given = 0
        while given < len(items) or self.again or self.busy:
            while self.idle and (self.again or (given < len(items) and near(given))):
                if self.again:
                    self._give(*self.again.pop())
                else:
                    self._give(given, items[given : given + size])
                    given += size
            yield from self._results()

    def dismiss(self) -> None:
        for worker in (*self.idle, *self.busy.values()):
            worker.process.kill()
        for worker in (*self.idle, *self.busy.values()):
            worker.process.join()
            worker.pipe.close()

    def _hire(self) -> _Worker[T]:
        ours, theirs = multiprocessing.Pipe()
        now = memoryview(mmap.mmap(-1, 16)).cast("d")
        _mark(now, *_IDLE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: a child only reads files
            process = multiprocessing.get_context("fork").Process(
                target=_work, args=(theirs, ours, now, self.function, self.combine, self.memory), daemon=True
            )
            process.start()
        theirs.close()
        return _Worker(process, ours, now)

    def _give(self, start: int, items: Sequence[T]) -> None:
        worker = self.idle.pop()
        _mark(worker.now, start, time.monotonic())
        try:
            worker.pipe.send((start, items))
        except OSError:  # it was killed while it waited, by somebody else
            worker.process.join()
            worker = self._hire()
            _mark(worker.now, start, time.monotonic())
            worker.pipe.send((start, items))
        worker.start, worker.items = start, items
        self.busy[worker.pipe] = worker

    def _results(self) -> Iterator[Block[B]]:
        """Wait until at least one child has something, or is dead, or late."""
        left = min(self._left(worker) for worker in self.busy.values())
        ready = wait(list(self.busy), timeout=min(max(left, 0.0), _PATIENCE))
        if ready:
            for pipe in ready:
                yield self._received(self.busy[pipe])  # type: ignore[index]
            return
        for worker in [worker for worker in self.busy.values() if self._left(worker) <= 0]:
            worker.process.kill()
            seconds = self.seconds(self._item(worker)[1])
            yield self._lost(worker, f"reading it takes longer than {seconds:g} s")

    def _left(self, worker: _Worker[T]) -> float:
        """Return how many seconds a child has left for what it works on."""
        number, since = worker.at()
        return math.inf if number < 0 else since + self.seconds(self._item(worker)[1]) - time.monotonic()

    def _item(self, worker: _Worker[T]) -> tuple[int, T]:
        """Return what a child works on, or what it has not handed over yet."""
        number, _ = worker.at()
        place = number - worker.start if worker.start <= number < worker.start + len(worker.items) else 0
        return place, worker.items[place]

    def _received(self, worker: _Worker[T]) -> Block[B]:
        try:
            count, value = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            return self._lost(worker, f"reading it ends the reader ({_end_of(worker.process.exitcode)})")
        block = Block(worker.start, count, value)
        worker.start, worker.items = worker.start + count, worker.items[count:]
        if not worker.items:
            self.idle.append(self.busy.pop(worker.pipe))
        return block

    def _lost(self, worker: _Worker[T], why: str) -> Block[B]:
        """Replace a child; what it had not handed over is done again, but for the item that it worked on."""
        place, _ = self._item(worker)
        for first, last in ((0, place), (place + 1, len(worker.items))):
            if first < last:
                self.again.append((worker.start + first, worker.items[first:last]))
        self.busy.pop(worker.pipe)
        worker.process.join()
        worker.pipe.close()
        self.idle.append(self._hire())
        return Block(worker.start + place, 1, Lost(why))


def _work(
    pipe: Connection,
    other_end: Connection,
    now: "memoryview[float]",
    function: Callable[[Any], Any],
    combine: Callable[[list[Any]], Any],
    memory: int,
) -> None:
    """Answer one batch after the other until the parent is gone; what decoders print is dropped."""
    other_end.close()  # or the end of the parent would never be seen
    faulthandler.disable()
    gc.freeze()  # what the parent had is neither looked through nor copied
    gc.set_threshold(_GARBAGE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    _limit_memory(memory)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # threads of the parent are not here, and children are many
    parent = os.getppid()
    while True:
        try:
            start, items = pipe.recv()
        except EOFError:
            return
        results: list[Any] = []
        began = time.monotonic()
        for number, item in enumerate(items, start=start):
            since = time.monotonic()
            if os.getppid() != parent:
                return
            if results and since - began > _PATIENCE:
                _hand_over(pipe, now, combine, results)
                results, began = [], since
            _mark(now, number, since)
            results.append(_result(function, item, memory))
        _hand_over(pipe, now, combine, results)


def _mark(now: "memoryview[float]", number: int, since: float) -> None:
    """Say on which item a child works, and since when, first: each is one store, and a parent may read at any time.

    `struct` would write zeros first, and a parent that reads them finds a child late that has just begun.
    """
    now[1] = since
    now[0] = number


def _hand_over(
    pipe: Connection, now: "memoryview[float]", combine: Callable[[list[Any]], Any], results: list[Any]
) -> None:
    _mark(now, *_IDLE)  # a parent that is busy makes nobody late
    pipe.send((len(results), combine(results)))


def _result(function: Callable[[Any], Any], item: Any, memory: int) -> Any:
    try:
        return function(item)
    except MemoryError:
        return Lost(f"reading it needs more than {memory / 2**30:.1f} GiB of memory")
    except MedsslError as error:
        return Lost(error.what)
    except Exception as error:
        return Lost(f"it cannot be read ({type(error).__name__})")


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
