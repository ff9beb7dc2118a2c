"""What a run is made of when nobody says: every value with the reason for it.

Later layers win: defaults of method and backbone < the method's recommendation < the modality's recommendation <
device, memory and amount of data < what the user set. The choices are a function of those, never of measured speed,
so that the same command on the same machine is the same run; only precision is decided by a short measurement.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medssl import backbones, discovery
from medssl.data.apart import usable_cores
from medssl.errors import SettingsError, unknown_name
from medssl.methods.parts.amount import Amount
from medssl.modalities.parts import own
from medssl.settings import Choice, Settings, flat, merged, nested
from medssl.training.settings import DataSettings, PretrainSettings, TrainSettings, check, check_names, own_groups

PRESETS = ("auto", "none")
OWN = "own_modality"

_FREE = "final_weight_decay is for AdamW"
WITH_OPTIMIZER: dict[str, dict[str, Choice]] = {
    "sgd": {
        "train.base_learning_rate": Choice(0.03, "MoCo (He et al., CVPR 2020): 0.03 for 256 images"),
        "train.weight_decay": Choice(1e-4, "MoCo (He et al., CVPR 2020)"),
        "train.final_weight_decay": Choice(None, _FREE),
    },
    "lars": {
        "train.base_learning_rate": Choice(0.3, "SimCLR (Chen et al. 2020), for LARS"),
        "train.weight_decay": Choice(1e-6, "SimCLR (Chen et al. 2020), for LARS"),
        "train.final_weight_decay": Choice(None, _FREE),
    },
    "lamb": {
        "train.base_learning_rate": Choice(6.25e-4, "Wightman et al. 2021 (supervised): 5e-3 for 2,048 images"),
        "train.weight_decay": Choice(0.02, "Wightman et al. 2021 (supervised)"),
        "train.final_weight_decay": Choice(None, _FREE),
        "train.betas": Choice((0.9, 0.999), "LAMB's own"),
    },
}
"""What suits an optimizer other than AdamW, for methods that do not say it themselves."""

_GB = 1e9
_SMALL = 192  # widths up to here stand a learning rate of 1e-3 in AdamW


@dataclass(frozen=True)
class Machine:
    """What the preset needs to know of a machine.

    Attributes:
        kind: "cpu" or "cuda".
        memory: Bytes of the device.
        cores: CPU cores.
        processes: Training processes.
        precision: What a short measurement found best.
    """

    kind: str
    memory: float
    cores: int = 1
    processes: int = 1
    precision: str = "fp32"


@dataclass(frozen=True)
class Resolved:
    """Complete settings, and for each value where it came from."""

    settings: PretrainSettings
    choices: dict[str, Choice]


def resolve(
    user: Mapping[str, Choice],
    machine: Machine,
    images: int,
    *,
    preset: str = "auto",
    flops: float | None = None,
    patients_known: bool = False,
) -> Resolved:
    """Choose everything that was not given.

    Args:
        user: What was set, by dotted name ("train.epochs"); `modality` and `method` at least.
        machine: Where it runs.
        images: Images that will be trained on.
        preset: "auto", or "none" for the defaults and recommendations alone.
        flops: Floating-point operations of a training step an image, where known; on a CPU the number of epochs
            follows from it.
        patients_known: Whether the patient of every image is known, there are several, and one has two images, as far
            as the manifest says: without it positives are of the same patient only where the user says so. Where images
            that cannot be prepared change it, `pairing.after_packing` gives the recommendation up.

    Raises:
        SettingsError: A name or value is wrong.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    values = own_values(user)
    dims = _spatial_dims(user, values)
    chosen = _size_layer(machine, dims) if preset == "auto" else {"backbone": Choice("vit_small", "default")}
    modality, method = (_named(user, group) for group in ("modality", "method"))
    check_names(modality, method, own_modality=values)
    chosen |= _backbone_of(method, small=preset == "auto" and machine.kind == "cpu")
    name = _named({**chosen, **user}, "backbone")
    check_names(modality, method, name, values)
    family = backbones.names()[name]
    user = {**_fitting(_of_file(modality, values), family, method), **user}
    check(merged(*(nested(key, choice.value) for key, choice in {**_fitting(chosen, family), **user}.items())))
    layers = [
        _defaults(method, name),
        _recommended(method, family, own.like(modality, values), patients_known=patients_known),
        _with_optimizer(method, user.get("train.optimizer")),
        _fitting(chosen, family),
    ]
    if preset == "auto":
        known = {name: choice for layer in (*layers, user) for name, choice in layer.items()}
        layers.append(_amount_layer(known, user, machine, images, flops, method, _width(family, name)))
    layers += [_machine_layer(machine), dict(user)]
    choices = {name: choice for layer in layers for name, choice in layer.items()}
    values = merged(*(nested(name, choice.value) for name, choice in choices.items()))
    return Resolved(check(values), choices)


