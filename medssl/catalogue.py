"""What there is: every method, backbone, modality, recipe and dataset, what goes with what, and a line of help each.

Nothing is listed here by hand: names come from the files that are there and from entry points, help from the first
sentence of a file's docstring or from a card, and what works with what from what methods need and backbones offer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from medssl import discovery, methods, stages
from medssl.data import cards
from medssl.errors import unknown_name


class Entry(NamedTuple):
    """One thing that there is.

    Attributes:
        name: What commands call it.
        help: One line on it.
        facts: What else is known, and what it works with: name to a word or a list of words.
    """

    name: str
    help: str
    facts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as one flat mapping."""
        return {"name": self.name, "help": self.help, **self.facts}


def listed(kind: str) -> list[Entry]:
    """Return everything of a kind, in the order of its names; backbones by family, smallest first.

    Raises:
        SettingsError: There is no such kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    return KINDS[kind]()


def _methods() -> list[Entry]:
    families = discovery.names("backbones")
    return [
        Entry(
            name,
            _help("methods", name, discovery.load("methods", name).TITLE),
            {"backbones": [family for family in families if methods.supports(name, family)]},
        )
        for name in methods.names()
    ]


def _backbones() -> list[Entry]:
    entries = []
    for family in discovery.names("backbones"):
        able = [name for name in methods.names() if methods.supports(name, family)]
        module = discovery.load("backbones", family)
        millions = getattr(module, "MILLIONS", {})  # a third party's may not say
        for variant, values in module.VARIANTS.items():
            size = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
            weights = "{} million in 2D, {} million in 3D".format(*millions[variant]) if variant in millions else ""
            facts = {"family": family, "images": "2D and 3D", "size": size, "weights": weights, "methods": able}
            entries.append(Entry(variant, _help("backbones", family, family), facts))
    return entries


def _modalities() -> list[Entry]:
    sets: dict[str, list[str]] = {}
    for name in cards.names():
        sets.setdefault(cards.load(name).modality, []).append(name)
    return [_modality(name, sets.get(name, [])) for name in discovery.names("modalities")]


def _modality(name: str, datasets: list[str]) -> Entry:
    modality = discovery.load("modalities", name).MODALITY
    facts = {
        "images": f"{modality.spatial_dims}D, {modality.channels} channel{'s' * (modality.channels > 1)}, "
        f"{modality.size} {'voxels' if modality.spatial_dims > 2 else 'pixels'} a side",
        "recommends": [f"{setting}={choice.value}" for setting, choice in sorted(modality.recommends.items())],
        "datasets": datasets,
    }
    return Entry(name, _help("modalities", name, modality.title), facts)


def _pipelines() -> list[Entry]:
    entries = []
    for name in stages.names():
        recipe = stages.load(name)
        facts = {
            told: list(dict.fromkeys(str(value) for value in values if value is not None))
            for told, values in (
                ("modalities", [stage.modality for stage in recipe.pretrain]),
                ("methods", [stage.method for stage in recipe.pretrain]),
                ("backbones", [stage.backbone for stage in recipe.pretrain]),
            )
        }
        entries.append(Entry(name, recipe.title, facts))
    return entries


def _datasets() -> list[Entry]:
    entries = []
    for name in cards.names():
        card = cards.load(name)
        can = ["fetch"] * bool(card.files) + ["adopt"] * (not card.not_adoptable)
        facts = {
            "modality": card.modality,
            "access": card.access,
            "can": can,
            "partner": card.ood_partner or "",
            "note": cards.WITHOUT_MODALITY.get(card.modality, ""),
        }
        entries.append(Entry(name, card.title, facts))
    return entries


KINDS: dict[str, Callable[[], list[Entry]]] = {
    "methods": _methods,
    "backbones": _backbones,
    "modalities": _modalities,
    "pipelines": _pipelines,
    "datasets": _datasets,
}
"""What can be listed."""


def _help(kind: str, name: str, title: str) -> str:
    """Return the first sentence of a file's docstring; its title where it has none (a third party's may not)."""
    first = (discovery.load(kind, name).__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(first.split()) or title


def _short(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
