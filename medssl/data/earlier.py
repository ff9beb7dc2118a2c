"""What earlier scans for a manifest have found, and where this one writes what it finds."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medssl import files
from medssl.data.keys import Key, kept, once
from medssl.data.record import Journal, header_of, journal_of, program, record_of, table_of, why_not, write_record
from medssl.data.rows import Gathered

_WORTH_KEEPING = 60.0  # seconds of reading


@dataclass
class Earlier:
    """What scans for one manifest have found, and what this one finds.

    Attributes:
        output: The manifest; None keeps nothing.
        update: Use what the scan found that wrote the manifest.
        choices: What else is remembered for the next update.
        shard: (number, of how many), from 1: this scan is a part of one.
        said: Sentences on what was used again.
    """

    output: Path | None
    update: bool = False
    choices: dict[str, Any] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    said: list[str] = field(default_factory=list)
    _journal: Journal | None = field(default=None, init=False, repr=False)
    _header: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _rows: pa.Table | None = field(default=None, init=False, repr=False)
    _alone: bool = field(default=True, init=False, repr=False)
    _began: float | None = field(default=None, init=False, repr=False)

    @property
    def own(self) -> tuple[Path, ...]:
        """Files beside the manifest that are no part of the archive."""
        return (*self.journals(), self.record, self._secret, self.output) if self.output else ()

    @property
    def _secret(self) -> Path:
        assert self.output is not None  # noqa: S101
        return self.output.with_name(f".{self.output.name}.key")

    def key(self) -> Key:
        """Return a random key, kept for an interrupted scan and thrown away when the manifest is written.

        Raises:
            StorageError: It cannot be written.
        """
        return once() if self.output is None else replace(kept(self._secret)[0], once=True, where=None)

    @property
    def journal(self) -> Path:
        """Where this scan writes what it finds."""
        assert self.output is not None  # noqa: S101 (asked where there is one only)
        plain = journal_of(self.output)
        return plain if self.shard is None else plain.with_name(f"{plain.name}-{self.shard[0]}-of-{self.shard[1]}")

    @property
    def record(self) -> Path:
        """Where it stays when the manifest is written."""
        assert self.output is not None  # noqa: S101
        return record_of(self.output)

    def journals(self) -> list[Path]:
        """Return the journals of this scan and of its parts."""
        plain = journal_of(self.output) if self.output else Path()
        return [*sorted(plain.parent.glob(f"{plain.name}-*-of-*")), plain] if self.output else []

    def open(self, root: Path, hidden: str | None) -> pa.Table:
        """Begin, and return the rows that are known.

        Args:
            root: The folder that names start at.
            hidden: Fingerprint of the key that identifiers are hidden by.

        Raises:
            StorageError: The journal cannot be written, or another scan writes it.
        """
        if self.output is None:
            return Gathered().table()
        self._header = {
            "root": str(root),
            "program": program(),
            "hidden": hidden,
            "choices": self.choices,
        }
        sources = [self.journal] if self.shard else self.journals()
        sources = [self.record, *sources] if self.update and self.record.exists() else sources
        for path in sources:
            found = header_of(path)
            why = why_not(found, self._header) if found else None
            if why:
                self.said.append(f"nothing of an earlier scan is used again: {why}")
        self._alone = not any(path.exists() for path in sources if path != self.journal)
        self._began = None if self.journal.exists() else time.monotonic()
        self._journal = Journal(self.journal, self._header)
        return table_of(sources, self._header)

    def append(self, block: bytes) -> None:
        """Keep a block of rows."""
        if self._journal is not None:
            self._journal.append(block)

    def has(self, name: str) -> bool:
        """Return whether a file belongs to this part of the scan, whatever other files there are."""
        if self.shard is None:
            return True
        number, parts = self.shard
        return crc32(name.encode("utf-8", "surrogateescape")) % parts == number - 1

    def tell(self, known: pa.Table, names: pa.Array, again: np.ndarray) -> None:
        """Say what is used again.

        Args:
            known: Rows of earlier scans.
            names: The files that are read or known, (n,).
            again: Which are used again, (n,) bool.
        """
        before = known["path"].combine_chunks().unique()
        total, same = len(names), int(again.sum())
        if self.update:
            there = int(pc.sum(pc.is_in(names, value_set=before)).as_py() or 0)
            self.said.append(
                f"{same} of {total} files are as they were; {total - there} are new, {there - same} are changed or "
                f"could not be read before, {len(before) - there} are gone"
            )
        elif same and self.shard is None:
            self.said.append(f"going on with an unfinished scan: {same} of {total} files were read before")

    def close(self, rows: pa.Table | None = None) -> None:
        """Let go of the journal; it stays until the manifest is written."""
        self._rows = rows
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def forget(self) -> None:
        """Remove a journal that this scan began a moment ago: it is quicker to read again than to explain."""
        if self.output is None:
            return
        if self._began is not None and time.monotonic() - self._began < _WORTH_KEEPING:
            self.journal.unlink(missing_ok=True)
        if not any(journal.exists() for journal in self.journals()):
            self._secret.unlink(missing_ok=True)

    def finish(self) -> None:
        """Make what was found the record of a manifest that is written now."""
        if self.output is None or self._rows is None:
            return
        if self._alone:
            files.rename(self.journal, self.record)
        else:
            write_record(self.record, self._header, self._rows)
        for path in (*self.journals(), self._secret):
            path.unlink(missing_ok=True)
