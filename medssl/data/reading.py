"""Reading an archive: which of its files are known already, the rows of the others, and all of them in order."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medssl import files
from medssl.data.apart import Block, Lost, blocks
from medssl.data.describing import stamped
from medssl.data.earlier import Earlier
from medssl.data.listing import Archive
from medssl.data.record import reused
from medssl.data.rows import Described, Gathered, batch_of, compact, packed, unpacked

Row = dict[str, Any]
Hide = Callable[[Row], Row]
"""Called with a row, `path` in it, before it leaves the process that read it. Its attribute `fingerprint`, if it has
one, tells keys apart: rows that were hidden otherwise are not used again."""
Progress = Callable[[str, dict[str, Any]], None]
_TOGETHER = 256  # files whose rows travel together
_NOWHERE = "\0"  # no file's name


def read(archive: Archive, hide: Hide | None, earlier: Earlier, progress: Progress | None) -> pa.Table:
    """Return the rows of every file, in their order, with its number in the column `file`.

    Raises:
        StorageError: What is found cannot be written down.
    """
    rows = None
    known = earlier.open(archive.root, getattr(hide, "fingerprint", None))
    try:
        names = _names(archive)
        again = _known(archive, names, known, earlier)
        gathered = Gathered()
        for block in _described(archive, np.flatnonzero(~again), hide, progress):
            earlier.append(block)
            gathered.add(unpacked(block))
        rows = pa.concat_tables([_of_files(known, names, np.flatnonzero(again)), gathered.table()])
        return _in_order(rows.unify_dictionaries(), names, _told(archive, hide), list(archive.known))
    finally:
        earlier.close(rows)


def read_part(archive: Archive, hide: Hide | None, earlier: Earlier, progress: Progress | None) -> int:
    """Write down the rows of the files of one part of a scan, and return how many there are.

    Raises:
        StorageError: What is found cannot be written down.
    """
    known = earlier.open(archive.root, getattr(hide, "fingerprint", None))
    try:
        names = _names(archive)
        mine = np.array([earlier.has(name) for name in archive.names], dtype=bool)
        todo = np.flatnonzero(mine & ~_known(archive, names, known, earlier))
        for block in _described(archive, todo, hide, progress):
            earlier.append(block)
        return int(mine.sum())
    finally:
        earlier.close()


def _names(archive: Archive) -> pa.Array:
    """Return the files as rows name them; those that were not read have no name here."""
    names = archive.names
    if archive.known:
        names = [_NOWHERE if number in archive.known else name for number, name in enumerate(names)]
    return pa.array(names, pa.string())


def _known(archive: Archive, names: pa.Array, known: pa.Table, earlier: Earlier) -> np.ndarray:
    """Return which files need no reading, (n,) bool, and tell how many there are of each sort."""
    if earlier.update:  # what could not be read may be readable now, though the file is the same
        tried = pc.equal(known["status"].cast(pa.string()), "unreadable").fill_null(False)
        known = known.append_column("again", tried)
    result = reused(known, names, archive.paths)
    read = np.ones(len(names), dtype=bool)
    read[list(archive.known)] = False
    earlier.tell(known, names.filter(pa.array(read)), result[read])
    result[~read] = True
    return result


def _described(archive: Archive, numbers: np.ndarray, hide: Hide | None, progress: Progress | None) -> Iterator[bytes]:
    """Yield blocks of rows of some files, as they come."""

    def found(number: int) -> Described:
        name = archive.names[number]
        stamp, rows = stamped(archive.paths[number])
        return Described(name, stamp, [_hidden(row, name, hide) for row in rows])

    total = len(archive.paths)
    done = total - len(numbers)
    if progress:
        progress("scan", {"done": done, "total": total, "path": archive.shown(int(numbers[0])) if len(numbers) else ""})
    with closing(blocks(found, numbers.tolist(), packed, size=_TOGETHER)) as results:
        for block in results:
            number = int(numbers[block.start])
            yield block.value if isinstance(block.value, bytes) else _lost(archive.names[number], block, hide)
            done += block.size
            if progress and done < total:
                progress("scan", {"done": done, "total": total, "path": archive.shown(number)})
    if progress:
        progress("scan", {"done": total, "total": total, "path": ""})


def _hidden(row: Row, name: str, hide: Hide | None) -> Row:
    return row if hide is None else hide({**row, "path": name})


def _lost(name: str, block: Block[bytes], hide: Hide | None) -> bytes:
    """Return the row of a file that ended its reader."""
    assert isinstance(block.value, Lost)  # noqa: S101 (looked at above)
    return packed(
        [Described(name, None, [_hidden({"status": "unreadable", "reason": block.value.reason}, name, hide)])]
    )


def _told(archive: Archive, hide: Hide | None) -> pa.Table:
    """Return the rows of files that are not read, in the order of `archive.known`."""
    names = ((files.as_utf8(archive.names[number]), row) for number, row in archive.known.items())
    batch = batch_of(Described(name, None, [_hidden(row, name, hide)]) for name, row in names)
    return pa.Table.from_batches([compact(batch)])


def _of_files(rows: pa.Table, names: pa.Array, numbers: np.ndarray) -> pa.Table:
    """Return the rows of some files."""
    wanted = names.take(pa.array(numbers))
    return rows.filter(pc.is_in(rows["path"], value_set=wanted))


def _in_order(rows: pa.Table, names: pa.Array, told: pa.Table, told_files: Iterable[int]) -> pa.Table:
    """Return all rows in the order of files."""
    file = pc.index_in(rows["path"], value_set=names).to_numpy().astype(np.int64)
    file = np.concatenate([file, np.array(list(told_files), dtype=np.int64)])
    together = pa.concat_tables([rows, told]).unify_dictionaries().combine_chunks()
    order = np.argsort(file, kind="stable")
    if (np.diff(file) < 0).any():
        together, file = together.take(pa.array(order)), file[order]
    return together.append_column("file", pa.array(file))
