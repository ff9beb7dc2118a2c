"""Typed settings: unknown keys are refused with the nearest name, and YAML is read without its surprises.

PyYAML silently keeps the last of two equal keys, reads `1e-4` as text, `no` as false and `1:30` as 90; the loader
here refuses the first and follows YAML 1.2 for the others. Digits with a leading zero stay text, as in patient numbers.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medssl.errors import DataError, SettingsError, nearest

_MOST_BYTES = 1_000_000


class Settings(BaseModel):
    """The base of every group of settings: immutable, typed, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class Choice(NamedTuple):
    """A value with the reason it was chosen for and where that comes from."""

    value: Any
    source: str


SomeSettings = TypeVar("SomeSettings", bound=Settings)


def validate(kind: type[SomeSettings], values: Mapping[str, Any], where: str = "") -> SomeSettings:
    """Return `kind(**values)`, or say in one sentence which setting is wrong.

    Args:
        kind: The group of settings.
        values: The values, as read from YAML or the command line.
        where: The name of the group or file, put before the setting's name.

    Raises:
        SettingsError: A key is unknown (with the nearest one) or a value has the wrong type or range.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([where, *_place(first["loc"], values)]).strip(".")
        if first["type"] == "extra_forbidden":
            guess = nearest(str(first["loc"][-1]), kind.model_fields)
            hint = f"Did you mean '{guess}'? " if guess else ""
            known = ", ".join(kind.model_fields)
            raise SettingsError(f"Unknown setting '{name}'", fix=f"{hint}Known here: {known}") from error
        shown = "" if first["type"] == "missing" else f", but got {first['input']!r}"
        raise SettingsError(f"Setting '{name}': {first['msg'].lower()}{shown}") from error


def _place(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the names on the way to a wrong value, without those of the types that pydantic tried there."""
    names: list[str] = []
    for part in loc:
        inside = dict(enumerate(values)) if isinstance(values, list | tuple) else values
        if not isinstance(inside, Mapping) or (isinstance(values, list | tuple) and part not in inside):
            break
        names.append(str(part))
        values = inside.get(part)
    return names


def parse_overrides(assignments: list[str], flag: str = "--set") -> dict[str, Any]:
    """Turn `["mae.mask_ratio=0.8", "train.epochs=5"]` into a nested dictionary; values are read as YAML.

    Raises:
        SettingsError: An entry has no `=` or is not YAML, or two of them contradict each other.
    """
    return united(*(_override(assignment, flag) for assignment in assignments))


def _override(assignment: str, flag: str) -> dict[str, Any]:
    name, equals, text = assignment.partition("=")
    if not equals or not all(part.strip() for part in name.split(".")):
        raise SettingsError(f"Expected NAME=VALUE after {flag}, but got '{assignment}'")
    try:
        return nested(name.strip(), parse_yaml(text))
    except DataError as error:
        raise SettingsError(f"The value of '{name.strip()}' cannot be read: {error.what}", where=flag) from error


def united(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries merged, none of which may say otherwise than another; names may be dotted.

    Raises:
        SettingsError: A setting has two values, or is both a value and a group.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in flat(layer).items():
            if name in result and result[name] != value:
                raise SettingsError(
                    f"Setting '{name}' is given twice, as {result[name]!r} and as {value!r}", fix="Leave one out"
                )
            result[name] = value
    both = next((name for name in result for other in result if other.startswith(f"{name}.")), None)
    if both is not None and result[both] != {}:
        raise SettingsError(f"Setting '{both}' is given both as a value and as a group", fix="Leave one out")
    return merged(*(nested(name, value) for name, value in result.items()))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries merged, later ones over earlier ones."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
            result[name] = merged(result[name], value) if both else value
    return result


def nested(name: str, value: Any) -> dict[str, Any]:
    """Return `{"train": {"epochs": 5}}` for "train.epochs" and 5."""
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `{"train.epochs": 5}` for `{"train": {"epochs": 5}}`."""
    result = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            result.update(flat(value, f"{prefix}{name}."))
        else:
            result[f"{prefix}{name}"] = value
    return result


def load_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        DataError: It does not exist, is larger than 1 MB, is not UTF-8 or not YAML, or repeats a key.
    """
    try:
        data = Path(path).read_bytes()
        if len(data) > _MOST_BYTES:
            raise DataError(f"The file has {len(data)} bytes; settings have at most {_MOST_BYTES}", where=path)
        return parse_yaml(data.decode(), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read settings: {error}", where=path) from error


def parse_yaml(text: str, where: str = "") -> Any:
    """Parse YAML text with the strict loader."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DataError(f"Not valid YAML: {said}" + (f", line {mark.line + 1}" if mark else ""), where=where) from error


def yaml_nodes(path: Path) -> Any:
    """Return the nodes of a YAML file that `load_yaml` reads, for the lines of its keys."""
    return yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=_Loader)


def dump_yaml(value: Any) -> str:
    """Return YAML text in the order of the dictionary."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 booleans and floats, no aliases, no repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            name = self.construct_object(key_node, deep=True)
            if name in seen:
                raise yaml.YAMLError(f"the key '{name}' stands twice, line {key_node.start_mark.line + 1}")
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":int", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), "tTfF")
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9]\d*)$"), "-+0123456789")
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|^[-+]?\.(inf|nan)$", re.IGNORECASE),
    "-+.0123456789",
)
