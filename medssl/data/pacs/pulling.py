"""Fetching what is wanted from a PACS into a folder: one series after another, resumable, within limits.

What is there already is not asked for again. A series of which nothing is there is asked for as a whole; of any other
one, the missing instances are.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from medssl.data.pacs.folder import Folder, hashed
from medssl.data.pacs.landing import Counts, Landing
from medssl.data.pacs.trouble import PassingError, waiting
from medssl.data.pacs.wanted import Series, Wanted
from medssl.data.pacs.window import Limit, Window
from medssl.errors import DataError, StoppedError, StorageError

Progress = Callable[[str, dict[str, Any]], None]
Made = TypeVar("Made")
_GIVEN_UP = 2  # series in a row that fail: then the PACS is gone, not the series
_NAP = 1.0  # seconds between two looks at the clock while waiting


class Source(Protocol):
    """A PACS, however it is asked."""

    def check(self) -> None:
        """Ask whether it is there."""

    def series(self, keys: dict[str, str]) -> Iterator[Series]:
        """Yield the series of the studies that meet the keys."""

    def instances(self, series: Series) -> dict[str, str]:
        """Return the SOP Instance UIDs of a series with their SOP classes."""

    def fetch(self, series: Series, only: list[str] | None, kinds: dict[str, str], landing: Landing) -> None:
        """Have a series sent, or only some instances; `kinds` is what `instances` said of it."""


@dataclass(frozen=True)
class Manners:
    """How a PACS is treated.

    Attributes:
        retries: How often something that failed is tried again before it is given up.
        instances: At most so many instances a second; None for no limit.
        megabytes: At most so many megabytes a second; None for no limit.
        between: Fetch only in this part of the day; None for always.
        stop: Returns why to stop, or None.
        now: The clock on the wall.
        sleep: Waits seconds.
    """

    retries: int = 4
    instances: float | None = None
    megabytes: float | None = None
    between: Window | None = None
    stop: Callable[[], str | None] = lambda: None
    now: Callable[[], datetime] = datetime.now
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Result:
    """What a pull did.

    Attributes:
        counts: Instances that came.
        wanted: Instances that the PACS has of what was wanted.
        already: Instances that were there before.
        missing: Names of the files of instances that did not come.
        given_up: Series that were given up in spite of all tries.
    """

    counts: Counts
    wanted: int = 0
    already: int = 0
    missing: list[str] = field(default_factory=list)
    given_up: int = 0


def find(source: Source, wanted: Wanted, manners: Manners, progress: Progress | None = None) -> list[Series]:
    """Return the series that are wanted, each once, as the PACS lists them.

    Raises:
        PassingError: The PACS did not answer in spite of all tries.
        DataError: It refuses the question.
    """
    pull = _Pull(source, manners, progress)
    pull.wait_for_window()
    pull.patiently(source.check)
    found: dict[str, Series] = {}
    ignored = 0
    for keys in wanted.questions():
        pull.go_on()
        for series in pull.patiently(lambda keys=keys: list(source.series(keys))):  # type: ignore[misc]
            if wanted.meets(series):
                found[series.series] = series
            else:
                ignored += 1
    if ignored and progress:
        progress("remark", {"text": f"{ignored} series of the PACS's answer do not meet what was asked, left out"})
    return wanted.chosen(list(found.values()))


def pull(
    source: Source, series: list[Series], folder: Folder, manners: Manners, progress: Progress | None = None
) -> Result:
    """Fetch series into a folder.

    Args:
        source: The PACS.
        series: What `find` returned.
        folder: Where instances go.
        manners: Limits, tries, and when to stop.
        progress: Called with ("fetching series", {"done": ..., "total": ...}) and remarks.

    Raises:
        StoppedError: It was told to stop, or the window closed; repeating goes on.
        StorageError: The PACS or the disk fails.
        DataError: There is nothing to fetch, or the PACS refuses.
    """
    if not series:
        raise DataError(
            "The PACS has nothing that is wanted", fix="Ask for more; patient IDs may be case-sensitive there"
        )
    work = _Pull(source, manners, progress)
    limits = Limit(manners.instances, sleep=manners.sleep), Limit(manners.megabytes, sleep=manners.sleep)
    landing = Landing(folder, *limits, why_stop=work.why_stop)
    result = Result(landing.counts)
    try:
        work.all(series, landing, result)
    except StoppedError as error:
        raise StoppedError(f"{error.what} ({result.counts.new} instances came)") from None
    return result


class _Pull:
    """One source with manners."""

    def __init__(self, source: Source, manners: Manners, progress: Progress | None) -> None:
        self.source, self.manners, self.progress = source, manners, progress

    def all(self, series: list[Series], landing: Landing, result: Result) -> None:
        """Fetch one series after another; one that fails is left for another time, several mean the PACS is gone."""
        in_a_row = 0
        for done, one in enumerate(series):
            self.tell(done, len(series))
            self.go_on()
            try:
                self.one(one, landing, result)
                in_a_row = 0
            except PassingError as error:
                result.given_up += 1
                in_a_row += 1
                if in_a_row == min(_GIVEN_UP, len(series)):
                    raise
                self.remark(f"a series was given up for now: {error.what}")
        self.tell(len(series), len(series))

    def one(self, series: Series, landing: Landing, result: Result) -> None:
        """Fetch what is missing of a series, with tries as long as each brings something."""
        kinds = self._listed(series)
        missing = self._missing(series, list(kinds), landing.folder)
        result.wanted += len(kinds)
        result.already += len(kinds) - len(missing)
        whole = len(missing) == len(kinds)
        attempt = 0
        while missing:
            error = self._try(series, None if whole else missing, kinds, landing)
            left = self._missing(series, missing, landing.folder)
            attempt = 1 if len(left) < len(missing) else attempt + 1
            if left and (attempt > self.manners.retries or (error is None and attempt > 1 and not whole)):
                result.missing += [hashed(uid) for uid in left]
                if error is not None:
                    raise error
                return
            missing, whole = left, False
            if error is not None:
                self._wait(waiting(attempt, error.after), error.what)

    def _listed(self, series: Series) -> dict[str, str]:
        """Return what is in a series; where that is less than the PACS said before, it is asked again."""
        kinds: dict[str, str] = {}
        for _ in range(2):
            kinds |= self.patiently(lambda: self.source.instances(series))
            if len(kinds) >= (series.instances or 0):
                return kinds
        self.remark(f"the PACS said {series.instances} instances of a series, but lists {len(kinds)}")
        return kinds

    def _try(
        self, series: Series, only: list[str] | None, kinds: dict[str, str], landing: Landing
    ) -> PassingError | None:
        try:
            self.source.fetch(series, only, kinds, landing)
        except PassingError as error:
            return error
        return None

    def _missing(self, series: Series, uids: list[str], folder: Folder) -> list[str]:
        return [uid for uid in uids if not folder.has(series.study, series.series, uid)]

    def patiently(self, ask: Callable[[], Made]) -> Made:
        """Ask, and again after a while when that fails for now."""
        for attempt in range(1, self.manners.retries + 1):
            try:
                return ask()
            except PassingError as error:
                self._wait(waiting(attempt, error.after), error.what)
        return ask()

    def why_stop(self) -> str | None:
        """Return why to stop now, or None."""
        said = self.manners.stop()
        if said is None and self.manners.between and not self.manners.between.open(self.manners.now()):
            said = "The window of --between has closed"
        return None if said is None else f"{said}; what came is complete, repeat the command to go on"

    def go_on(self) -> None:
        """Say whether to stop.

        Raises:
            StoppedError: It is time to.
        """
        reason = self.why_stop()
        if reason is not None:
            raise StoppedError(reason)

    def wait_for_window(self) -> None:
        """Wait until the window opens; being told to stop ends that."""
        window = self.manners.between
        if window is None or window.open(self.manners.now()):
            return
        self.remark(f"waiting until {window.start:%H:%M}")
        while not window.open(self.manners.now()):
            if self.manners.stop() is not None:
                raise StoppedError("Stopped before the window opened; nothing was fetched")
            self.manners.sleep(min(window.opens_in(self.manners.now()), _NAP))

    def _wait(self, seconds: float, why: str) -> None:
        """Wait in naps, so that being told to stop is heard."""
        self.remark(f"{why}; trying again in {seconds:.0f} s")
        while seconds > 0:
            self.go_on()
            self.manners.sleep(min(seconds, _NAP))
            seconds -= _NAP

    def remark(self, text: str) -> None:
        """Tell a person something."""
        if self.progress:
            self.progress("remark", {"text": text})

    def tell(self, done: int, total: int) -> None:
        """Report how many series are done."""
        if self.progress:
            self.progress("fetching series", {"done": done, "total": total})


def complete(result: Result) -> None:
    """Say where something is missing.

    Raises:
        StorageError: Not everything that was wanted came.
    """
    if not (result.missing or result.given_up):
        return
    names = ", ".join(result.missing[:3]) + (", ..." if len(result.missing) > 3 else "")
    what = f"{len(result.missing)} of {result.wanted} instances did not come{f' ({names})' if names else ''}"
    raise StorageError(
        f"{what}, {result.given_up} series were given up",
        fix="Repeat the command to try again; the PACS may not have them, or only in a form that medssl cannot read",
    )
