"""The store of a manifest as a modality wants it: one way for every command, so that all of them share it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medssl.data.manifest import Manifest
from medssl.data.store import Store, pack
from medssl.modalities.parts.modality import Modality


def stored(
    manifest: Manifest,
    modality: Modality,
    size: int,
    progress: Callable[[str, dict[str, Any]], None] | None = None,
    cache: Path | None = None,
) -> Store:
    """Return the store of the usable images of a manifest, packing it if it is not there.

    Args:
        manifest: The images.
        modality: What prepares them.
        size: Side of a stored image in pixels.
        progress: Told how packing goes.
        cache: Where stores lie; MEDSSL_CACHE_DIR or beside the manifest when None.

    Raises:
        DataError: No image could be prepared, or an existing store is damaged.
        StorageError: The place cannot be written, or the disk is full.
    """
    return pack(
        manifest.usable(),
        lambda image: modality.prepare(image, size),
        modality.key_parts(size),
        spacing=modality.stored_spacing,
        before=modality.before,
        cache=cache,
        progress=progress,
    )
