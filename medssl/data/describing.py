"""One file of an archive: its rows, whatever is wrong with it."""

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from medssl.data.apart import MEMORY
from medssl.data.readers import HEAD_BYTES, all_readers, reader_of
from medssl.data.readers.parts.foreign import judge
from medssl.errors import MedsslError

Row = dict[str, Any]


class Stamp(NamedTuple):
    """What tells whether a file is still the one that was read: nanoseconds of its last change, and bytes."""

    mtime_ns: int
    size: int


def describe(path: Path | str) -> list[Row]:
    """Return the rows of one file; whatever is wrong with it becomes a reason, never an exception."""
    return stamped(path)[1]


def stamped(path: Path | str) -> tuple[Stamp | None, list[Row]]:
    """Return the stamp of one file, None where it cannot be had, and its rows."""
    stamp = None
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of a million files is slow)
        stamp = Stamp(status.st_mtime_ns, status.st_size)
        if not stat.S_ISREG(status.st_mode):
            return stamp, [{"status": "skipped", "reason": "not a regular file"}]
        return stamp, _rows(path, status.st_size)
    except MedsslError as error:
        why = error.what
    except OSError as error:
        why = error.strerror or type(error).__name__
    except MemoryError:
        why = f"reading it needs more than {MEMORY / 2**30:.1f} GiB of memory"
    except Exception as error:  # one bad file of thousands must not end the scan
        why = f"its header cannot be read ({type(error).__name__})"
    return stamp, [{"status": "unreadable", "reason": why}]


def _rows(path: Path | str, size: int) -> list[Row]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.read(handle, HEAD_BYTES)
        base = os.path.basename(path)  # noqa: PTH119
        name = None if base.startswith("._") else reader_of(path, head)
        if name is None:
            state, reason = judge(base, head)
            return [{"status": state, "reason": reason, "file_bytes": size}]
        reader = all_readers()[name]
        glance = getattr(reader, "glance", None)
        found = glance(path, handle, head, size) if glance else None
    finally:
        os.close(handle)
    rows = reader.describe(Path(path)) if found is None else found
    for row in rows:
        row.update(file_bytes=size, format=name)
    return rows
