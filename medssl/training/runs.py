"""Run folders: their names, what is in them, and which one to go on in."""

import shutil
import time
from pathlib import Path
from typing import Any

from medssl import files
from medssl.errors import DataError, SettingsError
from medssl.training.presets import flat
from medssl.training.settings import read

HOME = Path("runs")
SETTINGS, CHOICES, PROVENANCE, MANIFEST = "settings.yaml", "choices.json", "provenance.json", "manifest.parquet"
LAST, BEST = "backbone", "backbone-best"


def new_name(modality: str, method: str, backbone: str, home: Path = HOME) -> Path:
    """Return a folder that is not there yet, named after its content and the time."""
    stem = f"{modality}-{method}-{backbone}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = home / stem, 2
    while path.exists():
        path, number = home / f"{stem}-{number}", number + 1
    return path


def is_finished(run: Path) -> bool:
    """Tell whether a run has come to its end: its backbone is exported and its record closed."""
    if not (run / LAST / "config.json").is_file() or not (run / PROVENANCE).is_file():
        return False
    return files.read_json(run / PROVENANCE).get("finished") is not None


def has_begun(run: Path) -> bool:
    """Tell whether a folder holds a run that can be gone on with."""
    return (run / SETTINGS).is_file() and (run / PROVENANCE).is_file()


def remove_leftovers(run: Path) -> None:
    """Remove what a killed process was writing; the caller holds the folder."""
    for part in [*run.glob(".*.part"), *run.glob("checkpoints/.*.part")]:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def newest_unfinished(request: dict[str, Any], home: Path = HOME) -> Path:
    """Return the newest unfinished run that was asked for with the same settings.

    Raises:
        DataError: There is none.
    """
    found = []
    for record in home.glob(f"*/{PROVENANCE}"):
        run = record.parent
        if has_begun(run) and not is_finished(run) and files.read_json(record).get("request") == request:
            found.append((record.stat().st_mtime, run))
    if not found:
        raise DataError(
            "There is no unfinished run with these settings",
            where=home,
            fix="Name it with -o RUN --resume, or leave out --resume to start one",
        )
    return max(found)[1]


def settings_to_resume(run: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, after checking that nothing else is asked for now.

    Args:
        run: The run folder.
        asked: What the user set this time, nested.

    Raises:
        SettingsError: A value differs from the run's.
    """
    kept = read(run / SETTINGS)
    values = flat(kept)
    for name, value in flat(asked).items():
        if name in values and values[name] != value and not _same_file(name, values[name], value):
            raise SettingsError(
                f"The run has {name}={values[name]}, but {value} is asked for",
                where=run,
                fix="Resume without changes, or start a new run",
            )
    return kept


def _same_file(name: str, kept: Any, asked: Any) -> bool:
    """Accept the folder that was scanned for the run in place of the manifest made of it."""
    return name == "data.manifest" and kept is not None and asked is not None and Path(kept).name == MANIFEST
