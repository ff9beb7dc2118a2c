"""The secret that pseudonyms are made with: a file that the site keeps, or one that is thrown away after a scan.

A pseudonym is a truncated HMAC-SHA256 (RFC 2104) of an identifier. Without the key nobody can try out a list of all
patients of a hospital, which a plain hash invites. What is hashed begins with its kind, so that the same text as a
patient and as a study gives two pseudonyms that do not betray it.
"""

import hmac
import os
import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import platformdirs

from medssl import files
from medssl.errors import DataError, StorageError

VARIABLE = "MEDSSL_KEY"
LENGTH = 16  # hexadecimal digits of a pseudonym: two of a million patients share one with a chance of 3 in 10^8
_LEAST = 32  # characters of a key
_MOST = 4096
_FINGERPRINT = 8
_ONCE = "once-"
_EACH_ITS_OWN = ("instance", "sample")  # hardly one of them is asked for twice


@dataclass(frozen=True)
class Key:
    """A secret, or the word that identifiers stay as they are.

    Attributes:
        secret: The bytes; None leaves identifiers as they are.
        once: It is thrown away: no other manifest has these pseudonyms.
        where: The file that it came from.
    """

    secret: bytes | None = field(repr=False)  # a traceback that shows values must not show this one
    once: bool = False
    where: Path | None = None

    @property
    def fingerprint(self) -> str | None:
        """Eight hexadecimal digits that tell keys apart and say nothing of the secret; `once-` before a lost one."""
        if self.secret is None:
            return None
        return (_ONCE if self.once else "") + self.pseudonym("key", "fingerprint")[:_FINGERPRINT]

    def pseudonym(self, kind: str, text: str) -> str:
        """Return what stands for an identifier.

        Args:
            kind: What it identifies, such as "patient"; another kind, another pseudonym.
            text: The identifier.
        """
        if self.secret is None:
            return text
        return (_digest if kind in _EACH_ITS_OWN else _remembered)(self.secret, kind, text)


AS_THEY_ARE = Key(None)
"""For images with nobody to protect: synthetic ones, and public sets with published splits."""


def once() -> Key:
    """Return a random key that nobody keeps."""
    return Key(secrets.token_bytes(32), once=True)


def is_lost(fingerprint: str) -> bool:
    """Return whether the key of that fingerprint was thrown away."""
    return fingerprint.startswith(_ONCE)


def from_file(path: Path) -> Key:
    """Return the key in a file.

    Raises:
        DataError: There is no such file, others may read it, or it is no secret.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        with path.open("rb") as handle:
            secret = handle.read(_MOST + 1).strip()
    except OSError as error:
        said = f"The key cannot be read: {error.strerror}"
        raise DataError(said, where=path, fix="Name a file that you may read") from error
    if os.name == "posix" and mode & 0o077:
        raise DataError(
            "Others may read the key, so it is none", where=path, fix=f"Take their rights away: chmod 600 {path}"
        )
    if not _LEAST <= len(secret) <= _MOST:
        raise DataError(
            f"A key has {_LEAST} to {_MOST} characters, but this file has {min(len(secret), _MOST + 1)}",
            where=path,
            fix="Name the file of the key, or a file that does not exist yet: it is made",
        )
    return Key(secret, where=path)


def kept(path: Path) -> tuple[Key, bool]:
    """Return the key in a file, which is made where it is not there, and whether it was made.

    Raises:
        DataError: As `from_file`.
        StorageError: It cannot be written.
    """
    path = Path(path)
    made = False
    if not path.exists():
        with files.storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = _write(path)
    return from_file(path), made


def of_this_user() -> Key:
    """Return the key of whoever works here, for folders that are scanned on the fly: their splits stay what they are.

    It is the file that MEDSSL_KEY names, else one in the user's data folder; made where it is not there.

    Raises:
        DataError: As `from_file`.
        StorageError: It cannot be written; MEDSSL_KEY is the way out.
    """
    place = os.environ.get(VARIABLE)
    path = Path(place) if place else Path(platformdirs.user_data_dir("medssl")) / "privacy.key"
    try:
        return kept(path)[0]
    except StorageError as error:
        said = f"The key that identifiers are replaced with cannot be kept: {error.what}"
        raise StorageError(said, where=path, fix=f"Set {VARIABLE} to a file that can be written") from error


def _write(path: Path) -> bool:
    """Write a new key for its owner's eyes only; False if another process was faster, whose key then counts."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            files.write(handle, secrets.token_hex(32).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
        try:
            os.link(temporary, path)  # unlike a rename it never replaces a key
        except FileExistsError:
            return False
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _digest(secret: bytes, kind: str, text: str) -> str:
    message = f"medssl {kind}\x1f{text}".encode("utf-8", "surrogateescape")
    return hmac.digest(secret, message, "sha256").hex()[:LENGTH]


_remembered = lru_cache(maxsize=65536)(_digest)
