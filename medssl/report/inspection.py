"""`medssl inspect`: decide what a path is, and say what is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medssl.errors import DataError, SettingsError
from medssl.report import inspect_file, inspect_manifest, inspect_run
from medssl.report.build import is_sweep
from medssl.report.inspected import Inspected
from medssl.training import runs

_TABLES = (".parquet", ".csv")


def inspect(
    path: Path,
    *,
    ids: bool = False,
    sheet: bool = False,
    seed: int = 0,
    where: str | None = None,
    progress: Callable[[str, dict[str, Any]], None] | None = None,
) -> Inspected:
    """Return what a file, a manifest or a run holds.

    Args:
        path: An image file, a manifest (.parquet or .csv), or a run folder.
        ids: Show patients, studies, series, instances and paths instead of nicknames.
        sheet: Read the images of a manifest, too.
        seed: Which of them are drawn.
        where: A condition on the columns of a manifest; other rows are left out.
        progress: Told how reading goes.

    Raises:
        SettingsError: The condition cannot be used, or this is no manifest.
        DataError: It is none of these, or damaged.
    """
    if not path.exists():
        raise DataError("There is no such file or folder", where=path, fix="Give an image, a manifest or a run")
    if where and (path.is_dir() or path.suffix.lower() not in _TABLES):
        raise SettingsError("--where chooses rows of a manifest, and this is none", where=path, fix="Leave it out")
    if path.is_dir():
        _check_run(path)
        return inspect_run.inspect(path, ids=ids)
    if path.suffix.lower() in _TABLES:
        return inspect_manifest.inspect(path, ids=ids, sheet=sheet, seed=seed, where=where, progress=progress)
    return inspect_file.inspect(path, ids=ids)


def _check_run(folder: Path) -> None:
    if is_sweep(folder):
        raise DataError("This is a sweep, not a run", where=folder, fix=f"Look at it with: medssl report {folder}")
    if not (folder / runs.SETTINGS).is_file():
        fix = f"Make a manifest of it: medssl scan {folder} -o FILE"
        raise DataError("This folder is no run: it has no settings.yaml", where=folder, fix=fix)
