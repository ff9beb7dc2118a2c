"""Find a backbone's weights in a checkpoint, whatever they were wrapped in.

Non-strict loading with another prefix loads nothing and leaves a random model that calls itself pretrained
(facebookresearch/dino#65, stefanopini/simple-HRNet#79). So the prefix is searched for, the matched tensors are
counted, and too few are an error.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch

from medssl.errors import DataError

_TEACHERS = ("teacher", "target_encoder", "base_encoder")  # what the authors evaluate; MoCo v3's is the trained one
_NESTS = (*_TEACHERS, "model", "state_dict", "model_state_dict", "network_weights", "backbone", "encoder", "student")
_WRAPPERS = ("module.", "_orig_mod.", "backbone.", "encoder.", "model.", "teacher.", "student.", "target_encoder.")
_MOCO = ("base_encoder.", "momentum_encoder.")
_FAMILIES = ("vit.", "ijepa.", "dinov2.", "dinov2_with_registers.", "resnet.", "convnext.", "bit.", "swinViT.")
_PREFIXES = _WRAPPERS + _MOCO + _FAMILIES
_DEPTH = 3

Translate = Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]


class Found(NamedTuple):
    """Weights under one prefix at one place of a checkpoint.

    Attributes:
        place: Keys of the dictionaries around the weights, joined by dots; "" for the outermost.
        prefix: What stood before the names, such as "module.backbone.".
        state: The weights without that prefix.
        matched: How many of the wanted names are among them.
    """

    place: str
    prefix: str
    state: dict[str, torch.Tensor]
    matched: int


def find(checkpoint: Mapping[str, Any], wanted: set[str], translate: Translate = dict) -> Found:
    """Return the weights with the most names of `wanted`.

    Where a teacher and a student match alike, the teacher's are taken, as the authors of DINO advise
    (facebookresearch/dino#44), and so is I-JEPA's target encoder, which its paper evaluates, and MoCo v3's base
    encoder, which its code evaluates (facebookresearch/moco-v3, main_lincls.py).

    Args:
        checkpoint: Names and tensors, possibly nested.
        wanted: Names of the backbone's tensors.
        translate: Brings weights under another library's names to the backbone's.

    Raises:
        DataError: The checkpoint holds no tensors, or two sets of weights match alike and neither is a teacher's.
    """
    found = [f for place, tensors in _places(checkpoint) for f in _prefixes(place, tensors, wanted, translate)]
    if not found:
        raise DataError("The checkpoint holds no named tensors", fix="Use the file that has the model's weights")
    most = max(f.matched for f in found)
    best = [f for f in found if f.matched == most]
    teachers = [f for f in best if any(name in f"{f.place}.{f.prefix}" for name in _TEACHERS)]
    choice = teachers or best
    if most and len(choice) > 1:
        names = " and ".join(f"'{'.'.join(filter(None, (f.place, f.prefix)))}'" for f in choice)
        raise DataError(f"The checkpoint holds several sets of weights that fit: {names}", fix="Keep one of them")
    return max(choice, key=lambda f: len(f.state))


def _places(checkpoint: Mapping[str, Any], place: str = "", depth: int = 0) -> Iterable[tuple[str, dict]]:
    """Yield every dictionary of tensors with the keys that lead to it."""
    tensors = {name: value for name, value in checkpoint.items() if isinstance(value, torch.Tensor)}
    if tensors:
        yield place, tensors
    for name in _NESTS:
        inner = checkpoint.get(name)
        if isinstance(inner, Mapping) and depth < _DEPTH:
            yield from _places(inner, f"{place}.{name}".strip("."), depth + 1)


def _prefixes(
    place: str, tensors: Mapping[str, torch.Tensor], wanted: set[str], translate: Translate
) -> Iterable[Found]:
    """Yield what the tensors are without each prefix that occurs."""
    for prefix in sorted({p for name in tensors for p in _starts(name)}):
        bare = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        state = translate(bare)
        yield Found(place, prefix, state, len(wanted & state.keys()))


def _starts(name: str) -> list[str]:
    """Return the known prefixes of a name, the empty one included."""
    starts, rest = [""], name
    while known := next((p for p in _PREFIXES if rest.startswith(p)), None):
        starts.append(starts[-1] + known)
        rest = rest.removeprefix(known)
    return starts
