"""A modality of one's own as a file of values beside the data: it starts from one that is here and changes values.

    like: ct                                  # the modality that it starts from
    title: CT of the liver
    size: 64                                  # pixels or voxels a side
    reading: {hounsfield: [-100, 250]}        # how intensities are read, as `Reading` of that modality has it
    augment:                                  # as the section `augment` of a run; false leaves an operation out
      blur: false
      strong: {noise: {strength: [0, 0.05]}}
    recommends: {mae.mask_ratio: 0.6}         # settings of a run, over what is chosen, below what is set

The values go whole into the settings of a run, so that the file is not needed again.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from medssl import discovery
from medssl.errors import DataError, SettingsError, unknown_name
from medssl.modalities.parts.modality import Modality
from medssl.settings import Settings, flat, load_yaml, merged, nested, validate, yaml_nodes

ENDINGS = (".yaml", ".yml")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Values(Settings):
    """What a file of values may hold.

    Attributes:
        like: The modality that it starts from.
        title: Its name in a sentence; that of the other if None.
        size: Side of a stored image; the other's, or the preset's choice, if None.
        reading: How intensities are read.
        augment: Changes to the views.
        recommends: Settings of a run, by dotted name or nested.
        transforms: MONAI transforms by name that an image goes through before it is packed.
    """

    like: str
    title: str | None = Field(default=None, min_length=1, max_length=100)
    size: int | None = Field(default=None, ge=8, le=1024)
    reading: dict[str, Any] = Field(default_factory=dict)
    augment: dict[str, Any] = Field(default_factory=dict)
    recommends: dict[str, Any] = Field(default_factory=dict)
    transforms: tuple[dict[str, Any], ...] = ()


def is_file(modality: str) -> bool:
    """Return whether what was given as a modality is the name of a file of values."""
    return modality.lower().endswith(ENDINGS)


def asked(modality: str) -> dict[str, Any]:
    """Return the settings that a name or a file of values stands for: `modality`, and for a file `own_modality`.

    Raises:
        SettingsError: A key of the file is unknown or a value wrong.
        DataError: The file cannot be read or is not YAML.
    """
    if not is_file(modality):
        return {"modality": modality}
    name, values = read(Path(modality))
    return {"modality": name, "own_modality": values}


def named(name: str, own: Mapping[str, Any] | None = None) -> Modality:
    """Return a modality by its name, or what a user's values make of another one.

    Args:
        name: That of a modality, or of the user's file without its ending.
        own: The values of that file, where there are some.

    Raises:
        SettingsError: There is no such modality, or a value is wrong.
    """
    if not own:
        found: Modality = discovery.load("modalities", name).MODALITY
        return found
    values = validate(Values, own)
    if values.like not in discovery.names("modalities"):
        raise unknown_name("modality", values.like, discovery.names("modalities"), where="setting 'like'")
    module = discovery.load("modalities", values.like)
    base = _read_otherwise(module, values) if values.reading else module.MODALITY
    changes = {"name": name, "like": values.like, "title": values.title or base.title, "size": values.size or base.size}
    return replace(base, **changes).with_transforms(values.transforms).with_augment(values.augment)


def _read_otherwise(module: Any, values: Values) -> Modality:
    if not hasattr(module, "Reading"):
        raise SettingsError(f"Setting 'reading': the modality '{values.like}' has nothing to change there")
    changed: Modality = module.modality(validate(module.Reading, values.reading, where="reading"))
    return changed


def like(name: str, own: Mapping[str, Any] | None = None) -> str:
    """Return the name of the modality here that a name or a file of values stands for."""
    return str(own["like"]) if own else name


def settings_of(own: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a run that a file of values asks for, by dotted name."""
    asked = flat((own or {}).get("recommends") or {})
    size = (own or {}).get("size")
    return {**({} if size is None else {"data.image_size": size}), **asked}


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the name and the values of a file, looked through.

    Raises:
        SettingsError: A key is unknown or a value wrong: named with its file and line.
        DataError: It cannot be read or is not YAML.
    """
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise DataError("Expected the values of a modality as NAME: VALUE", where=path)
    if not _NAME.fullmatch(path.stem) or path.stem in discovery.names("modalities"):
        why = "is that of a modality here" if path.stem in discovery.names("modalities") else "is not a plain word"
        raise SettingsError(
            f"The name '{path.stem}' {why}", where=path, fix="Rename the file: its name is used in runs"
        )
    try:
        named(path.stem, values)
    except SettingsError as error:
        line = _line(path, error.what) or _line(path, str(error.where or ""))
        raise SettingsError(error.what, where=f"{path}, line {line}" if line else path, fix=error.fix) from error
    return path.stem, merged(*(nested(name, value) for name, value in flat(values).items()))


def _line(path: Path, said: str) -> int | None:
    """Return the line of the setting that an error names, strengths of views left aside."""
    found = re.search(r"'([\w.-]+)'|(augment[\w.]+)", said)
    asked = (found.group(1) or found.group(2)) if found else None
    if asked is None:
        return None
    places = list(_places(yaml_nodes(path)))
    exact = [line for name, line in places if name == asked]
    without = [line for name, line in places if re.sub(r"^augment\.(weak|strong)\.", "augment.", name) == asked]
    return next(iter(exact + without), None)


def _places(node: Any, before: str = "") -> Iterator[tuple[str, int]]:
    """Yield each key of a YAML mapping, dotted, and its line from 1."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield f"{before}{name.value}", name.start_mark.line + 1
            yield from _places(value, f"{before}{name.value}.")
