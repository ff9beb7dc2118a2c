"""The method that suits what the features are wanted for, and why."""

from medssl import backbones, methods
from medssl.errors import SettingsError, unknown_name
from medssl.settings import Choice

_FOUND = "led in 3D in OpenMind (Wald et al., ICCV 2025, arXiv 2412.17041) and FOMO25 (arXiv 2604.11679)"
PURPOSES = {
    "classification": (
        ("simclr",),
        f"for classification: contrast, alone or beside reconstruction (mae_contrast), {_FOUND}",
    ),
    "segmentation": (("mae", "spark"), f"for segmentation: reconstruction {_FOUND}"),
}
"""Methods in the order of preference, and the reason: a published finding, not one of ours."""


def method_for(purpose: str, backbone: str | None = None) -> Choice:
    """Return the method for a purpose that can train a backbone.

    Args:
        purpose: One of `PURPOSES`.
        backbone: Name of a variant; None for the preset's, a ViT.

    Raises:
        SettingsError: The purpose or backbone is unknown, or no such method can train it.
    """
    if purpose not in PURPOSES:
        raise unknown_name("purpose", purpose, PURPOSES)
    if backbone is not None and backbone not in backbones.names():
        raise unknown_name("backbone", backbone, backbones.names())
    wanted, why = PURPOSES[purpose]
    family = "vit" if backbone is None else backbones.names()[backbone]
    fitting = [name for name in wanted if name in methods.names() and methods.supports(name, family)]
    if not fitting:
        raise SettingsError(
            f"The backbone '{backbone}' can be trained by none of the methods for {purpose}: {', '.join(wanted)}",
            fix="Choose a ViT, such as --backbone vit_small, or name a --method",
        )
    return Choice(fitting[0], why)