def _backbone_of(method: str, *, small: bool) -> dict[str, Choice]:
    """Return the backbone that a method recommends, where it cannot train the usual one; the smallest if `small`."""
    choice: Choice | None = getattr(discovery.load("methods", method), "RECOMMENDS", {}).get("backbone")
    if choice is not None and small:
        least = next(iter(discovery.load("backbones", backbones.names()[choice.value]).VARIANTS))
        choice = Choice(least, f"{choice.source}; the smallest on a CPU: minutes, not days")
    return {} if choice is None else {"backbone": choice}


def _named(choices: Mapping[str, Choice], kind: str) -> str:
    if kind not in choices or not isinstance(choices[kind].value, str):
        raise SettingsError(f"No {kind} was named", fix=f"Give --{kind} NAME")
    return choices[kind].value


def chosen_by(values: Mapping[str, Any], source: str) -> dict[str, Choice]:
    """Return nested values as choices of one source, by dotted name."""
    return {name: Choice(value, source) for name, value in flat(values).items()}


def _defaults(method: str, backbone: str) -> dict[str, Choice]:
    """Return the defaults of all groups of settings, and the backbone's variant."""
    family = backbones.names()[backbone]
    groups: dict[str, type[Settings]] = {"data": DataSettings, "train": TrainSettings, **own_groups(method, backbone)}
    result = {
        f"{group}.{name}": Choice(field.get_default(call_default_factory=True), f"default of {group}")
        for group, kind in groups.items()
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }
    variant = discovery.load("backbones", family).VARIANTS[backbone]
    return {**result, **{f"{family}.{name}": Choice(value, f"size of {backbone}") for name, value in variant.items()}}


def _recommended(method: str, family: str, modality: str, *, patients_known: bool) -> dict[str, Choice]:
    """Return what method and modality recommend, as far as it concerns this method, backbone and data."""
    by_method: dict[str, Choice] = getattr(discovery.load("methods", method), "RECOMMENDS", {})
    by_modality: dict[str, Choice] = discovery.load("modalities", modality).MODALITY.recommends
    both = {**by_method, **by_modality}
    if not patients_known:
        both = {name: c for name, c in both.items() if not (name.endswith(".positives") and c.value == "patient")}
    return _fitting(both, family, method)


def is_recommended(name: str, choice: Choice, settings: PretrainSettings) -> bool:
    """Return whether a choice is what method or modality recommends, and nobody's who set it."""
    family, like = backbones.names()[settings.backbone], own.like(settings.modality, settings.own_modality)
    return _recommended(settings.method, family, like, patients_known=True).get(name) == choice


def _with_optimizer(method: str, asked: Choice | None) -> dict[str, Choice]:
    """Return what suits the optimizer that was asked for, where it is not AdamW."""
    name = "adamw" if asked is None else str(asked.value)
    by_method: dict[str, dict[str, Choice]] = getattr(discovery.load("methods", method), "RECOMMENDS_WITH", {})
    return {**WITH_OPTIMIZER.get(name, {}), **by_method.get(name, {})}


def _fitting(choices: Mapping[str, Choice], *own: str) -> dict[str, Choice]:
    groups = {"data", "train", "augment", *own}
    return {name: c for name, c in choices.items() if "." not in name or name.partition(".")[0] in groups}


def _machine_layer(machine: Machine) -> dict[str, Choice]:
    measured = "a short product of matrices showed which is faster here"
    return {
        "train.device": Choice(machine.kind, "what torch finds here"),
        "train.precision": Choice(machine.precision, measured),
    }


