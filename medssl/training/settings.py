"""The settings of a pretraining run: what `settings.yaml` holds, and `--set a.b=c` changes.

Every group is closed to unknown keys. The method's and the backbone's own settings stand in groups named after their
files (`mae`, `vit`) and are checked by the classes in those files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from medssl import backbones, discovery
from medssl.errors import DataError, SettingsError, unknown_name
from medssl.modalities.parts.own import like, named
from medssl.settings import Settings, dump_yaml, load_yaml, merged, validate

_Share = Annotated[float, Field(ge=0, lt=1)]


class DataSettings(Settings):
    """Which images are seen, and how large."""

    manifest: str | None = Field(
        default=None, description="manifest or folder of images; none means the built-in cohort"
    )
    label: str | None = Field(default=None, description="column that the online kNN looks at; never trained on")
    positive: list[str] | None = Field(default=None, description="words of the label that count as positive")
    negative: list[str] | None = Field(default=None, description="words of the label that count as negative")
    where: str | None = Field(default=None, description="pandas query over the manifest's columns")
    holdout: float = Field(default=0.3, ge=0, lt=1, description="share of patients kept for tests; 0 uses all images")
    image_size: int = Field(default=64, ge=8, description="pixels along each side of a view")
    transforms: list[dict[str, Any]] = Field(
        default_factory=list, description="MONAI transforms by name, done to every image before it is stored"
    )
    voi_lut: bool = Field(
        default=False, description="read DICOM through their VOI LUT, as they are shown, not the modality's window"
    )


class TrainSettings(Settings):
    """How long, how fast and on what."""

    epochs: int = Field(default=100, ge=1, le=1_000_000, description="passes over the images")
    batch_size: int = Field(default=64, ge=1, description="images a step, over all processes")
    base_learning_rate: float = Field(default=1.5e-4, gt=0, description="learning rate for a batch of 256")
    learning_rate: float | None = Field(
        default=None, gt=0, description="peak; none means base_learning_rate x batch / 256"
    )
    weight_decay: float = Field(default=0.05, ge=0, description="none on norms, biases and tokens")
    final_weight_decay: float | None = Field(
        default=None, gt=0, description="what weight_decay becomes along a half cosine; none means it stays"
    )
    optimizer: Literal["adamw", "sgd", "lars", "lamb"] = Field(
        default="adamw", description="lars and lamb are for batches of some 1,000 images and more"
    )
    betas: tuple[_Share, _Share] = Field(default=(0.9, 0.95), description="running averages of adamw and lamb")
    momentum: _Share = Field(default=0.9, description="of sgd and lars")
    warmup_epochs: float = Field(default=5, ge=0, description="epochs in which the learning rate rises from 0")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    seed: int = Field(default=0, ge=0, description="everything random follows from it")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="auto: bf16 where it is faster")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU where there is one")
    workers: int = Field(default=1, ge=0, description="threads that read ahead; results do not depend on it")
    log_every: int = Field(default=10, ge=1, description="steps between lines of metrics.jsonl")
    keep_epochs: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="epochs after which the backbone is kept as snapshots/epoch-N, to sweep over as RUN@N"
    )
    checkpoint_minutes: float = Field(default=5, gt=0, description="minutes between checkpoints")
    monitor_epochs: int = Field(default=10, ge=1, description="epochs between looks at kNN, spread and effective rank")
    stop_when_collapsed: bool = Field(
        default=True, description="end a run whose features are all alike, or whose loss says so"
    )
    monitor_images: int = Field(default=1000, ge=10, description="most images that such a look takes")


class PretrainSettings(Settings):
    """A pretraining run. Groups beyond those named here are the method's and the backbone's own."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    modality: str
    method: str
    backbone: str
    data: DataSettings = DataSettings()
    train: TrainSettings = TrainSettings()
    augment: dict[str, Any] = Field(default_factory=dict)
    own_modality: dict[str, Any] = Field(
        default_factory=dict, description="values of the file that was given as --modality; empty for one of medssl's"
    )

    def group(self, name: str) -> dict[str, Any]:
        """Return the values of a group of the method's or the backbone's own settings."""
        return dict((self.model_extra or {}).get(name, {}))


def check(values: Mapping[str, Any]) -> PretrainSettings:
    """Return settings, or say in one sentence which name or value is wrong.

    Raises:
        SettingsError: A modality, method, backbone, group or setting is unknown, or a value out of range.
    """
    for name in ("modality", "method", "backbone"):
        if not isinstance(values.get(name), str):
            raise SettingsError(f"Setting '{name}' is missing", fix=f"Give --{name}")
    own_modality = values.get("own_modality") or {}
    if not isinstance(own_modality, Mapping):
        raise SettingsError(f"Setting 'own_modality' is a group, but got {own_modality!r}")
    check_names(values["modality"], values["method"], values["backbone"], own_modality)
    settings = _typed(values)
    if settings.data.transforms:
        discovery.load("modalities", settings.modality).MODALITY.with_transforms(settings.data.transforms)
    kinds = own_groups(settings.method, settings.backbone)
    for name, own in (settings.model_extra or {}).items():
        if name not in kinds:
            known = [*(field for field in PretrainSettings.model_fields), *kinds]
            raise unknown_name("group of settings", name, known)
        if not isinstance(own, Mapping):
            raise SettingsError(f"Setting '{name}' is a group, but got {own!r}", fix=f"Write {name}.NAME=VALUE")
        variant = discovery.load("backbones", name).VARIANTS[settings.backbone] if name != settings.method else {}
        validate(kinds[name], merged(variant, own), where=name)
    return settings


def check_names(
    modality: str, method: str, backbone: str | None = None, own_modality: Mapping[str, Any] | None = None
) -> None:
    """Refuse an unknown modality, method or backbone, with the nearest name and all names; and wrong own values."""
    if own_modality:
        named(modality, own_modality)
    for kind, name in (("modalities", like(modality, own_modality)), ("methods", method)):
        if name not in discovery.names(kind):
            raise unknown_name(discovery.KINDS[kind], name, discovery.names(kind))
    if backbone is not None and backbone not in backbones.names():
        raise unknown_name("backbone", backbone, backbones.names())


def own_groups(method: str, backbone: str) -> dict[str, type[Settings]]:
    """Return the classes of the method's and the backbone's own settings by the names of their groups."""
    family = backbones.names()[backbone]
    return {
        method: discovery.load("methods", method).Settings,
        family: discovery.load("backbones", family).Settings,
    }


def _typed(values: Mapping[str, Any]) -> PretrainSettings:
    """Check the named groups one by one, so that messages carry their names."""
    groups: dict[str, type[Settings]] = {"data": DataSettings, "train": TrainSettings}
    typed = {}
    for name, kind in groups.items():
        given = values.get(name, {})
        if not isinstance(given, Mapping):
            raise SettingsError(f"Setting '{name}' is a group, but got {given!r}", fix=f"Write {name}.NAME=VALUE")
        typed[name] = validate(kind, given, where=name)
    return validate(PretrainSettings, {**values, **typed})


def to_text(settings: PretrainSettings) -> str:
    """Return the YAML of a run's settings, every value included."""
    return dump_yaml(settings.model_dump(mode="json"))


def read(path: Path) -> dict[str, Any]:
    """Return the values in a settings file, unchecked.

    Raises:
        DataError: It cannot be read, or is not a group of settings.
    """
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise DataError("Expected settings as NAME: VALUE", where=path)
    if "arms" in values:
        raise DataError("These are the settings of a sweep", where=path, fix="Give the settings.yaml of a pretraining")
    return values
