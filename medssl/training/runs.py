"""Run folders: their names, what is in them, and which one to go on in."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from medssl import files, kept
from medssl.errors import DataError, SettingsError, nearest
from medssl.settings import flat
from medssl.training.settings import read

HOME = Path("runs")
SETTINGS, CHOICES, PROVENANCE, MANIFEST = "settings.yaml", "choices.json", "provenance.json", "manifest.parquet"
LOG, IMAGES, BEFORE = "metrics.jsonl", "pretrained_on.parquet", "seen_before.parquet"
LAST, BEST, CHECKPOINTS, SNAPSHOTS = "backbone", "backbone-best", "checkpoints", "snapshots"
SEEN = ("sample_id", "patient_key", "pixel_hash")
_BEGINNING = (SETTINGS, CHOICES, PROVENANCE, MANIFEST, LOG, IMAGES, BEFORE)


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
    return files.read_mapping(run / PROVENANCE).get("finished") is not None


def images_seen(run: Path) -> pd.DataFrame | None:
    """Return the images that a run's weights have seen, those of the stages before it included; None where unknown.

    Raises:
        DataError: A list is damaged.
    """
    lists = [kept.table(run / name, SEEN) for name in (IMAGES, BEFORE)]
    if lists[0] is None:
        return None
    return pd.concat([one for one in lists if one is not None], ignore_index=True)


def keep_images_seen_before(run: Path, parent: Path) -> None:
    """Write `seen_before.parquet`: what the weights of another run saw that this one begins with.

    Kept whole in every run, so that a test set can be checked against all stages wherever their folders are by then.

    Raises:
        DataError: The other run does not say what it saw.
    """
    seen = images_seen(parent)
    if seen is None:
        raise DataError(
            f"The run '{parent.name}' does not say which images it was pretrained on",
            where=parent / IMAGES,
            fix="Without that list no test set of a later stage can be trusted: pretrain it again",
        )
    with files.atomic_path(run / BEFORE) as temporary:
        seen.drop_duplicates().to_parquet(temporary, index=False)


def snapshot(run: Path, epoch: int) -> Path:
    """Return where the backbone is kept as it was after an epoch."""
    return run / SNAPSHOTS / f"epoch-{epoch}"


def kept_epochs(run: Path) -> list[int]:
    """Return the epochs after which the backbone was kept (`train.keep_epochs`), as the folder has them."""
    names = [path.name.removeprefix("epoch-") for path in (run / SNAPSHOTS).glob("epoch-*")]
    return sorted(int(name) for name in names if name.isdecimal())


def has_begun(run: Path) -> bool:
    """Tell whether a folder holds a run that can be gone on with."""
    return (run / SETTINGS).is_file() and (run / PROVENANCE).is_file()


def check_logs(run: Path) -> None:
    """Look whether what a report needs of a run can be read, before hours are spent on going on with it.

    Raises:
        DataError: A file is damaged.
    """
    kept.mapping(run / CHOICES)
    kept.lines(run / LOG)


@contextmanager
def begun(run: Path) -> Iterator[None]:
    """Take away what the block wrote into a new run when it fails before there is a checkpoint.

    Nothing could go on from there, and the corrected command can have the folder.
    """
    try:
        yield
    except BaseException:
        if not any((run / CHECKPOINTS).glob("step-*")):
            for name in _BEGINNING:
                (run / name).unlink(missing_ok=True)
            for name in (CHECKPOINTS, SNAPSHOTS):
                shutil.rmtree(run / name, ignore_errors=True)
        raise


def record(run: Path) -> dict[str, Any]:
    """Return the record of a run that has begun, its manifest's hash included.

    Raises:
        DataError: It is damaged.
    """
    found = files.read_mapping(run / PROVENANCE)
    manifest = found.get("manifest")
    stages, remarks = found.get("stages"), found.get("remarks")
    whole = isinstance(manifest, dict) and "hash" in manifest and isinstance(remarks, list)
    if not whole or not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages) or not stages:
        raise DataError("The record of the run is damaged", where=run / PROVENANCE, fix="Start a new run")
    return found


def remove_leftovers(run: Path) -> None:
    """Remove what a killed process was writing; the caller holds the folder."""
    for part in [path for place in (run, run / CHECKPOINTS, run / SNAPSHOTS) for path in place.glob(".*.part")]:
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
    for path in home.glob(f"*/{PROVENANCE}"):
        with suppress(DataError):  # a damaged record is not the one that is looked for
            run = path.parent
            if has_begun(run) and not is_finished(run) and files.read_mapping(path).get("request") == request:
                found.append((path.stat().st_mtime, run))
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
    old = read(run / SETTINGS)
    if not isinstance(old.get("modality"), str):
        raise DataError("The settings of the run are damaged", where=run / SETTINGS, fix="Start a new run")
    values = flat(old)
    request = record(run).get("request")
    begun = flat(request["settings"]) if isinstance(request, dict) and isinstance(request.get("settings"), dict) else {}
    for name, value in flat(asked).items():
        if name not in values:
            guess = nearest(name, values)
            hint = f"; did you mean '{guess}'" if guess else ""
            raise SettingsError(
                f"The run has no setting '{name}'{hint}", where=run, fix="Resume without changes, or start a new run"
            )
        if value not in (values[name], begun.get(name, values[name])):  # a scanned folder became a manifest
            raise SettingsError(
                f"The run has {name}={begun.get(name, values[name])}, but {value} is asked for",
                where=run,
                fix="Resume without changes, or start a new run",
            )
    return old
