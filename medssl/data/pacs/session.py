"""An HTTP session with a DICOMweb service: who we are, what is encrypted, and what each way of failing means.

Credentials come from the environment (`MEDSSL_PACS_TOKEN`, or `MEDSSL_PACS_USER` and `MEDSSL_PACS_PASSWORD`) or from
`~/.netrc`, never from a command line, which every user of a machine can read.
"""

import email.utils
import ipaddress
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medssl import __version__
from medssl.data.pacs.extra import load
from medssl.data.pacs.trouble import PassingError
from medssl.errors import DataError, MedsslError, SettingsError

TOKEN, USER, PASSWORD = "MEDSSL_PACS_TOKEN", "MEDSSL_PACS_USER", "MEDSSL_PACS_PASSWORD"
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
_CREDENTIALS = frozenset({401, 403, 407})


def check_url(url: str, *, plain: bool) -> str:
    """Return the address of a service without a slash at its end.

    Raises:
        SettingsError: It holds a password, or names and images would cross a network unencrypted without `plain`.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise SettingsError(f"Expected an address like https://pacs.hospital/dicom-web, but got '{url}'")
    if parts.username or parts.password:
        fix = f"Take it out and set {USER} and {PASSWORD}, or use ~/.netrc"
        raise SettingsError("The address holds a user or password, which others on this machine could read", fix=fix)
    if parts.query or parts.fragment:
        raise SettingsError("The address of a DICOMweb service has no ? or #", where=url)
    if parts.scheme != "https" and not plain and not _is_here(parts.hostname):
        fix = "Use its https address, or add --plain-http where the network itself is protected"
        raise SettingsError("Names, images and passwords would cross the network unencrypted", where=url, fix=fix)
    return url.rstrip("/")


def session(ca: Path | None = None) -> Any:
    """Return a session of `requests`, which checks certificates and follows no redirects.

    Args:
        ca: Certificates of the authorities that are believed, PEM; None for the usual ones.

    Raises:
        SettingsError: The file is not there, or half of the credentials.
    """
    if ca is not None and not ca.is_file():
        raise SettingsError("There are no certificates here", where=ca, fix="Give a PEM file with --ca")
    made = load("requests").Session()
    made.headers.update({"User-Agent": f"medssl/{__version__}", "Accept-Encoding": "identity"})
    if ca is not None:
        _believe(made, ca)
    made.max_redirects = 0  # a redirect could lead to where nothing is encrypted
    made.auth = _credentials()
    return made


def _believe(made: Any, ca: Path) -> None:
    """Believe these authorities; `verify` alone would give way to REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE."""
    merged = made.merge_environment_settings
    made.merge_environment_settings = lambda url, proxies, stream, _, cert: merged(url, proxies, stream, str(ca), cert)


def _credentials() -> Any:
    token, user, password = (os.environ.get(name) for name in (TOKEN, USER, PASSWORD))
    if token:
        return _Bearer(token)
    if bool(user) != bool(password):
        raise SettingsError(f"Only one of {USER} and {PASSWORD} is set", fix="Set both, or neither")
    return (user, password) if user else None  # None lets requests look into ~/.netrc


class _Bearer:
    """Adds a token to every request; as `auth` it stands before ~/.netrc and does not survive a change of host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@contextmanager
def http_errors(url: str) -> Iterator[None]:
    """Turn what requests raises into our errors; texts hold the service's address, and no query with identifiers.

    Raises:
        DataError: The service refuses, or is none.
        PassingError: It is busy, hangs, or cannot be reached.
    """
    errors = load("requests").exceptions
    try:
        yield
    except errors.HTTPError as error:
        raise failed(error.response, url) from None  # its text would hold identifiers, as those below would
    except errors.TooManyRedirects:
        raise DataError("The service answers with another address", where=url, fix="Use that address") from None
    except errors.SSLError:
        fix = "Give the hospital's authority with --ca FILE"
        raise DataError("The certificate of the service cannot be trusted", where=url, fix=fix) from None
    except errors.Timeout:
        raise PassingError("The service did not answer in time", where=url) from None
    except errors.JSONDecodeError:
        raise DataError("The answer is no DICOM JSON", where=url, fix="Give the root of the DICOMweb service") from None
    except errors.RequestException as error:
        said = "There is no connection to the service" if _unconnected(error) else "The answer ended early"
        raise PassingError(said, where=url) from None


def failed(response: Any, url: str) -> MedsslError:
    """Return the error for an answer that is none."""
    code = response.status_code
    said = f"The service answered {code}{f' {response.reason}' if response.reason else ''}"
    if code in _LATER:
        return PassingError(said, where=url, after=retry_after(response.headers.get("Retry-After")))
    if code in _CREDENTIALS:
        fix = f"Set {TOKEN}, or {USER} and {PASSWORD}, or put them into ~/.netrc"
        return DataError(said, where=url, fix=fix)
    return DataError(said, where=url, fix="Give the root of the DICOMweb service, below which /studies is")


def retry_after(text: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, which are a number or a date; None where it says nothing."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _unconnected(error: Exception) -> bool:
    return "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
