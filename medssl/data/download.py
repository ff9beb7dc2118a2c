"""One file from the web: resumable, with its checksum verified, never half-written under its name.

What has arrived so far stands in `NAME.part`, which survives Ctrl-C, a dead network and a full disk; the next try
asks for the rest. A file whose checksum is not the published one is kept as `NAME.wrong`, to be looked at.
"""

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medssl import __version__, files
from medssl.errors import DataError, MedsslError, StorageError

Progress = Callable[[str, dict[str, Any]], None]

SCHEMES = frozenset({"https"})
"""What an address may begin with, redirects included; tests add http for a server of their own."""
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 20
_MB = 1_000_000
_SPARE = 100_000_000  # bytes that stay free on the disk
_GONE = frozenset({401, 403, 404, 410})  # repeating the request will not help


def download(url: str, target: Path, *, md5: str | None = None, progress: Progress | None = None) -> None:
    """Download a file, going on where an earlier try stopped.

    Args:
        url: An https address.
        target: Where the file goes; one that is there already and is the published one is left alone.
        md5: Published checksum. Without it nothing tells whether two halves belong together, so that each try is
            whole.
        progress: Called with ("download", {"done": megabytes, "total": megabytes}) where the size is known.

    Raises:
        DataError: The address is refused or gone, or what came is not what was published.
        StorageError: The network fails, the answer ends early, or the disk is full.
    """
    if target.exists():
        _check_present(target, md5)
        return
    part = target.with_name(f"{target.name}.part")
    with files.storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if md5 is None:
            part.unlink(missing_ok=True)
    _receive(url, part, progress)
    if md5 is not None:
        _check_received(part, target, md5)
    files.rename(part, target)


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        with _open(url, have) as answer:
            rest = answer.status == http.HTTPStatus.PARTIAL_CONTENT
            if rest and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
                raise StorageError("The server sent another part than was asked for", where=url, fix=_again(part))
            _append(answer, part, have if rest else 0, url, progress)
    except urllib.error.HTTPError as error:
        with error:
            complete = error.headers.get("Content-Range") == f"bytes */{have}"
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise _answered(error, url, part) from error
        if not complete:
            with files.storage_errors(part):
                part.unlink()
            _receive(url, part, progress)
    except (OSError, http.client.HTTPException) as error:  # no network, an unknown host, a time-out
        raise StorageError(f"The download stopped: {_said(error)}", where=url, fix=_again(part)) from error


def _answered(error: urllib.error.HTTPError, url: str, part: Path) -> MedsslError:
    said = f"The server answered {error.code} {error.reason}"
    if error.code in _GONE or error.code < http.HTTPStatus.BAD_REQUEST:  # a redirect that is not followed
        return DataError(said, where=url, fix="See the home page of the set")
    return StorageError(said, where=url, fix=_again(part))


def _open(url: str, have: int) -> Any:
    _refuse_scheme(url)
    headers = {"User-Agent": f"medssl/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  the scheme is checked
    return urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never to a weaker scheme."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _refuse_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_scheme(url: str) -> None:
    if urlsplit(url).scheme not in SCHEMES:
        raise DataError(f"Only {' and '.join(sorted(SCHEMES))} addresses are downloaded from", where=url)


def _append(answer: Any, part: Path, start: int, url: str, progress: Progress | None) -> None:
    """Write an answer from byte `start` on; whatever came is kept when it ends early."""
    length = answer.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    if total is not None:
        _check_room(part, total - start)
    done = start
    with files.storage_errors(part), part.open("r+b" if start else "wb") as handle:
        handle.seek(start)
        while chunk := _chunk(answer, url, part):
            files.write(handle, chunk)
            done += len(chunk)
            if progress and total:
                progress("download", {"done": -(-done // _MB), "total": -(-total // _MB)})
    if total is not None and done < total:
        raise StorageError(f"The answer ended after {done} of {total} bytes", where=url, fix=_again(part))


def _chunk(answer: Any, url: str, part: Path) -> bytes:
    """Return the next bytes; trouble of the network is told apart from trouble of the disk here."""
    try:
        return bytes(answer.read1(_CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise StorageError(f"The download stopped: {_said(error)}", where=url, fix=_again(part)) from error


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed + _SPARE > free:
        raise StorageError(
            f"The file needs {needed / 1e6:.0f} MB, but {free / 1e6:.0f} MB are free",
            where=part.parent,
            fix="Free some space, or choose another -o",
        )


def _check_present(target: Path, md5: str | None) -> None:
    if md5 is not None and _md5(target) != md5:
        raise DataError(
            "The file that is there is not the published one: its MD5 differs", where=target, fix="Move it away first"
        )


def _check_received(part: Path, target: Path, md5: str) -> None:
    found = _md5(part)
    if found == md5:
        return
    wrong = target.with_name(f"{target.name}.wrong")
    files.rename(part, wrong)
    raise DataError(
        f"The file is not the published one: its MD5 is {found}, not {md5}; it is kept as {wrong.name}",
        where=target,
        fix="Repeat the command to download it anew",
    )


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _said(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _again(part: Path) -> str:
    if part.exists() and part.stat().st_size:
        return f"Repeat the command to go on; what came is kept in {part.name}"
    return "Check the connection and repeat the command"
