"""What of a path can be verified: a store, the stores of a manifest, a run with its checkpoints and its stores."""

from pathlib import Path

from medssl import files, kept
from medssl.data import builtin, store, verify
from medssl.data.manifest import Manifest
from medssl.errors import DataError
from medssl.training import runs

_TABLES = (".parquet", ".csv")


def folders(path: Path) -> list[Path]:
    """Return the folders below or beside a path that hold hashes of what is in them.

    Raises:
        DataError: There is none.
    """
    if not path.exists():
        raise DataError("There is no such file or folder", where=path, fix="Give a store, a manifest or a run")
    if verify.is_store(path):
        return [path]
    if path.is_file() and path.suffix.lower() in _TABLES:
        return _stores(path)
    if runs.has_begun(path):
        return _of_run(path)
    found = verify.stores_in(path) or verify.stores_in(path / files.STORES)
    if not found:
        raise DataError(
            "There is nothing to verify: no store, no manifest, no run", where=path, fix="Pack one with: medssl pack"
        )
    return found


def _stores(manifest: Path) -> list[Path]:
    """Return the stores that hold images of a manifest.

    Raises:
        DataError: There is none.
    """
    place = store.where(manifest.absolute().parent)
    ids = set(Manifest.load(manifest).table["sample_id"])
    found = verify.of_samples(verify.stores_in(place), ids)
    if not found:
        fix = f"Pack one with: medssl pack {manifest} --modality NAME"
        raise DataError("No store of this manifest is there", where=place, fix=fix)
    return found


def _of_run(run: Path) -> list[Path]:
    own = [path.parent for path in sorted(run.rglob(files.MANIFEST)) if not _hidden(path.relative_to(run))]
    settings = kept.mapping(run / runs.SETTINGS)
    named = settings.get("data", {}).get("manifest")
    manifest = Path(named) if named else builtin.cohort(str(settings.get("modality"))).manifest
    try:
        return [*own, *_stores(manifest)]
    except DataError:
        if not own:
            raise
        return own


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
