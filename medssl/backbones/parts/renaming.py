"""Weights under the names that other libraries gave them, brought to ours."""

import re
from collections.abc import Mapping, Sequence

import torch

Rules = Sequence[tuple[str, str]]


def renamed(state: Mapping[str, torch.Tensor], rules: Rules) -> dict[str, torch.Tensor]:
    r"""Return weights with every name put through all rules in turn.

    Args:
        state: Names and tensors.
        rules: Pairs of a regular expression and its replacement, such as `(r"^stem_(\d)\.", r"stem.\1.")`.
    """
    return {_through(name, rules): value for name, value in state.items()}


def _through(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def joined(state: Mapping[str, torch.Tensor], parts: Sequence[str], whole: str) -> dict[str, torch.Tensor]:
    """Put tensors that others keep apart one after another along their first axis.

    Args:
        state: Names and tensors.
        parts: Pieces of names in their order, such as `("attn.q.", "attn.k.", "attn.v.")`; where one is missing,
            nothing is joined.
        whole: What stands in their place, such as `"attn.qkv."`.
    """
    result = dict(state)
    for name in state:
        names = [name.replace(parts[0], part) for part in parts]
        if parts[0] in name and all(n in state for n in names):
            result[name.replace(parts[0], whole)] = torch.cat([result.pop(n) for n in names])
    return result
