"""medssl: self-supervised learning on medical images, from an archive to an honest report.

    import medssl

    run = medssl.pretrain("oct", "mae", data="manifest.parquet")
    sweep = medssl.sweep({"mae": [run.folder]}, data="manifest.parquet", label="disease")
    backbone = medssl.load_backbone(run.folder)
    features = medssl.embed(run.folder, "manifest.parquet").features

The functions are imported when they are first used, so that `import medssl` and the command line stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl.api import ablate, pack, pretrain, sweep, verify
    from medssl.backbones.weights import load_backbone
    from medssl.looking import attend, embed

__version__ = "0.1.0"
__all__ = ["__version__", "ablate", "attend", "embed", "load_backbone", "pack", "pretrain", "sweep", "verify"]

_HOME = {
    "ablate": "medssl.api",
    "attend": "medssl.looking",
    "embed": "medssl.looking",
    "load_backbone": "medssl.backbones.weights",
    "pack": "medssl.api",
    "pretrain": "medssl.api",
    "sweep": "medssl.api",
    "verify": "medssl.api",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'medssl' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
