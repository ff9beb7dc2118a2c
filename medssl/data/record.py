"""What a scan found, so that nothing is read twice: the journal of one under way, the record of a finished one.

Both lie hidden beside the manifest, `.NAME.scan` and `.NAME.files`, and hold blocks of rows (`medssl.data.rows`) as
they left the children that read them. A journal is appended to and never changed; a torn end is cut. When the manifest
is written the journal is renamed to the record. Rows are used again for a file of the same name, size and time of
change, by the same program, below the same folder, with identifiers hidden by the same key.
"""

import fcntl
import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydicom import __version__ as pydicom_version

import medssl
from medssl import files
from medssl.data.readers import all_readers
from medssl.data.rows import Gathered, rewritten, unpacked
from medssl.errors import StorageError

_MAGIC = b"MSC1"
_HEAD = struct.Struct("<4sIQ")  # magic, CRC-32 and length of what follows
_MOST = 2**31
_PATIENCE = 2.0  # seconds


def journal_of(output: Path) -> Path:
    """Return the place of the journal of a scan that will write this manifest."""
    return output.with_name(f".{output.name}.scan")


def record_of(output: Path) -> Path:
    """Return the place of the record of the scan that wrote this manifest."""
    return output.with_name(f".{output.name}.files")


@lru_cache
def program() -> str:
    """Return what rows depend on besides the files: the version, and the source of whatever reads."""
    digest = hashlib.blake2b(f"{medssl.__version__} {pydicom_version}".encode(), digest_size=8)
    folder = Path(__file__).parent
    sources = {Path(str(module.__file__)) for module in all_readers().values()}
    sources |= {
        *folder.glob("readers/parts/*.py"),
        *(folder / name for name in ("rows.py", "describing.py", "privacy.py", "keys.py")),
    }
    for source in sorted(sources):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


class Journal:
    """An open journal.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Open a journal, begin one where there is none that can be gone on with, and cut off a torn end.

        Args:
            path: The file.
            header: Its first block: what rows depend on, and what else is to be remembered.

        Raises:
            StorageError: It cannot be written, or another scan writes it.
        """
        self.path = path
        with files.storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle: BinaryIO = path.open("ab+", buffering=0)
        self._lock()
        found, end = _opened(path)
        end = end if found is not None and why_not(found, header) is None else 0
        with files.storage_errors(path):
            self._handle.truncate(end)
        if not end:
            self.append(json.dumps(header).encode())

    def append(self, block: bytes) -> None:
        """Add a block; it is there whole, or cut off when the journal is opened again."""
        with files.storage_errors(self.path):
            files.write(self._handle, _framed(block))

    def _lock(self) -> None:
        """Hold the file; children of a scan that was killed let go of it a moment later."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() > until:
                    self._handle.close()
                    fix = "Wait, or choose another -o"
                    raise StorageError("Another scan writes this manifest", where=self.path, fix=fix) from error
            time.sleep(_PATIENCE / 20)

    def close(self) -> None:
        """Let go of the file, which stays."""
        self._handle.close()


def header_of(path: Path) -> dict[str, Any] | None:
    """Return the first block of a journal or record, None where there is none that can be read."""
    return _opened(path)[0]


def why_not(found: dict[str, Any], header: dict[str, Any]) -> str | None:
    """Say why rows with one header are of no use for a scan with another, None where they are."""
    words = {
        "root": f"it was of {found.get('root')}",
        "program": "it was made by another version of this program",
        "hidden": "it had another key",
    }
    return next((text for name, text in words.items() if found.get(name) != header.get(name)), None)


def table_of(paths: list[Path], header: dict[str, Any]) -> pa.Table:
    """Return the rows of journals and records that fit to a header; the last that tell of a file."""
    gathered, numbers = Gathered(), [np.empty(0, dtype=np.int64)]
    for path in paths:
        blocks = _blocks(path)
        first = next(blocks, None)
        if first is None or why_not(json.loads(first), header):
            continue
        for block in blocks:
            batch = unpacked(block)
            gathered.add(batch)
            numbers.append(np.full(len(batch), len(numbers)))
    return _last(gathered.table(), np.concatenate(numbers))


def write_record(path: Path, header: dict[str, Any], table: pa.Table) -> None:
    """Write a record whole or not at all."""
    with files.atomic_path(path) as temporary, temporary.open("wb") as handle:
        files.write(handle, _framed(json.dumps(header).encode()))
        for block in rewritten(table):
            files.write(handle, _framed(block))


def _framed(block: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, zlib.crc32(block), len(block)) + block


def _last(table: pa.Table, block: np.ndarray) -> pa.Table:
    """Return the rows of each file from the last block that has it."""
    codes = table["path"].combine_chunks().dictionary_encode().indices.to_numpy()
    newest = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(newest, codes, block)
    keep = newest[codes] == block
    return table if keep.all() else table.filter(pa.array(keep))


def reused(table: pa.Table, names: pa.Array, paths: list[str]) -> np.ndarray:
    """Return which files are as they were when their rows were made, (n,) bool.

    Args:
        table: Rows; one whose cell `again` is true, where there is such a column, is made anew.
        names: Files as rows name them, (n,).
        paths: The same files as the system names them.
    """
    rows = pc.index_in(names, value_set=table["path"].combine_chunks()).fill_null(-1).to_numpy(zero_copy_only=False)
    times, sizes = (table[name].fill_null(-1).to_numpy() for name in ("mtime_ns", "size"))
    anew = table["again"].to_numpy() if "again" in table.column_names else np.zeros(len(table), dtype=bool)
    result = np.zeros(len(names), dtype=bool)
    for place in np.flatnonzero(rows >= 0).tolist():
        row = rows[place]
        try:
            status = os.stat(paths[place])  # noqa: PTH116 (a Path for each of a million files is slow)
        except OSError:
            continue
        result[place] = not anew[row] and (status.st_mtime_ns, status.st_size) == (times[row], sizes[row])
    return result


def _opened(path: Path) -> tuple[dict[str, Any] | None, int]:
    """Return the header, and where the last whole block ends."""
    blocks = _blocks(path)
    first = next(blocks, None)
    if first is None:
        return None, 0
    return json.loads(first), _HEAD.size + len(first) + sum(_HEAD.size + len(block) for block in blocks)


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield whole blocks, up to the first that is not."""
    if not path.is_file():
        return
    with files.storage_errors(path), path.open("rb") as handle:
        while len(head := handle.read(_HEAD.size)) == _HEAD.size:
            magic, check, length = _HEAD.unpack(head)
            block = handle.read(length) if magic == _MAGIC and length < _MOST else b""
            if not block or len(block) < length or zlib.crc32(block) != check:
                return
            yield block
