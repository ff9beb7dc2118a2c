"""One DIMSE association with a PACS: addresses, time-outs, TLS, and what each way of failing means."""

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import Dataset

from medssl.data.pacs.extra import pynetdicom
from medssl.data.pacs.trouble import PassingError
from medssl.errors import DataError, MedsslError, SettingsError

_PERMANENT = 1  # result of a rejection
_REASONS = {
    3: ("does not know the calling AE title '{ours}'", "Have it entered there with this machine's address"),
    7: ("is not called '{theirs}'", "Ask its administrator for its AE title"),
}
_HANDSHAKE = 5.0  # seconds that a client may take over its part of a TLS handshake
_MAX_PDU = 131_072  # bytes; what a PACS usually offers too, eight times the default of the library


class _Prompt(ssl.SSLContext):
    """A server's context whose handshakes end in time: pynetdicom makes them one after another while it accepts."""

    def wrap_socket(self, sock: socket.socket, *given: Any, **named: Any) -> ssl.SSLSocket:
        sock.settimeout(_HANDSHAKE)
        wrapped = super().wrap_socket(sock, *given, **named)
        wrapped.settimeout(None)
        return wrapped


class Peer(NamedTuple):
    """A DIMSE node."""

    aet: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.aet}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Tls:
    """How a DIMSE connection is encrypted; the other side's certificate is always checked.

    Attributes:
        ca: Certificates of the authorities that are believed, PEM; None for those of the system. A server wants
            certificates of its clients where it is given.
        certificate: Our own certificate, PEM.
        key: Its key, PEM; None where it stands in the same file.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self, *, server: bool = False) -> ssl.SSLContext:
        """Return the context of a client, or of a server, which wants certificates of clients where `ca` is given.

        Raises:
            SettingsError: A file is missing or holds something else.
        """
        try:
            context = _Prompt(ssl.PROTOCOL_TLS_SERVER) if server else ssl.create_default_context(cafile=self.ca)
            if server and self.ca:
                context.load_verify_locations(self.ca)
                context.verify_mode = ssl.CERT_REQUIRED
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise SettingsError(f"The certificates cannot be used: {said}", fix="Give PEM files") from error
        return context


def parse_peer(text: str) -> Peer | None:
    """Return the node of `AET@host:port`, or None where the text is no such thing."""
    found = re.fullmatch(r"([^@\\\s](?:[^@\\]{0,14}[^@\\\s])?)@(\[[0-9a-fA-F:]+\]|[^@:\s/]+):(\d{1,5})", text)
    if not found or not 0 < int(found[3]) < 65536:
        return None
    return Peer(found[1], found[2].strip("[]"), int(found[3]))


def check_aet(text: str, where: str) -> str:
    """Return an AE title of 1 to 16 characters.

    Raises:
        SettingsError: It is none.
    """
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", text) or not text.strip():
        raise SettingsError(f"An AE title has 1 to 16 plain characters, but got '{text}'", where=where)
    return text.strip()


@contextmanager
def associated(
    peer: Peer,
    aet: str,
    contexts: list[Any],
    *,
    timeout: float,
    tls: Tls | None = None,
    roles: list[Any] | None = None,
    handlers: list[Any] | None = None,
) -> Iterator[Any]:
    """Yield an association with a peer, released at the end, aborted when the block fails.

    Args:
        peer: Whom to ask.
        aet: Our AE title.
        contexts: Presentation contexts.
        timeout: Seconds to connect, and for every answer.
        tls: Encrypt the connection.
        roles: Role selection items.
        handlers: Event handlers.

    Raises:
        DataError: The peer refuses us for good.
        PassingError: It cannot be reached, or refuses for now.
    """
    entity, opened = pynetdicom().AE(ae_title=aet), (pynetdicom().evt.EVT_CONN_OPEN, send_at_once)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout
    association = entity.associate(
        peer.host, peer.port, contexts=contexts, ae_title=peer.aet, max_pdu=_MAX_PDU, ext_neg=roles,
        evt_handlers=[opened, *(handlers or [])], tls_args=(tls.context(), peer.host) if tls else None,
    )  # fmt: skip
    if not association.is_established:
        raise _refusal(association, peer, aet)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    if association.is_established:
        hold(association)
        association.release()


def answered(status: Dataset, what: str, peer: Peer) -> int:
    """Return the code of an answer.

    Raises:
        PassingError: None came in time.
    """
    if "Status" not in status:
        said = f"The PACS did not answer a {what} in time, or ended the connection"
        fix = "Repeat the command to go on, or ask whether our AE title may do this there"
        raise PassingError(said, where=str(peer), fix=fix)
    return int(status.Status)


def hold(association: Any) -> None:
    """Make an association's own thread stand still, before a request is sent on it.

    pynetdicom lets that thread look for messages between requests, and stops it before the next one by a flag that
    may still be up from the time before. Then it takes the first answer and throws it away: instances would be
    missing from a list without a word (seen once in some hundred queries on a busy machine). So wait until it waits.
    """
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    while association.is_alive() and not checkpoint._cond._waiters:
        time.sleep(0.0005)


def send_at_once(event: Any) -> None:
    """Have small messages of a new connection sent at once, not held back for 40 ms in case more follow."""
    connection = event.assoc.dul.socket.socket
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _refusal(association: Any, peer: Peer, aet: str) -> MedsslError:
    answer = association.acceptor.primitive
    if not association.is_rejected or answer is None:
        said = "The PACS does not answer" if association.is_aborted else "There is no connection to the PACS"
        return PassingError(said, where=str(peer), fix="Check address and port, and repeat the command")
    if answer.result != _PERMANENT:
        return PassingError("The PACS takes no more associations for now", where=str(peer))
    said, fix = _REASONS.get(
        answer.diagnostic if answer.result_source == 1 else 0,
        ("refuses the association", "Ask its administrator what it says in its log"),
    )
    return DataError(f"The PACS {said.format(ours=aet, theirs=peer.aet)}", where=str(peer), fix=fix)
