"""Whether a backbone can do what a method asks for."""

from torch import nn

from medssl.errors import SettingsError

_MEANING = {
    "features": "pooled features",
    "tokens": "a sequence of patch tokens of which some can be left out",
    "stages": "maps of several resolutions made by convolutions",
}


def require(backbone: nn.Module, needs: frozenset[str], method: str, fix: str) -> None:
    """Raise a `SettingsError` that names what the backbone lacks for the method, and what to use."""
    lacking = sorted(needs - getattr(backbone, "OFFERS", frozenset({"features"})))
    if lacking:
        wanted = " and ".join(_MEANING.get(need, need) for need in lacking)
        name = getattr(backbone, "name", type(backbone).__module__)
        raise SettingsError(f"{method} needs {wanted}, which the backbone '{name}' does not have", fix=fix)
