"""When and how fast a PACS may be asked: a daily window of time, and limits on instances and bytes a second."""

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from datetime import time as clock
from typing import NamedTuple

from medssl.errors import SettingsError


class Window(NamedTuple):
    """A part of every day in local time, which may span midnight.

    Attributes:
        start: When it opens.
        end: When it closes; that minute is outside.
    """

    start: clock
    end: clock

    def open(self, now: datetime) -> bool:
        """Tell whether a moment lies inside."""
        if self.start < self.end:
            return self.start <= now.time() < self.end
        return now.time() >= self.start or now.time() < self.end

    def opens_in(self, now: datetime) -> float:
        """Return the seconds until it opens by the clock on the wall, 0 where it is open."""
        if self.open(now):
            return 0.0
        opening = datetime.combine(now.date(), self.start)
        there = now.replace(tzinfo=None)
        return ((opening if opening > there else opening + timedelta(days=1)) - there).total_seconds()


def parse_window(text: str) -> Window:
    """Return the window of a text like `22:00-06:00`.

    Raises:
        SettingsError: It is no such text, or its ends are equal.
    """
    found = re.fullmatch(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", text.strip())
    try:
        h1, m1, h2, m2 = map(int, found.groups()) if found else (99, 0, 0, 0)
        window = Window(clock(h1, m1), clock(0, 0) if (h2, m2) == (24, 0) else clock(h2, m2))
    except ValueError:
        raise SettingsError(f"Expected times like 22:00-06:00, but got '{text}'", where="--between") from None
    if window.start == window.end:
        raise SettingsError(
            f"The window '{text}' begins when it ends", where="--between", fix="Leave it out for always"
        )
    return window


class Limit:
    """A limit on something a second, kept on average: whoever took too much waits before taking more.

    What was not used is not saved up, so that a pause is not followed by a burst.
    """

    def __init__(
        self,
        per_second: float | None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the limit, None for none, and the clock.

        Raises:
            SettingsError: The limit is not above 0.
        """
        if per_second is not None and not 0 < per_second < float("inf"):
            raise SettingsError(f"A limit is above 0, but got {per_second}", fix="Leave it out for no limit")
        self._each = 0.0 if per_second is None else 1 / per_second
        self._now, self._sleep = now, sleep
        self._due = now()

    def take(self, amount: float = 1.0) -> None:
        """Wait until earlier takings are paid for, then take."""
        if not self._each:
            return
        now = self._now()
        if self._due > now:
            self._sleep(self._due - now)
        self._due = max(self._due, now) + amount * self._each
