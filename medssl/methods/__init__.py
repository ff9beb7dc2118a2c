"""Self-supervised methods: one file a method, found by its name.

A method's file holds `TITLE`, `NEEDS` (what it asks of a backbone, among the backbone's `OFFERS`), `STRENGTHS` (of the
views it wants), `Settings`, and `Method(backbone, settings)`, an `nn.Module` with

- `wish`: the views it wants, a list of `ViewWish`;
- `backbone`: what is trained, and exported where the method has no `exported` of its own, such as a teacher;
- `forward(views, chance) -> dict`: "loss", and other scalars to be logged;
- where images are each other's negatives, `contrasts = True` and `forward(views, chance, kin)`: images of equal `kin`,
  (B,) int64 or None, must not be;
- `after_step(step, total)`: what follows an optimizer step, such as moving a momentum copy;
- where its terms tell that it has collapsed, `alarms`: a list of `Alarm`, which end a run;
- where it makes pictures, `reconstruct(view, chance) -> (masked, reconstruction)`.

`Settings` may have `positives` and `neighbour_distance` (see `parts/positives.py`): then every other view may be of
another image of the same patient, study or volume.

`RECOMMENDS` may name settings of training that suit the method with AdamW, each a `Choice` with its source, and a
"backbone" where the method cannot train the one that is chosen else; `RECOMMENDS_WITH` those for another optimizer, by
its name. `fitted(amount) -> dict` returns those that follow from the number of images, the batch and the steps (see
`parts/amount.py`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medssl import discovery

if TYPE_CHECKING:
    from torch import nn


def names() -> list[str]:
    """Return the names of all methods."""
    return discovery.names("methods")


def supports(name: str, family: str) -> bool:
    """Return whether a method can train backbones of a family: `supports("mae", "resnet")` is false."""
    return discovery.load("methods", name).NEEDS <= discovery.load("backbones", family).Backbone.OFFERS


def build(name: str, backbone: "nn.Module", overrides: Mapping[str, Any] | None = None) -> "nn.Module":
    """Return a method around a backbone.

    Args:
        name: Such as "mae".
        backbone: From `medssl.backbones.build`.
        overrides: The method's settings where they differ from its defaults, such as `{"mask_ratio": 0.85}`.

    Raises:
        SettingsError: The method or a setting is unknown, or it cannot train this backbone.
    """
    from medssl.settings import validate  # not above: `medssl --help` lists the methods, and pydantic takes long

    module = discovery.load("methods", name)
    return module.Method(backbone, validate(module.Settings, overrides or {}, where=name))


def exported(method: "nn.Module") -> "nn.Module":
    """Return the backbone that is kept when the training is over: the teacher's where the method says so."""
    return method.exported if hasattr(method, "exported") else method.backbone  # type: ignore[return-value]
