"""What receives instances while they are fetched: it counts, slows down to the limits, and says when to stop."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from medssl.data.pacs.folder import Folder, Incoming
from medssl.data.pacs.window import Limit
from medssl.errors import StoppedError

_CHUNK = 1 << 18


@dataclass
class Counts:
    """What has come so far.

    Attributes:
        new: Instances that were written.
        there: Instances that were there already.
        differs: Instances whose UID another instance here has; the first one stays.
        bytes: Bytes of all that came.
    """

    new: int = 0
    there: int = 0
    differs: int = 0
    bytes: int = 0


class Landing:
    """Where a source puts instances.

    Attributes:
        folder: Where they go.
        counts: What has come.
    """

    def __init__(
        self,
        folder: Folder,
        instances: Limit | None = None,
        megabytes: Limit | None = None,
        *,
        why_stop: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Take the folder, the limits a second, and what says why to stop."""
        self.folder, self.counts = folder, Counts()
        self._lock = threading.Lock()
        self._instances, self._megabytes = instances or Limit(None), megabytes or Limit(None)
        self._why_stop = why_stop

    @contextmanager
    def incoming(self) -> Iterator["Arrival"]:
        """Yield what the bytes of one instance go to."""
        self._instances.take()
        with self.folder.incoming() as incoming:
            yield Arrival(self, incoming)

    def paid(self, size: int) -> None:
        """Wait as long as the limit on megabytes wants for so many bytes."""
        self._megabytes.take(size / 1e6)

    def count(self, size: int, outcome: str) -> None:
        """Note an instance."""
        field = "new" if outcome == "replaced" else outcome
        with self._lock:
            self.counts.bytes += size
            setattr(self.counts, field, getattr(self.counts, field) + 1)

    def go_on(self) -> None:
        """Say whether to stop.

        Raises:
            StoppedError: It is time to.
        """
        reason = self._why_stop()
        if reason is not None:
            raise StoppedError(reason)


class Arrival:
    """The bytes of one instance on their way, no faster than the limit."""

    def __init__(self, landing: Landing, incoming: Incoming) -> None:
        self._landing, self._incoming = landing, incoming

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        for start in range(0, len(data), _CHUNK):
            piece = data[start : start + _CHUNK]
            self._landing.paid(len(piece))
            self._incoming.write(piece)

    def settle(self) -> str:
        """Say that this was all; return what became of it, as `Folder.settle` does."""
        _, outcome = self._incoming.settle()
        self._landing.count(self._incoming.size, outcome)
        return outcome
