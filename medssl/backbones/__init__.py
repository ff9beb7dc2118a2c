"""Backbones: what turns an image into features. One file a family, found by its name.

A family's file holds `VARIANTS` (name -> values of settings, smallest first), `MILLIONS` (name -> millions of weights
in 2D and 3D, which `medssl list` tells without building anything), `Settings` and `Backbone`, an `nn.Module` built by
`Backbone(settings, in_channels=, spatial_dims=, image_size=)` with the attributes `width`, `settings`, `in_channels`,
`spatial_dims`, `image_size`, `layer_count`, a `layer_index(name)`, and a
`forward(x) -> Features(pooled, grid)`. `OFFERS` says what it can do beyond that: "tokens" stands for `embed`,
`encode` and `prefix_tokens`, on which masked methods of transformers rest; "stages" for `stages(x)`, `stage_widths` and
`stage_strides`, on which that of CNNs rests (`medssl.backbones.parts.features`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medssl import discovery
from medssl.errors import unknown_name
from medssl.settings import merged, validate

if TYPE_CHECKING:
    from torch import nn

NOT_DISCOVERED = frozenset({"weights"})


def names() -> dict[str, str]:
    """Return every variant and the family (file) it belongs to: `{"vit_small": "vit", ...}`."""
    families = discovery.names("backbones")
    return {variant: family for family in families for variant in discovery.load("backbones", family).VARIANTS}


def build(
    name: str,
    *,
    in_channels: int,
    spatial_dims: int = 2,
    image_size: int | Sequence[int],
    overrides: Mapping[str, Any] | None = None,
) -> "nn.Module":
    """Return a backbone with fresh weights, drawn from torch's global generator.

    Args:
        name: A variant, such as "vit_small".
        in_channels: Channels of the images.
        spatial_dims: 2 or 3.
        image_size: Edge in pixels or voxels, one number or one an axis.
        overrides: Settings of the family over those of the variant, such as `{"patch_size": 8}`.

    Raises:
        SettingsError: The variant or a setting is unknown, or sizes do not fit together.
    """
    variants = names()
    if name not in variants:
        raise unknown_name("backbone", name, variants)
    family = variants[name]
    values = merged(discovery.load("backbones", family).VARIANTS[name], overrides or {})
    return assemble(family, name, values, in_channels=in_channels, spatial_dims=spatial_dims, image_size=image_size)


def assemble(
    family: str,
    name: str,
    settings: Mapping[str, Any],
    *,
    in_channels: int,
    spatial_dims: int,
    image_size: int | Sequence[int],
) -> "nn.Module":
    """Return a backbone of a family from all of its settings, as its exported `config.json` gives them."""
    from medssl.backbones.parts.depth import pad_by_hand  # not above: names are listed without torch, which takes long

    module = discovery.load("backbones", family)
    backbone = module.Backbone(
        validate(module.Settings, settings, where=family),
        in_channels=in_channels,
        spatial_dims=spatial_dims,
        image_size=image_size,
    )
    pad_by_hand(backbone)
    backbone.name, backbone.family = name, family
    return backbone