def own_values(user: Mapping[str, Choice]) -> dict[str, Any]:
    """Return the values of a modality of the user's own, nested; none where it is one of ours."""
    given = {name: choice.value for name, choice in user.items() if name.partition(".")[0] == OWN}
    return dict(merged(*(nested(name, value) for name, value in given.items())).get(OWN, {}))


def _of_file(modality: str, values: Mapping[str, Any]) -> dict[str, Choice]:
    """Return the settings that a user's modality asks for.

    Raises:
        SettingsError: There is no such setting.
    """
    asked = own.settings_of(values)
    groups: dict[str, type[Settings]] = {"data": DataSettings, "train": TrainSettings}
    known = [*groups, "augment", *discovery.names("methods"), *discovery.names("backbones")]
    for name in asked:
        group, _, setting = name.partition(".")
        if group not in known:
            raise unknown_name("group of settings", group, known, where=f"recommends of {modality}")
        if group == "augment":
            continue
        kind = "methods" if group in discovery.names("methods") else "backbones"
        settings: type[Settings] = groups.get(group) or discovery.load(kind, group).Settings
        if setting not in settings.model_fields:
            fields = [f"{group}.{field}" for field in settings.model_fields]
            raise unknown_name("setting", name, fields, where=f"recommends of {modality}")
    return {name: Choice(value, f"the file of {modality}") for name, value in asked.items()}


def _spatial_dims(user: Mapping[str, Choice], values: Mapping[str, Any]) -> int:
    """Return the spatial axes of the modality that was named; 2 where none is, which is refused later."""
    name = values.get("like") or (user["modality"].value if "modality" in user else None)
    known = discovery.names("modalities")
    return int(discovery.load("modalities", name).MODALITY.spatial_dims) if name in known else 2


