"""Unpacking of zip and tar files from strangers: nothing lands outside the folder, no bomb fills the disk."""

import bz2
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from medssl import files
from medssl.errors import DataError, StorageError

Progress = Callable[[str, dict[str, Any]], None]

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_CHUNK = 1 << 20
_MB = 1_000_000
_MOST_FILES = 2_000_000
_MOST_PADDING = 16  # chunks after the last file
_MOST_RATIO = 100  # unpacked bytes a packed byte; images come to 1 to 10
_ALWAYS = 100_000_000  # unpacked bytes that are never too many
_SPARE = 100_000_000  # bytes that stay free on the disk
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
)


class _Member(NamedTuple):
    name: str
    size: int
    opened: Callable[[], IO[bytes] | None]


def stem(name: str) -> str | None:
    """Return the name of an archive without its ending, or None for what is no archive."""
    ending = max((end for end in _ENDINGS if name.lower().endswith(end)), key=len, default=None)
    return name[: -len(ending)] if ending else None


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack an archive into a new folder, whole or not at all.

    Args:
        archive: A zip or tar file.
        folder: The folder.
        progress: Called with ("unpack", {"done": megabytes, "total": megabytes}).

    Raises:
        DataError: It is damaged, or holds a path that leads out, a link, a device, or far more than it may.
        StorageError: The disk is full.
    """
    most = max(_ALWAYS, _MOST_RATIO * archive.stat().st_size)
    with (
        _damage(archive),
        _members(archive) as members,
        files.atomic_folder(folder, listed=False) as inside,
        _damage(archive),  # a damaged stream is an OSError, which is no trouble of the disk
    ):
        done, total = 0, archive.stat().st_size
        for number, member in enumerate(members):
            if number >= _MOST_FILES:
                raise _refused(archive, f"it holds more than {_MOST_FILES} files")
            if done + member.size > most:
                raise _refused(archive, f"it unpacks to more than {most / 1e6:.0f} MB, far more than its size explains")
            _check_room(inside, member.size)
            _write(member, inside.joinpath(*_safe(archive, member.name)), archive)
            done += member.size
            total = max(total, done)
            if progress:
                progress("unpack", {"done": -(-done // _MB), "total": -(-total // _MB)})


def _write(member: _Member, target: Path, archive: Path) -> None:
    """Write one file; no more of it than its entry says."""
    source = member.opened()
    if source is None:
        raise _refused(archive, f"{member.name!r} has no content")
    left = member.size
    with source, _new(target, member, archive) as handle:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise _refused(archive, f"{member.name!r} is larger than it says")
            files.write(handle, chunk)
    if left:
        raise _refused(archive, f"{member.name!r} is shorter than it says")


def _new(target: Path, member: _Member, archive: Path) -> IO[bytes]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(archive, f"{member.name!r} is there twice") from error


def _safe(archive: Path, name: str) -> tuple[str, ...]:
    """Return the parts of a path that stays below the folder."""
    parts = PurePosixPath(name).parts
    drive = re.match(r"[A-Za-z]:", name)
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or drive:
        raise _refused(archive, f"the path {name!r} leads out of the folder")
    return parts


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield _of_zip(archive, opened)
    else:
        with _Stream(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as opened_tar:  # type: ignore[call-overload]
            yield _of_tar(archive, opened_tar, stream)


def _of_zip(archive: Path, opened: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in opened.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, f"{entry.filename!r} is a link or a device")
        if entry.flag_bits & 1:
            raise _refused(archive, f"{entry.filename!r} is encrypted")
        _safe(archive, entry.filename)
        if not entry.is_dir():
            yield _Member(entry.filename, entry.file_size, lambda entry=entry: opened.open(entry))  # type: ignore[misc]


class _Stream:
    """The bytes of a tar file without its compression; a header that wants a huge part of them is refused.

    tarfile reads long names and pax headers whole into memory, however large they say they are.
    """

    _openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}

    def __init__(self, archive: Path) -> None:
        with archive.open("rb") as handle:
            head = handle.read(6)
        opener: Any = next((opener for magic, opener in self._openers.items() if head.startswith(magic)), open)
        self._handle = opener(archive, "rb")
        self.seek, self.tell = self._handle.seek, self._handle.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise tarfile.ReadError("a header is too large")
        return bytes(self._handle.read(size))

    def check_end(self) -> None:
        """Read what pads the archive, so that the checksum at the end of a compressed one is compared."""
        for _ in range(_MOST_PADDING):
            if not self.read(_CHUNK):
                return
        raise tarfile.ReadError("it goes on after its end")

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.close()


def _of_tar(archive: Path, opened: tarfile.TarFile, stream: _Stream) -> Iterator[_Member]:
    for entry in opened:
        if not (entry.isreg() or entry.isdir()):
            raise _refused(archive, f"{entry.name!r} is a link or a device")
        if entry.name not in (".", "./"):
            _safe(archive, entry.name)
        if entry.isreg():
            yield _Member(entry.name, entry.size, lambda entry=entry: opened.extractfile(entry))  # type: ignore[misc]
    stream.check_end()


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise DataError(
            f"The archive cannot be unpacked: {error}", where=archive, fix="Delete it and fetch it again"
        ) from error


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise StorageError(
            f"The disk is full ({free / 1e6:.0f} MB free)", where=folder, fix="Free some space and repeat the command"
        )


def _refused(archive: Path, why: str) -> DataError:
    return DataError(f"The archive is not unpacked: {why}", where=archive, fix="Do not trust this file")
