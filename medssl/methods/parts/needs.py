"""Whether a backbone can do what a method asks for."""

from torch import nn

from medssl.errors import SettingsError

_MEANING = {
    "features": "pooled features",
    "tokens": "a sequence of patch tokens of which some can be left out",
    "stages": "maps of several resolutions made by convolutions",
}
_MASKED = {
    "tokens": "--method mae, the masked pretraining of ViTs",
    "stages": "--method spark, the masked pretraining of CNNs",
}


def require(backbone: nn.Module, needs: frozenset[str], method: str, fix: str) -> None:
    """Raise a `SettingsError` that names what the backbone lacks for the method, and what to use.

    Args:
        backbone: Says what it `OFFERS`.
        needs: Of the method.
        method: Its title.
        fix: Which backbone to choose; a method that takes this one is named after it.
    """
    offers = getattr(backbone, "OFFERS", frozenset({"features"}))
    lacking = sorted(needs - offers)
    if lacking:
        wanted = " and ".join(_MEANING.get(need, need) for need in lacking)
        other = next((told for offer, told in _MASKED.items() if offer in offers), "--method simclr")
        name = getattr(backbone, "name", type(backbone).__module__)
        raise SettingsError(
            f"{method} needs {wanted}, which the backbone '{name}' does not have", fix=f"{fix}, or {other}"
        )
