"""Where a run's weights come from: code, packages, machine, data, and the stages they went through."""

import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from medssl import __version__
from medssl.training.device import Device, describe
from medssl.training.settings import PretrainSettings
from medssl.training.source import Source

_PACKAGES = (
    "torch", "numpy", "accelerate", "safetensors", "scikit-learn", "pandas", "pyarrow", "pydicom", "highdicom",
    "nibabel", "pillow", "imagecodecs", "monai",
)  # fmt: skip


def packages() -> dict[str, str]:
    """Return the versions of what could change a result, Python included; what is absent is left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the time in UTC, in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def begin(
    settings: PretrainSettings, source: Source, device: Device, request: dict[str, Any], remarks: Sequence[str]
) -> dict[str, Any]:
    """Return what is known before the first step; `conclude` adds the rest.

    Args:
        settings: Resolved.
        source: The images to choose from.
        device: Where it runs.
        request: What the user asked for, before anything was chosen; `--resume` finds a run by it.
        remarks: Sentences for people.
    """
    manifest = source.manifest
    return {
        "version": __version__,
        "packages": packages(),
        "device": describe(device),
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        "processes": device.world,
        "manifest": {"name": manifest.name, "hash": manifest.content_hash(), "rows": len(manifest), "used": None},
        "synthetic": source.synthetic,
        "parent": None,
        "stages": [{"method": settings.method, "modality": settings.modality, "data": manifest.name}],
        "request": request,
        "started": now(),
        "finished": None,
        "seconds": None,
        "remarks": list(remarks),
    }


def conclude(record: dict[str, Any], used: int, steps: int, seconds: float, remarks: Sequence[str]) -> dict[str, Any]:
    """Return the record of a finished run."""
    stage = {**record["stages"][-1], "images": used, "steps": steps}
    return {
        **record,
        "manifest": {**record["manifest"], "used": used},
        "stages": [*record["stages"][:-1], stage],
        "finished": now(),
        "seconds": round(seconds, 1),
        "remarks": list(dict.fromkeys([*record["remarks"], *remarks])),
    }
