"""The model card: what a person reads beside the weights."""

from collections.abc import Mapping
from typing import Any

from medssl.settings import dump_yaml

_USE = """```python
import medssl

backbone = medssl.load_backbone("PATH-OF-THIS-FOLDER")
features = backbone(images)  # float32, (B, {channels}, {size}), normalised as in pretraining
features.pooled  # (B, {width})
features.grid  # (B, {width}, *grid)
```"""


def render(config: Mapping[str, Any]) -> str:
    """Return a README with Hugging Face front matter, from what `export` writes to `config.json`.

    The entries of `config["card"]` become sections in their order; "title", "license" and "tags" go to the head.
    """
    card = dict(config["card"])
    title = card.pop("title", f"{config['name']}, self-supervised on medical images")
    head: dict[str, Any] = {"library_name": "medssl", "tags": ["medical-imaging", *card.pop("tags", [])]}
    if "license" in card:
        head["license"] = card.pop("license")
    size = ", ".join(map(str, config["image_size"]))
    use = _USE.format(channels=config["in_channels"], size=size, width=config["width"])
    parts = [f"---\n{dump_yaml(head)}---", f"# {title}", *(_section(name, value) for name, value in card.items())]
    architecture = {name: config[name] for name in ("name", "in_channels", "spatial_dims", "image_size", "settings")}
    return "\n\n".join([*parts, _section("architecture", architecture), f"## Use\n\n{use}"]) + "\n"


def _section(name: str, value: Any) -> str:
    return f"## {name.replace('_', ' ').capitalize()}\n\n{_body(value)}"


def _body(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"- {name}: {_inline(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(f"- {_inline(entry)}" for entry in value)
    return _inline(value)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inline(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value)) if all(isinstance(v, int) for v in value) else ", ".join(map(str, value))
    return "unknown" if value is None else str(value)
