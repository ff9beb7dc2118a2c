"""The one writer: everything that is kept is written whole or not at all.

A file is written beside its place, flushed to the disk and renamed over it. A folder is written beside its place
with a `MANIFEST.json` of sizes and hashes as its last file, then renamed. Logs are appended, and cut back to a
known length on resume. Every operation that touches the disk goes through `_disk`, which tests replace to let any
single one of them fail.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from medssl.errors import DataError, StorageError

MANIFEST = "MANIFEST.json"
STORES = ".medssl-store"
"""Folder of prepared images; each is named by its content, so they serve any run beside them."""
FROM_PACS = "from-pacs.json"
"""Marks a folder that images from a PACS are put in."""
_LOCK = ".lock"
OURS = frozenset({STORES, FROM_PACS, _LOCK})
"""What may lie among images and is none of them."""
_OWNER = "owner.txt"


class _Disk:
    """The operations on the disk that can fail, in one place for a fault-injecting test."""

    def write(self, handle: Any, data: bytes) -> None:
        handle.write(data)

    def sync(self, handle: Any) -> None:
        handle.flush()
        os.fsync(handle.fileno())

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_disk = _Disk()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error while writing `path` into a `StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_existing(path)).free
            raise StorageError(
                f"The disk is full ({free / 1e6:.0f} MB free)", where=path, fix="Free some space and repeat the command"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StorageError("This place cannot be written", where=path, fix="Choose another with -o") from error
        raise StorageError(f"Cannot write: {error.strerror or error}", where=path) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to the disk and rename it over `path`.

    For libraries that insist on a file name. Nothing is left behind when the block fails.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as handle:
                _disk.sync(handle)
            _disk.replace(temporary, path)
            _disk.sync_folder(path.parent)
    finally:
        with suppress(OSError):  # what went wrong before is what counts
            temporary.unlink(missing_ok=True)


def write(handle: IO[bytes], data: bytes) -> None:
    """Write to a file that `atomic_path` or `atomic_folder` handed out, for what is too large to hold at once."""
    _disk.write(handle, data)


def rename(source: Path, target: Path) -> None:
    """Flush a file that was written bit by bit to the disk, and give it its name."""
    with storage_errors(target):
        with source.open("rb+") as handle:
            _disk.sync(handle)
        _disk.replace(source, target)
        _disk.sync_folder(target.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        _disk.write(handle, data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON whole or not at all; NaN is refused, since other readers refuse it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is not there or not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"Cannot read JSON: {error}", where=path, fix="Use another copy of the file") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds names with values.

    Raises:
        DataError: It is not there, not JSON, or holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        said = f"Expected names with values, but got a {type(value).__name__}"
        raise DataError(said, where=path, fix="Use another copy of the file")
    return value


@contextmanager
def atomic_folder(path: Path, *, listed: bool = True) -> Iterator[Path]:
    """Yield a temporary folder; on success write its `MANIFEST.json` last and rename it to `path`.

    Without `listed` there is no such list: a folder that others made may have a file of that name.

    An existing folder of that name is moved aside, and back if its replacement fails; `verify_folder` brings it back
    after a crash between the two renames. Nothing else is left behind when the block fails.
    """
    path = Path(path)
    temporary, aside = path.with_name(f".{path.name}.{os.getpid()}.part"), _aside(path)
    try:
        with storage_errors(path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _bring_back(path)
            yield temporary
            _sync_files(temporary)
            if listed:
                _write_manifest(temporary)
            if path.exists():
                _disk.replace(path, aside)
            _disk.replace(temporary, path)
            _disk.sync_folder(path.parent)
    finally:
        _bring_back(path)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _bring_back(path: Path) -> None:
    if not path.exists() and _aside(path).exists():
        _aside(path).replace(path)


def _sync_files(folder: Path) -> None:
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        with file.open("rb+") as handle:
            _disk.sync(handle)


def _write_manifest(folder: Path) -> None:
    entries = {}
    for name in _listed(folder):
        file = folder / name
        entries[name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    with (folder / MANIFEST).open("wb") as handle:
        _disk.write(handle, _listing(entries))
        _disk.sync(handle)


def _listed(folder: Path) -> list[str]:
    """Return the names of all files of a folder but its list of files."""
    found = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return [name for name in found if name != MANIFEST]


def _listing(entries: dict[str, Any]) -> bytes:
    return json.dumps(entries, indent=1).encode()


def damage(folder: Path) -> dict[str, str]:
    """Return what is wrong with each file of a folder written by `atomic_folder`, nothing where all is whole.

    Every flipped bit is found: in a file by its hash, in the list of files because it is written in one way only.
    """
    folder = Path(folder)
    try:
        expected = entries(folder)
    except DataError as error:
        return {MANIFEST: error.what}
    found = {name: said for name, entry in expected.items() if (said := _difference(folder / name, *entry))}
    found |= {name: "is not in the list of files" for name in _listed(folder) if name not in expected}
    again = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in expected.items()}
    if (folder / MANIFEST).read_bytes() != _listing(again):
        found[MANIFEST] = "is not as it was written"
    return found


def _difference(file: Path, size: int, digest: str) -> str:
    if not file.is_file():
        return "is missing"
    if file.stat().st_size != size:
        return f"has {file.stat().st_size} bytes instead of {size}"
    return "" if sha256(file) == digest else "is not what was written"


def verify_folder(folder: Path) -> None:
    """Check every file of a folder written by `atomic_folder` against its size and hash.

    Raises:
        DataError: The manifest is missing, or a file differs; it is named.
    """
    _bring_back(Path(folder))
    for name, (size, digest) in entries(Path(folder)).items():
        file = Path(folder) / name
        if not file.is_file() or file.stat().st_size != size or sha256(file) != digest:
            raise DataError("The file is damaged or missing", where=file, fix="Use another copy of the folder")


def entries(folder: Path) -> dict[str, tuple[int, str]]:
    """Return size and SHA-256 of every file of a folder written by `atomic_folder`, as they should be.

    Raises:
        DataError: The list of files is missing or damaged.
    """
    listed = read_mapping(folder / MANIFEST)
    if not listed:
        raise DataError("The list of files is empty", where=folder / MANIFEST, fix="Use another copy of the folder")
    try:
        return {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in listed.items()}
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            "The list of files is damaged", where=folder / MANIFEST, fix="Use another copy of the folder"
        ) from error


def is_utf8(path: str) -> bool:
    """Return whether the bytes of a name are text; a file system takes any, a table does not."""
    return not any("\udc80" <= character <= "\udcff" for character in path)


def as_utf8(path: str) -> str:
    r"""Return a name with the bytes that are no text written as `\xff`."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def append_json_line(path: Path, value: dict[str, Any]) -> None:
    """Append one line to a log such as `metrics.jsonl`."""
    with storage_errors(path), Path(path).open("ab") as handle:
        _disk.write(handle, json.dumps(value, allow_nan=False).encode() + b"\n")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log; a torn last line is left out, a missing file is an empty log."""
    if not Path(path).exists():
        return []
    whole = Path(path).read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines() if line.strip()]


def truncate(path: Path, size: int) -> None:
    """Cut an append-only log back to the length it had when a checkpoint was written."""
    if Path(path).exists() and Path(path).stat().st_size > size:
        with storage_errors(path), Path(path).open("rb+") as handle:
            handle.truncate(size)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over a file that a person may have worked on.

    Raises:
        StorageError: It is there, and `overwrite` is false.
    """
    if path.exists() and not overwrite:
        raise StorageError(
            "There is a file of that name already",
            where=path,
            fix="Add --overwrite to replace it, or choose another -o",
        )


