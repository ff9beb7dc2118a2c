"""What a run or sweep folder holds, read with one sentence for what is damaged and None for what is not there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import ArrowException
from safetensors import SafetensorError
from safetensors.numpy import load_file

from medssl import files, settings
from medssl.errors import DataError

_REPEAT = "Write it again by repeating the command that made the folder, with --resume"


def mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file; a missing file is an empty one."""
    if not path.exists():
        return {}
    value = files.read_json(path) if path.suffix == ".json" else settings.load_yaml(path)
    if not isinstance(value, dict):
        raise DataError(f"Expected names with values, but got a {type(value).__name__}", where=path, fix=_REPEAT)
    return value


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a missing file is an empty one."""
    try:
        values = files.read_json_lines(path)
    except ValueError as error:
        raise DataError(f"A line is not JSON: {error}", where=path, fix=_REPEAT) from error
    return [value for value in values if isinstance(value, dict)]


def table(path: Path) -> pd.DataFrame | None:
    """Return a Parquet table, or None where there is none."""
    if not path.exists():
        return None
    try:
        return pd.read_parquet(path)
    except (ArrowException, OSError, ValueError) as error:
        raise DataError(f"Not a Parquet table: {error}", where=path, fix=_REPEAT) from error


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file; a missing file has none."""
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"Not a safetensors file: {error}", where=path, fix=_REPEAT) from error


def rows(results: dict[str, Any], name: str, keys: Iterable[str], where: Path) -> list[dict[str, Any]]:
    """Return a list of results, checked for what a page needs of each.

    Raises:
        DataError: A row lacks a key.
    """
    values = results.get(name) or []
    if not isinstance(values, list):
        raise DataError(f"'{name}' is not a list, but a {type(values).__name__}", where=where, fix=_REPEAT)
    for place, row in enumerate(values):
        missing = sorted(set(keys) - set(row)) if isinstance(row, dict) else list(keys)
        if missing:
            raise DataError(f"Row {place} of '{name}' lacks {', '.join(missing)}", where=where, fix=_REPEAT)
    return list(values)
