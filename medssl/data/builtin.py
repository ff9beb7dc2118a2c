"""The built-in cohort as manifests: what commands use when no data are named, and say so.

It is written and scanned once into the cache (`MEDSSL_CACHE_DIR`, or the user's cache folder).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from medssl import discovery, files
from medssl.data.keys import AS_THEY_ARE
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.errors import DataError

LABEL = "disease"
IN_DISTRIBUTION, OUT_OF_DISTRIBUTION = "device-a", "device-b"
SYNTHETIC = "This is the built-in synthetic cohort. No patient in it is real."
SENTENCE = "No data were named: this is the built-in synthetic cohort. No patient in it is real."


@dataclass(frozen=True)
class Builtin:
    """The manifests of a built-in cohort.

    Attributes:
        manifest: Images of the in-distribution device.
        ood: Images of the other device.
        label: The label column of both.
    """

    manifest: Path
    ood: Path
    label: str = LABEL


def cache_folder() -> Path:
    """Return where medssl keeps what it can make again."""
    return Path(os.environ.get("MEDSSL_CACHE_DIR") or platformdirs.user_cache_dir("medssl"))


def cohort(modality: str, *, progress: Callable[[str, dict[str, Any]], None] | None = None) -> Builtin:
    """Return the built-in cohort of a modality, writing and scanning it where it is not there yet.

    Raises:
        DataError: There is none for this modality.
        StorageError: The cache cannot be written.
    """
    if modality not in discovery.names("data.phantom"):
        raise DataError(f"There is no built-in cohort for '{modality}'", fix="Name your images with --data")
    phantom = discovery.load("data.phantom", modality)
    folder = cache_folder() / f"phantom-{modality}-v{phantom.VERSION}"
    made = phantom.generate(folder, progress=progress)
    manifests = {site: folder / f"{site}.parquet" for site in (IN_DISTRIBUTION, OUT_OF_DISTRIBUTION)}
    for site, path in manifests.items():
        if not _is_current(path, made.sites[site]):
            scan([made.sites[site]], labels=made.labels[site], key=AS_THEY_ARE, progress=progress).save(path)
    return Builtin(manifests[IN_DISTRIBUTION], manifests[OUT_OF_DISTRIBUTION])


def is_builtin(path: Path) -> bool:
    """Return whether a manifest belongs to a built-in cohort, so that pages can say that it is synthetic."""
    return any((Path(path).parent / site / "cohort.json").is_file() for site in (IN_DISTRIBUTION, OUT_OF_DISTRIBUTION))


def _is_current(manifest: Path, site: Path) -> bool:
    if not manifest.is_file() or manifest.stat().st_mtime < (site / files.MANIFEST).stat().st_mtime:
        return False
    try:
        return len(Manifest.load(manifest)) > 0
    except DataError:
        return False