def _size_layer(machine: Machine, spatial_dims: int) -> dict[str, Choice]:
    """Return network, image size and batch for the device and its memory."""
    result = _plane_layer(machine)
    if spatial_dims == 2:
        return result
    small, batch = machine.kind == "cpu", result["train.batch_size"]
    size = "216 patches a volume, as many as 6 x 6 x 6"
    return result | {
        "data.image_size": Choice(48 if small else 96, size),
        "vit.patch_size": Choice(8 if small else 16, size),
        "train.batch_size": Choice(max(8, batch.value // 4), f"{batch.source}; a quarter of what images get"),
    }


def stored_size(modality: str, machine: Machine) -> Choice:
    """Return the side of a stored image that is chosen for this machine where nobody says."""
    dims = discovery.load("modalities", modality).MODALITY.spatial_dims
    return _size_layer(machine, dims)["data.image_size"]


def _plane_layer(machine: Machine) -> dict[str, Choice]:
    if machine.kind == "cpu":
        why = f"CPU with {machine.cores} cores: minutes, not days"
        return {
            "backbone": Choice("vit_nano", why),
            "data.image_size": Choice(64, why),
            "vit.patch_size": Choice(8, "64 patches an image, as many as 8 x 8"),
            "train.batch_size": Choice(64, f"{why}; small batches give more steps"),
            "train.workers": Choice(1, "one thread reads ahead; the others train"),
            "train.checkpoint_minutes": Choice(1, "small states, cheap to write"),
            "train.monitor_images": Choice(300, "a look takes about a second"),
        }
    each = 256 if machine.memory >= 20 * _GB else 128 if machine.memory >= 11 * _GB else 64
    why = f"GPU with {machine.memory / _GB:.0f} GB"
    return {
        "backbone": Choice("vit_small", f"{why}; larger ones pay from some 100,000 images on"),
        "data.image_size": Choice(224, "what published weights and papers use"),
        "vit.patch_size": Choice(16, "what published weights and papers use"),
        "train.batch_size": Choice(each * machine.processes, f"{why}, {machine.processes} of them"),
        "train.workers": Choice(min(8, max(1, machine.cores // 2)), f"{machine.cores} CPU cores"),
        "train.checkpoint_minutes": Choice(10, "at most that much work is lost"),
    }


def _amount_layer(
    known: Mapping[str, Choice],
    user: Mapping[str, Choice],
    machine: Machine,
    images: int,
    flops: float | None,
    method: str,
    width: int,
) -> dict[str, Choice]:
    """Return batch, epochs, learning rate, the method's own and the rhythm of logs for the amount of data."""
    batch = user.get("train.batch_size") or _batch(known["train.batch_size"], images)
    an_epoch = max(1, images // int(batch.value))
    epochs = user.get("train.epochs") or _enough(_epochs(machine, images, flops), an_epoch, method)
    steps = int(epochs.value) * an_epoch
    return {
        "train.batch_size": batch,
        "train.epochs": epochs,
        **_warmup(epochs.value),
        **_fitted(method, Amount(images, int(batch.value), int(epochs.value), steps)),
        **_learning_rate(known, steps, batch.value, width),
        "train.log_every": Choice(min(50, max(1, steps // 150)), f"about 150 lines over {steps} steps"),
        "train.monitor_epochs": Choice(max(1, epochs.value // 12), f"about 12 looks over {epochs.value} epochs"),
    }


def _batch(usual: Choice, images: int) -> Choice:
    """Return a smaller power of two where there would be fewer than 8 steps an epoch, but not below 8."""
    fitting = max(8, 2 ** int(math.log2(max(1, images // 8))))
    return usual if usual.value <= fitting else Choice(fitting, f"{images} images: more than a step or two an epoch")


_CPU_FLOPS = 6.16e12  # some 2 minutes at the 50 GFLOP/s that two cores give very small networks, attention included
_CPU_IMAGES = (20_000, 400_000)
_GPU_IMAGES = 20e6


def _epochs(machine: Machine, images: int, flops: float | None) -> Choice:
    """Return epochs so that a CPU is done in minutes, or a GPU sees images about as often as published runs do."""
    if machine.kind == "cpu":
        least, most = _CPU_IMAGES
        seen = min(most, max(least, _CPU_FLOPS / flops)) if flops else least
        return Choice(max(1, round(seen / images)), f"{images} images on a CPU: about 2 minutes on 2 cores")
    epochs = round(min(800, max(50, _GPU_IMAGES / images)))
    return Choice(epochs, f"{images} images: 50 to 800 epochs, 20 million views where possible")


def _enough(usual: Choice, an_epoch: int, method: str) -> Choice:
    """Return more epochs where a method needs more steps: its `LEAST_STEPS`."""
    least = getattr(discovery.load("methods", method), "LEAST_STEPS", 0)
    needed = math.ceil(least / an_epoch)
    return usual if usual.value >= needed else Choice(needed, f"the method needs some {least:,} steps; see its page")


def _fitted(method: str, amount: Amount) -> dict[str, Choice]:
    """Return what the method derives from the amount of data."""
    module = discovery.load("methods", method)
    return dict(module.fitted(amount)) if hasattr(module, "fitted") else {}


def _warmup(epochs: int) -> dict[str, Choice]:
    return {"train.warmup_epochs": Choice(max(1, round(0.05 * epochs)), f"5 % of {epochs} epochs, as MAE's 40 of 800")}


def _learning_rate(known: Mapping[str, Choice], steps: int, batch: int, width: int) -> dict[str, Choice]:
    """Return the base learning rate of AdamW where short runs of small networks need more than the papers' rule gives.

    The linear rule was tuned for batches of 4,096 and some 100,000 steps. At a batch of 64 MAE's 1.5e-4 would be
    3.8e-5, too little to get anywhere in a few thousand steps. AdamW's steps are scale-free, so the peak itself is
    set: 1e-3 for networks up to 192 wide, 5e-4 above, and the base follows from it.
    """
    base, peak = known["train.base_learning_rate"], 1e-3 if width <= _SMALL else 5e-4
    if known["train.optimizer"].value != "adamw" or steps > 50_000 or base.value * batch / 256 >= peak:
        return {}
    why = f"peak {peak:g} for a batch of {batch}: {steps} steps are too few for {base.value:g} ({base.source})"
    return {"train.base_learning_rate": Choice(peak * 256 / batch, why)}


def _width(family: str, backbone: str) -> int:
    return int(discovery.load("backbones", family).VARIANTS[backbone].get("width", _SMALL))


def this_machine(kind: str, memory: float, processes: int, precision: str) -> Machine:
    """Return the machine at hand; cores are those this process may use."""
    cores = usable_cores()
    return Machine(kind, memory, cores, processes, precision)
