"""Packing ahead of training: the very store that a pretraining with the same settings would make."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medssl import discovery
from medssl.data.store import Store
from medssl.errors import SettingsError, unknown_name
from medssl.modalities.parts.modality import Modality
from medssl.modalities.parts.storing import stored
from medssl.settings import flat, validate
from medssl.training import presets
from medssl.training.recorder import Progress
from medssl.training.settings import DataSettings
from medssl.training.source import open_source


def pack(
    data: Path, modality: str, settings: Mapping[str, Any], cache: Path | None, progress: Progress | None
) -> Store:
    """Return the store, packed if it was not there; arguments and errors as `medssl.pack` has them."""
    chosen = _settings(data, modality, settings)
    kind: Modality = discovery.load("modalities", modality).MODALITY
    kind = kind.reading(chosen.transforms, voi_lut=chosen.voi_lut)
    if data.is_dir() and not (cache or os.environ.get("MEDSSL_CACHE_DIR")):
        raise SettingsError(
            f"'{data}' is a folder of images, which is only read: there is no place for its store",
            fix=f"Make a manifest of it first (medssl scan {data} -o FILE), or name a place with --cache",
        )
    source = open_source(chosen, modality, progress)
    return stored(source.manifest, kind, chosen.image_size, progress, cache)


def _settings(data: Path, modality: str, settings: Mapping[str, Any]) -> DataSettings:
    if modality not in discovery.names("modalities"):
        raise unknown_name("modality", modality, discovery.names("modalities"))
    given = flat(settings)
    other = next((name for name in given if not name.startswith("data.")), None)
    if other is not None:
        raise SettingsError(f"Setting '{other}' does not change what is stored", fix="Give data.* with --set")
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    given.setdefault("data.image_size", presets.stored_size(modality, presets.Machine(kind, 1e9)).value)
    values = {name.removeprefix("data."): value for name, value in given.items()}
    return validate(DataSettings, {"manifest": str(data), **values}, where="data")