@contextmanager
def claimed(folder: Path, *, resume: bool, marks: Iterable[str]) -> Iterator[Path]:
    """Hold a folder for this process while the block runs; one that stays empty is removed again.

    Args:
        folder: The folder of a run, sweep or study.
        resume: Go on in it.
        marks: Names, one of which is in it where such a run, sweep or study was begun: nothing else is gone on with.

    Raises:
        StorageError: Another process holds it, a file is in its place, it is not empty and `resume` is false, or it
            holds something else.
    """
    folder = Path(folder)
    if any(path.exists() and not path.is_dir() for path in (folder, *folder.parents)):
        raise StorageError("There is a file where a folder is needed", where=folder, fix="Choose another -o")
    from filelock import FileLock, Timeout  # asyncio, which `medssl --help` need not wait for

    begun = any((folder / name).exists() for name in marks)
    if not (resume and begun) and folder.exists() and any(_is_content(path) for path in folder.iterdir()):
        can = "Add --resume to go on in it, or choose another -o" if begun else "Choose another -o"
        what = "holds something else, there is nothing to go on with" if resume else "exists and is not empty"
        raise StorageError(f"The folder {what}", where=folder, fix=can)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    with storage_errors(folder), suppress(Timeout):
        lock.acquire(timeout=0)
    if not lock.is_locked:
        owner = (folder / _OWNER).read_text().strip() if (folder / _OWNER).exists() else "another process"
        raise StorageError(f"The folder is in use by {owner}", where=folder, fix="Wait, or choose another -o")
    try:
        write_text(folder / _OWNER, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield folder
    finally:
        (folder / _OWNER).unlink(missing_ok=True)
        lock.release()
        _remove_empty(made)


def _is_content(path: Path) -> bool:
    """Tell whether something in a folder was put there on purpose: not a lock, a killed write, or prepared images."""
    killed = path.name.startswith(".") and path.name.endswith(".part")
    return not killed and path.name not in (_LOCK, _OWNER, STORES)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, as long as nothing but a lock is in them."""
    for folder in folders:
        if any(path.name != _LOCK for path in folder.iterdir()):
            return
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
