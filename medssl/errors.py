"""The one family of errors: what was wrong, where, and what to do next.

    MedsslError            exit code 1
    ├── SettingsError      2    usage, unknown name, value out of range
    ├── DataError          65   input that cannot be used; a path that does not exist
    ├── StorageError       74   disk full, read-only folder, folder in use, no network
    └── StoppedError       75   stopped on request, `--resume` goes on

Exit codes follow BSD `sysexits.h` where it has a word for the case.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path


class MedsslError(Exception):
    """A failure that a person can act on; its text is one to three short sentences."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str | None = None) -> None:
        """Keep the three parts.

        Args:
            what: What was wrong, with the offending value.
            where: File, row, sample or setting.
            fix: What to do about it.
        """
        self.what, self.where, self.fix = what, where, fix
        place = f" ({' '.join(str(where).split())})" if where else ""
        said = what if what.endswith("..") else what.removesuffix(".")  # what another error said ends a sentence
        super().__init__(" ".join(part for part in (_sentence(said + place), _sentence(fix or "")) if part))


class SettingsError(MedsslError):
    """A setting, name or argument is not valid."""

    exit_code = 2


class DataError(MedsslError):
    """The input data cannot be used as asked."""

    exit_code = 65


class StorageError(MedsslError):
    """Something could not be written or fetched, or is in use by another process; trying again may help."""

    exit_code = 74


class StoppedError(MedsslError):
    """Work was stopped on request after its state was saved."""

    exit_code = 75


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name in `names` that looks most like `name`, or None."""
    matches = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name(kind: str, name: str, names: Iterable[str], where: str | Path | None = None) -> SettingsError:
    """Return the error for a name that does not exist: the nearest one, and all that do."""
    names = sorted(names)
    guess = nearest(name, names)
    hint = f"Did you mean '{guess}'? " if guess else ""
    return SettingsError(f"Unknown {kind} '{name}'", where=where, fix=f"{hint}Known: {', '.join(names)}")


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?" else text + "."
