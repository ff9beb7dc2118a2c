"""The file name is the registry: `mae` among the methods is `medssl/methods/mae.py`.

Third parties add theirs through entry points of the group `medssl.<kind>`, each naming a module that follows the
same contract. Folders called `parts` hold what several files share and are not discovered; a package names the
few other files beside its members in `NOT_DISCOVERED`.
"""

import functools
import importlib
import importlib.metadata
import pkgutil
from types import ModuleType

from medssl.errors import unknown_name

KINDS = {
    "methods": "method",
    "modalities": "modality",
    "backbones": "backbone",
    "metrics": "metric",
    "data.readers": "reader",
    "data.phantom": "phantom",
}


_installed = functools.cache(importlib.metadata.entry_points)  # every look at all packages costs milliseconds


def entry_points(group: str) -> importlib.metadata.EntryPoints:
    """Return the entry points of a group, as they were when this process first asked."""
    return _installed().select(group=group)


def names(kind: str) -> list[str]:
    """Return the sorted names of everything of a kind, ours and third parties', without importing them."""
    return sorted(_own(kind) | {point.name for point in entry_points(group=f"medssl.{kind}")})


def load(kind: str, name: str) -> ModuleType:
    """Import and return the module of that name; a third party cannot take the place of one of ours.

    Raises:
        SettingsError: There is none; the text gives the nearest name and all names.
    """
    if name in _own(kind):
        return importlib.import_module(f"medssl.{kind}.{name}")
    for point in entry_points(group=f"medssl.{kind}"):
        if point.name == name:
            return point.load()
    raise unknown_name(KINDS.get(kind, kind), name, names(kind))


def _own(kind: str) -> set[str]:
    package = importlib.import_module(f"medssl.{kind}")
    found = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg and not m.name.startswith("_")}
    return found - getattr(package, "NOT_DISCOVERED", frozenset())
