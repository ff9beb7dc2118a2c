"""What answers a C-STORE, whether a PACS sends of its own, after a C-MOVE, or within a C-GET.

The bytes of a data set go to the disk as they came, behind file meta information of ours.
"""

import threading
from collections.abc import Callable
from typing import Any

from medssl.data.pacs.landing import Landing
from medssl.errors import DataError, MedsslError, StoppedError, StorageError

_PREAMBLE = b"\0" * 128 + b"DICM"
SUCCESS = 0x0000
DUPLICATE = 0x0111
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000


class Taker:
    """A handler of C-STORE requests.

    Attributes:
        trouble: The last thing that kept an instance from being written, or None.
        failed: How many instances were not written.
        ended: An association was ended from here.
        busy: How many instances are being written.
    """

    def __init__(self, landing: Landing, *, ends: bool = False, tell: Callable[[str], None] | None = None) -> None:
        """Take where instances go, whether trouble ends the association, and who is told of trouble."""
        self._landing, self._ends, self._tell = landing, ends, tell
        self._lock = threading.Lock()
        self.trouble: MedsslError | None = None
        self.failed, self.busy, self.ended = 0, 0, False

    def told_to_stop(self) -> bool:
        """Tell whether it is time to stop."""
        try:
            self._landing.go_on()
        except StoppedError:
            return True
        return False

    def __call__(self, event: Any) -> int:
        """Write an instance and return the status for the sender."""
        if self._ends and (self.trouble is not None or self.told_to_stop()):
            self.ended = True
            event.assoc.abort()
            event.assoc.dimse_timeout = 0.01  # nothing is to be waited for any more
            return OUT_OF_RESOURCES
        with self._lock:
            self.busy += 1
        try:
            return self._write(event)
        finally:
            with self._lock:
                self.busy -= 1

    def _write(self, event: Any) -> int:
        try:
            with self._landing.incoming() as arrival:
                arrival.write(_PREAMBLE + _meta(event))
                arrival.write(event.request.DataSet.getbuffer())
                outcome = arrival.settle()
        except StorageError as error:
            self._note(error)
            return OUT_OF_RESOURCES
        except DataError as error:
            self._note(error, lasting=False)
            return CANNOT_UNDERSTAND
        return DUPLICATE if outcome == "differs" else SUCCESS

    def _note(self, error: MedsslError, *, lasting: bool = True) -> None:
        with self._lock:
            self.failed += 1
            if lasting:
                self.trouble = error
        if self._tell:
            self._tell(f"an instance was not written: {error}")


def _meta(event: Any) -> bytes:
    from pynetdicom.dsutils import encode_file_meta

    return bytes(encode_file_meta(event.file_meta))
