"""A storage SCP: it takes what allowed nodes send and fills a folder, until it is told to stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from medssl.data.pacs import contexts
from medssl.data.pacs.association import Tls, check_aet, send_at_once
from medssl.data.pacs.extra import pynetdicom
from medssl.data.pacs.landing import Landing
from medssl.data.pacs.storing import OUT_OF_RESOURCES, Taker
from medssl.errors import SettingsError, StorageError

_MAX_PDU = 131_072
_VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO
_GRACE = 30.0  # seconds that an instance which is being written may still take when told to stop
_REJECTED, _BY_USER, _CALLING, _CALLED = 1, 1, 3, 7  # PS3.8, table 9-21


class Allowed(NamedTuple):
    """A node that may send: its AE title, and its address where only that one is meant."""

    aet: str
    address: str | None = None


def parse_allowed(text: str) -> Allowed:
    """Return the node of `AET` or `AET@address`.

    Raises:
        SettingsError: It is no such text; a name is no address, since nobody vouches for names.
    """
    import ipaddress

    aet, _, address = text.partition("@")
    try:
        return Allowed(check_aet(aet, "--allow"), str(ipaddress.ip_address(address)) if address else None)
    except ValueError:
        raise SettingsError(f"Expected an IP address behind the @, but got '{text}'", where="--allow") from None


class Receiver:
    """A storage SCP on a port of this machine; it listens while the block runs.

    Attributes:
        aet: Our AE title; whoever calls another one is refused.
        port: The port.
        last: When the last instance came or an association was opened, by `time.monotonic`; None before the first.
        refused: How many associations were refused.
    """

    def __init__(
        self,
        aet: str,
        port: int,
        allowed: list[Allowed],
        *,
        bind: str = "",
        tls: Tls | None = None,
        most: int = 10,
        largest_mb: float = 4096,
        timeout: float = 60,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take the address.

        Args:
            aet: Our AE title.
            port: Port to listen at; 0 takes a free one.
            allowed: Who may send.
            bind: Address to listen at; empty for all of this machine.
            tls: Encrypt, with our certificate.
            most: Associations at a time.
            largest_mb: An instance with more megabytes ends its association: it is held in memory.
            timeout: Seconds without a word after which an association is ended.
            tell: Called with a sentence about everything that was refused or not written; no identifiers.
        """
        if not allowed:
            raise SettingsError("Nobody is allowed to send", fix="Name the nodes that may: --allow AET or AET@address")
        self.aet, self.port, self.refused = aet, port, 0
        self.last: float | None = None
        self._allowed, self._bind, self._tls, self._tell = allowed, bind, tls, tell
        self._largest = largest_mb * 1e6
        self._coming: dict[int, int] = {}
        self._taker: Taker | None = None
        self._entity = pynetdicom().AE(ae_title=aet)
        self._entity.maximum_associations, self._entity.maximum_pdu_size = most, _MAX_PDU
        self._entity.network_timeout = self._entity.acse_timeout = self._entity.dimse_timeout = timeout
        self._entity.supported_contexts = contexts.accepted()
        self._entity.add_supported_context(_VERIFICATION)
        self._server: Any = None

    def __enter__(self) -> "Receiver":
        evt = pynetdicom().evt
        handlers = [
            (evt.EVT_CONN_OPEN, send_at_once),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_REJECTED, self._full),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._heard),
            (evt.EVT_DIMSE_RECV, self._forget),
            (evt.EVT_CONN_CLOSE, self._forget),
        ]
        try:
            self._server = self._entity.start_server(
                (self._bind, self.port), block=False, evt_handlers=handlers,
                ssl_context=self._tls.context(server=True) if self._tls else None,
            )  # fmt: skip
        except OSError as error:
            where = f"{self._bind or 'all addresses'}, port {self.port}"
            raise StorageError(
                f"Cannot listen: {error.strerror or error}", where=where, fix="Choose another --port"
            ) from error
        self.port = int(self._server.server_address[1])
        return self

    def __exit__(self, *error: object) -> None:
        """Take no more associations, let what is being written be finished, and end the others."""
        self._server.shutdown()
        until = time.monotonic() + _GRACE
        while self.busy and time.monotonic() < until:
            time.sleep(0.02)
        self._entity.shutdown()

    def prefer(self, *, compressed: bool) -> None:
        """Choose what associations from now on take where a sender offers compressed and plain in one context."""
        echo = [context for context in self._server.contexts if context.abstract_syntax == _VERIFICATION]
        self._server.contexts = [*contexts.accepted(compressed_first=compressed), *echo]

    @property
    def busy(self) -> bool:
        """Tell whether an instance is being written."""
        return self._taker is not None and self._taker.busy > 0

    @contextmanager
    def lands(self, landing: Landing) -> Iterator[Taker]:
        """Let what comes go to a landing while the block runs; outside of such a block everything is refused."""
        self._taker = Taker(landing, tell=self._tell)
        try:
            yield self._taker
        finally:
            until = time.monotonic() + _GRACE
            while self.busy and time.monotonic() < until:
                time.sleep(0.02)
            self._taker = None

    def _requested(self, event: Any) -> None:
        asked, address = event.assoc.requestor.primitive, event.assoc.requestor.address
        calling, called = _plain(asked.calling_ae_title), _plain(asked.called_ae_title)
        self.last = time.monotonic()
        if not any(calling == node.aet and node.address in (None, address) for node in self._allowed):
            self._reject(event, _CALLING, f"'{calling}' at {address}, which is not allowed here (--allow)")
        elif called != self.aet:
            self._reject(event, _CALLED, f"'{calling}' at {address}, which called '{called}' instead of '{self.aet}'")

    def _reject(self, event: Any, diagnostic: int, whom: str) -> None:
        self.refused += 1
        self._tell(f"refused an association of {whom}")
        event.assoc.acse.send_reject(_REJECTED, _BY_USER, diagnostic)
        event.assoc.kill()

    def _full(self, event: Any) -> None:
        self.refused += 1
        self._tell(f"refused an association of {event.assoc.requestor.address}: too many at once (--most)")

    def _heard(self, event: Any) -> None:
        """Count the bytes of the message that is coming in; one that is too large ends its association."""
        key = id(event.assoc)
        self._coming[key] = self._coming.get(key, 0) + len(event.data)
        if self._coming[key] > self._largest:
            self._coming.pop(key)
            self._tell(f"ended an association: an instance has more than {self._largest / 1e6:.0f} MB (--largest-mb)")
            event.assoc.abort()

    def _forget(self, event: Any) -> None:
        self._coming.pop(id(event.assoc), None)

    def _store(self, event: Any) -> int:
        self.last = time.monotonic()
        taker = self._taker
        status = OUT_OF_RESOURCES if taker is None else taker(event)
        self.last = time.monotonic()
        return status


def _plain(text: str) -> str:
    """Return an AE title as it may stand in a log."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text).strip())


def serve(
    receiver: Receiver,
    *,
    seconds: float | None = None,
    idle: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    tick: Callable[[], None] = lambda: None,
) -> str:
    """Wait while a receiver works; return why it ends.

    Args:
        receiver: It listens already.
        seconds: End after so many seconds.
        idle: End when nothing came for so many seconds; before the first association it waits.
        stop: Tells whether to end.
        tick: Called a few times a second.
    """
    began = time.monotonic()
    while True:
        now = time.monotonic()
        if stop():
            return "told to stop"
        if seconds is not None and now - began >= seconds:
            return f"{seconds:g} s are over"
        if idle is not None and receiver.last is not None and now - receiver.last >= idle and not receiver.busy:
            return f"nothing came for {idle:g} s"
        tick()
        time.sleep(0.1)
