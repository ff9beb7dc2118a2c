"""Weights of backbones: read them, check that they fit, write them with a card, load them back."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ConfigDict
from safetensors import SafetensorError
from torch import nn

from medssl import __version__, backbones, files
from medssl.backbones.parts import card as model_card
from medssl.backbones.parts.matching import Found, find
from medssl.errors import DataError, SettingsError
from medssl.settings import Settings, validate

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_FORMAT = "medssl-backbone"
_COUNTER = "num_batches_tracked"  # of BatchNorm; older checkpoints lack it and nothing depends on it


def load_file(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running code from it: safetensors, or a PyTorch file with `weights_only=True`.

    Returns:
        Names and tensors, possibly nested as they were saved.

    Raises:
        DataError: The file is missing or damaged, or holds objects other than tensors and plain values; the class
            is named.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("There is no such file", where=path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("The checkpoint cannot be read", where=path, fix="Use another copy of the file") from error
    if not isinstance(checkpoint, Mapping):
        raise DataError(f"Expected named tensors, but the file holds a {type(checkpoint).__name__}", where=path)
    return dict(checkpoint)


def _refused(path: Path, error: Exception) -> DataError:
    needs = re.search(r"GLOBAL ([\w.]+)", str(error))
    if needs is None:
        return DataError("The file is not a checkpoint that can be read safely", where=path)
    return DataError(
        f"The checkpoint holds a Python object of class {needs[1]}, which is not loaded since that can run code",
        where=path,
        fix="Where you trust the file, save its weights alone: safetensors.torch.save_file(weights, 'x.safetensors')",
    )


def match(state: Mapping[str, Any], backbone: nn.Module, *, partial: bool = False) -> dict[str, Any]:
    """Copy the weights of a checkpoint into a backbone, and say how many of its tensors they filled.

    Prefixes such as "module.backbone." and nesting under "model", "state_dict" or "teacher" are found, and so are the
    names of other libraries where the backbone knows them (`translate`). Nothing is copied unless everything was found
    to fit. All that features follow from must be there: a patch embedding or a norm with fresh weights among
    pretrained ones gives features that are nobody's. What a backbone computes, such as indices, may be absent.

    Args:
        state: Names and tensors, possibly nested, as `load_file` returns them.
        backbone: Its weights are replaced.
        partial: Accept any number of matching tensors, and leave out those of another shape.

    Returns:
        "matched" and "of" (numbers of tensors), "place" and "prefix" where they were found, "missing" (names that
        keep their fresh weights), "unused" (names of the checkpoint that the backbone does not have) and "adapted"
        (names of tensors whose shape was changed to fit, such as positions that were interpolated to another grid).

    Raises:
        DataError: Nothing matches, a tensor is missing, or the weights are of another architecture.
    """
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not name.endswith(_COUNTER)}
    found = find(state, set(own), getattr(backbone, "translate", dict))
    if not found.matched:
        raise DataError(
            f"0 of {len(own)} tensors match: the checkpoint has {_some(found.state)}, the backbone {_some(own)}",
            fix="Use a checkpoint of this kind of backbone",
        )
    weights = backbone.accept(found.state) if hasattr(backbone, "accept") else found.state  # type: ignore[operator]
    if not partial:
        _same_architecture(weights, own)
    fitting = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
    missing = sorted(own.keys() - fitting.keys())
    if any(own[name].is_floating_point() for name in missing) and not partial:
        raise DataError(
            f"Only {len(fitting)} of {len(own)} tensors are in the checkpoint; it lacks {_some(missing)}",
            fix="Use a complete checkpoint, build the backbone as that of the weights, or ask for partial loading",
        )
    backbone.load_state_dict(fitting, strict=False)
    return _report(found, fitting, missing, set(own))


def _report(found: Found, fitting: Mapping[str, Any], missing: list[str], own: set[str]) -> dict[str, Any]:
    unused = sorted(name for name in found.state.keys() - own if not name.endswith(_COUNTER))
    return {
        "matched": len(fitting),
        "of": len(own),
        "place": found.place,
        "prefix": found.prefix,
        "missing": missing,
        "unused": unused,
        "adapted": sorted(
            n for n, value in fitting.items() if n in found.state and value.shape != found.state[n].shape
        ),
    }


def _same_architecture(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
    """Raise a `DataError` where a tensor has another shape, or where the checkpoint goes on in the same modules."""
    fix = "Build the backbone that the weights were made with"
    for name, tensor in own.items():
        if name in weights and weights[name].shape != tensor.shape:
            shapes = tuple(weights[name].shape), tuple(tensor.shape)
            raise DataError(
                f"The checkpoint is of another architecture: {name} is {shapes[0]}, not {shapes[1]}", fix=fix
            )
    tops = {name.partition(".")[0] for name in own}
    more = [n for n in weights if n.partition(".")[0] in tops and n not in own and not n.endswith(_COUNTER)]
    if more:
        raise DataError(f"The checkpoint is of another architecture: it also has {_some(more)}", fix=fix)


def _some(names: Any) -> str:
    names = sorted(names)
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"


def export(backbone: nn.Module, folder: Path, card: Mapping[str, Any]) -> None:
    """Write a backbone as `config.json`, `model.safetensors` and a model card, whole or not at all.

    Args:
        backbone: From `medssl.backbones.build`; it may be on any device.
        folder: Where to; an earlier backbone there is replaced.
        card: What a user should know, in plain values: on which data it was trained, how images are normalised,
            limits. Kept in `config.json` as "card", and shown in `README.md` section by section.
    """
    config = {
        "format": _FORMAT,
        "medssl_version": __version__,
        "family": backbone.family,
        "name": backbone.name,
        "in_channels": backbone.in_channels,
        "spatial_dims": backbone.spatial_dims,
        "image_size": list(backbone.image_size),  # type: ignore[arg-type]
        "width": backbone.width,
        "settings": backbone.settings.model_dump(mode="json"),  # type: ignore[operator, union-attr]
        "card": dict(card),
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    with files.atomic_folder(Path(folder)) as temporary:
        safetensors.torch.save_file(weights, temporary / WEIGHTS, metadata={"format": "pt"})
        files.write_json(temporary / CONFIG, config)
        files.write_text(temporary / CARD, model_card.render(config))


def load_backbone(path: Path | str) -> nn.Module:
    """Return a backbone as it was exported, in eval mode, on the CPU, with no network.

    Args:
        path: A backbone's folder, or a run's folder, of which `backbone/` is taken.

    Returns:
        A module whose `forward(x)` gives `Features(pooled, grid)`; its `card` is what `export` was given.

    Raises:
        DataError: There is no backbone, or a file of it is damaged.
        SettingsError: It is of a family or has settings that this version does not know.
    """
    folder = _folder(Path(path))
    files.verify_folder(folder)
    config = _config(folder / CONFIG)
    backbone = backbones.assemble(
        config.family,
        config.name,
        config.settings,
        in_channels=config.in_channels,
        spatial_dims=config.spatial_dims,
        image_size=config.image_size,
    )
    try:
        backbone.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise DataError(
            f"The weights do not fit {CONFIG}", where=folder, fix="Use another copy of the folder"
        ) from error
    backbone.card = config.card  # type: ignore[assignment]
    return backbone.eval()


def _config(path: Path) -> "_Config":
    try:
        return validate(_Config, files.read_mapping(path))
    except SettingsError as error:
        raise DataError(f"Damaged: {error.what}", where=path, fix="Use another copy of the folder") from error


class _Config(Settings):
    """What `config.json` holds, as `export` writes it."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    family: str
    name: str
    settings: dict[str, Any]
    in_channels: int
    spatial_dims: int
    image_size: list[int]
    card: dict[str, Any]


def _folder(path: Path) -> Path:
    for folder in (path, path / "backbone"):
        if (folder / CONFIG).is_file() and files.read_mapping(folder / CONFIG).get("format") == _FORMAT:
            return folder
    raise DataError("There is no backbone here", where=path, fix="Give the folder of a finished run or its backbone/")
