"""The folder that instances go to: `STUDY/SERIES/INSTANCE.dcm`, each name a hash, each file there whole or not at all.

The files are the state: what has its name is complete, so that going on needs no other record. Names are hashes of the
UIDs: whoever knows a UID finds its file, and nobody reads a UID from a name.
"""

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medssl import files
from medssl.data.pacs.header import Header, read_header
from medssl.errors import DataError, SettingsError

MARK = files.FROM_PACS
_CHUNK = 1 << 20
_LOCKS = 64


class Folder:
    """Where instances go; several threads may write at once.

    Attributes:
        root: The folder itself.
    """

    def __init__(self, root: Path, *, replace: bool = False) -> None:
        """Take a folder that this process holds, and whether a newer instance of a UID takes the older one's place."""
        self.root, self.replace = root, replace
        self._count = itertools.count()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def path(self, study: str, series: str, instance: str) -> Path:
        """Return where an instance is or would be."""
        return self.root / hashed(study) / hashed(series) / f"{hashed(instance)}.dcm"

    def has(self, study: str, series: str, instance: str) -> bool:
        """Tell whether an instance is there, complete."""
        return self.path(study, series, instance).is_file()

    @contextmanager
    def incoming(self) -> Iterator["Incoming"]:
        """Yield what the bytes of one instance are written to; it is gone after the block unless it was settled."""
        temporary = self.root / f".{next(self._count)}.{os.getpid()}.part"
        try:
            with files.storage_errors(self.root), temporary.open("wb") as handle:
                yield Incoming(self, temporary, handle)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def settle(self, temporary: Path) -> tuple[Header, str]:
        """Give a whole file its place.

        Returns:
            Its header, and "new", "replaced", "there" (the same instance was there already) or "differs" (another
            instance of that UID is there, and stays).

        Raises:
            DataError: It cannot be told where it belongs.
            StorageError: The disk is full or fails.
        """
        header = read_header(temporary)
        target = self.path(header.study, header.series, header.instance)
        with self._locks[int(target.stem, 16) % _LOCKS]:
            known = target.is_file()
            if known and _same(temporary, header, target):
                return header, "there"
            if known and not self.replace:
                return header, "differs"
            with files.storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            files.rename(temporary, target)
            return header, "replaced" if known else "new"


class Incoming:
    """The bytes of one instance on their way.

    Attributes:
        size: How many bytes came.
    """

    def __init__(self, folder: Folder, path: Path, handle: BinaryIO) -> None:
        self._folder, self._path, self._handle = folder, path, handle
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        files.write(self._handle, data)  # type: ignore[arg-type]
        self.size += len(data)

    def settle(self) -> tuple[Header, str]:
        """Say that this was all, and give the file its place; see `Folder.settle`."""
        self._handle.close()
        return self._folder.settle(self._path)


@contextmanager
def held(root: Path, *, replace: bool = False) -> Iterator[Folder]:
    """Hold a folder that is empty, not there, or filled from a PACS before.

    Raises:
        StorageError: Another process holds it, or it holds something else.
        SettingsError: It is filled from a PACS by another layout than this one.
    """
    with files.claimed(root, resume=True, marks=[MARK]):
        if not (root / MARK).exists():
            files.write_json(root / MARK, {"layout": 1})
        elif files.read_mapping(root / MARK).get("layout") != 1:
            raise SettingsError("The folder has another layout than this version of medssl writes", where=root)
        for left in root.glob(".*.part"):  # a process that was killed; the folder is ours now
            left.unlink()
        try:
            yield Folder(root, replace=replace)
        finally:
            if not any(path.is_dir() for path in root.iterdir()):  # nothing came: leave no trace
                (root / MARK).unlink(missing_ok=True)


def hashed(uid: str) -> str:
    """Return the name that stands for a UID: 24 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(uid.encode()).hexdigest()[:24]


def _same(new: Path, header: Header, old: Path) -> bool:
    """Tell whether two files hold the same data set; what the sender's software wrote before it does not count."""
    try:
        known = read_header(old)
    except DataError:
        return False
    if known.syntax != header.syntax:
        return False
    with new.open("rb") as a, old.open("rb") as b:
        a.seek(header.begins)
        b.seek(known.begins)
        while True:
            left, right = a.read(_CHUNK), b.read(_CHUNK)
            if left != right:
                return False
            if not left:
                return True
