"""Looking for damage in stores: every flipped bit, with the samples that it touches; and removing what is of no use."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from medssl import files
from medssl.data.store import ABOUT, INDEX, changed_rows, read
from medssl.errors import DataError

_DAY = 86400.0
_SHOWN = 5


@dataclass(frozen=True)
class Checked:
    """What was found in a folder.

    Attributes:
        folder: A store, or another folder with a list of its files.
        images: Stored images, as far as they can be counted.
        bytes: Of its files.
        damage: A sentence a file that is not what was written, nothing where all is whole.
    """

    folder: Path
    images: int
    bytes: int
    damage: tuple[str, ...]


def is_store(folder: Path) -> bool:
    """Tell whether a folder is a store, damaged or not."""
    return folder.is_dir() and sum((folder / name).exists() for name in (INDEX, ABOUT, files.MANIFEST)) > 1


def stores_in(place: Path) -> list[Path]:
    """Return the stores that lie in a folder."""
    return sorted(path for path in place.glob("[!.]*") if is_store(path)) if place.is_dir() else []


def of_samples(stores: list[Path], sample_ids: set[str]) -> list[Path]:
    """Return the stores that hold one of these images, and those that cannot be asked."""
    return [folder for folder in stores if _holds(folder, sample_ids)]


def _holds(folder: Path, sample_ids: set[str]) -> bool:
    try:
        if files.entries(folder)[INDEX][1] != files.sha256(folder / INDEX):
            return True
        return bool(sample_ids.intersection(read(folder)[1]["sample_id"]))
    except (DataError, KeyError, OSError):
        return True


def check(folder: Path) -> Checked:
    """Compare every byte of a store with what was written; of a damaged shard the samples are named.

    The list of files holds a hash of each, and is itself written in one way only, so a flipped bit has nowhere to
    hide. The index holds a hash of each image, which tells whose bits they are.
    """
    found = files.damage(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    told = tuple(f"{name} {said}" for name, said in found.items())
    if INDEX in found or (files.MANIFEST in found and len(found) == 1):  # what cannot be trusted is not parsed
        return Checked(folder, 0, size, told)
    try:
        images, stored = read(folder)
        changed = changed_rows(images, stored, range(len(images))) if found else []
    except (DataError, KeyError) as error:
        said = error.what if isinstance(error, DataError) else f"the index has no column {error}"
        return Checked(folder, 0, size, told or (said,))
    ids = stored["sample_id"].tolist()
    whose: dict[str, list[str]] = {}
    for row in changed:
        whose.setdefault(f"images-{images.shard_of(row):05}.npy", []).append(str(ids[row]))
    damage = [f"{name} {said}{_of(whose.get(name, []))}" for name, said in found.items()]
    damage += [f"{name} differs from its index{_of(some)}" for name, some in whose.items() if name not in found]
    return Checked(folder, len(images), size, tuple(damage))


def check_listed(folder: Path) -> Checked:
    """Compare every file of another folder, such as a checkpoint, with its list of files."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Checked(folder, 0, size, tuple(f"{name} {said}" for name, said in files.damage(folder).items()))


def _of(samples: list[str]) -> str:
    more = f" and {len(samples) - _SHOWN} more" if len(samples) > _SHOWN else ""
    return f": sample {', '.join(samples[:_SHOWN])}{more}" if samples else ""


def remove(store: Path) -> bool:
    """Remove a store that nobody is building; a run that has it open goes on with it, since its files are mapped.

    Returns:
        Whether it was removed.
    """
    lock = FileLock(store.with_name(f"{store.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        if store.exists():
            gone = store.with_name(f".{store.name}.0.part")
            store.rename(gone)
        for leftover in store.parent.glob(f".{store.name}.*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
    finally:
        lock.release()
    return True


def remove_unused(place: Path, days: float, *, but: Path | None = None) -> list[Path]:
    """Remove the stores that were not opened for some days, and what killed builders left; return the stores.

    Args:
        place: Where the stores lie.
        days: Since a store was last opened or built.
        but: A store that stays.
    """
    for name in {path.name.split(".")[1] for path in place.glob(".*.part")}:
        if not (place / name).exists():
            remove(place / name)
    others = [store for store in stores_in(place) if store != but]
    old = [store for store in others if time.time() - _last_opened(store) > days * _DAY]
    return [store for store in old if remove(store)]


def _last_opened(store: Path) -> float:
    lock = store.with_name(f"{store.name}.lock")
    return (lock if lock.exists() else store).stat().st_mtime
