"""What a command kept in a folder, read back: one sentence for what is damaged, nothing for what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl import files, settings
from medssl.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TEXT, NUMBER, ANYTHING = "text", "a number", "anything"
_REPEAT = "Write it again by repeating the command that made the folder, with --resume"


def mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file; a missing file is an empty one.

    Raises:
        DataError: It cannot be read, or holds something else.
    """
    if not path.exists():
        return {}
    value = files.read_json(path) if path.suffix == ".json" else settings.load_yaml(path)
    if not isinstance(value, dict):
        raise DataError(f"Expected names with values, but got a {type(value).__name__}", where=path, fix=_REPEAT)
    if not value:
        raise DataError("There is nothing in it", where=path, fix=_REPEAT)
    return value


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a missing file is an empty one.

    Raises:
        DataError: A line is not JSON, or not names with values.
    """
    try:
        values = files.read_json_lines(path)
    except ValueError as error:
        fix = "Put it back as it was, or remove it: curves are lost, nothing else"
        raise DataError(f"A line is not JSON: {error}", where=path, fix=fix) from error
    return checked(values, "the log", {}, path)


def table(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame | None:
    """Return a Parquet table, or None where there is none.

    Raises:
        DataError: It cannot be read, or lacks one of the columns.
    """
    if not path.exists():
        return None
    import pandas as pd
    from pyarrow import ArrowException

    try:
        found = pd.read_parquet(path)
    except (ArrowException, OSError, ValueError) as error:
        raise DataError(f"Not a Parquet table: {' '.join(str(error).split())}", where=path, fix=_REPEAT) from error
    missing = [name for name in columns if name not in found.columns]
    if missing:
        raise DataError(f"The table has no column {', '.join(missing)}", where=path, fix=_REPEAT)
    return found


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file; a missing file has none.

    Raises:
        DataError: It cannot be read.
    """
    if not path.exists():
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"Not a safetensors file: {error}", where=path, fix=_REPEAT) from error


def checked(values: Any, name: str, kinds: Mapping[str, str], where: Path) -> list[dict[str, Any]]:
    """Return a list of mappings, after checking that each has what is needed of it.

    Args:
        values: What was read; None is an empty list.
        name: What the list is called in messages.
        kinds: Names that every row must have, and what stands there: `TEXT`, `NUMBER` (or none) or `ANYTHING`.
        where: The file.

    Raises:
        DataError: It is not a list, or a row lacks a name or has another kind of value there.
    """
    if not isinstance(values or [], list):
        raise DataError(f"'{name}' is not a list, but a {type(values).__name__}", where=where, fix=_REPEAT)
    for place, row in enumerate(values or [], start=1):
        if not isinstance(row, dict):
            raise DataError(f"Row {place} of '{name}' is not names with values", where=where, fix=_REPEAT)
        missing = [key for key in kinds if key not in row]
        if missing:
            raise DataError(f"Row {place} of '{name}' lacks {', '.join(missing)}", where=where, fix=_REPEAT)
        wrong = next((key for key, kind in kinds.items() if not _is(row[key], kind)), None)
        if wrong is not None:
            said = f"Row {place} of '{name}' has {wrong} {row[wrong]!r}, which is not {kinds[wrong]}"
            raise DataError(said, where=where, fix=_REPEAT)
    return list(values or [])


def _is(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    return kind == ANYTHING or value is None or (isinstance(value, Real) and not isinstance(value, bool))
