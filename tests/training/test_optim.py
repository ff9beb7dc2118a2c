import math

import pytest
import torch
from torch import nn

from medssl.errors import SettingsError
from medssl.training import optim


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.LayerNorm(2)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 2), requires_grad=False)


def test_only_kernels_and_matrices_decay():
    module = Tiny()
    decayed, plain = optim.parameter_groups(module, 0.05)
    assert [id(p) for p in decayed["params"]] == [id(module.conv.weight)]
    assert {id(p) for p in plain["params"]} == {
        id(p) for p in (module.conv.bias, module.norm.weight, module.norm.bias, module.cls_token)
    }
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)


def test_cosine_meets_its_closed_form_at_the_ends_and_in_the_middle():
    rates = [optim.cosine(step, 110, 2.0, warmup=10, final=0.5) for step in range(111)]
    assert rates[:10] == pytest.approx([2.0 * (i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(0.5 + 1.5 / 2)
    assert rates[35] == pytest.approx(0.5 + 1.5 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[110] == pytest.approx(0.5)


def test_scale_multiplies_the_rate_of_its_group():
    backbone, head = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    optimizer = optim.adamw(optim.parameter_groups(backbone, 0.1, scale=0.1) + optim.parameter_groups(head, 0.1))
    optim.set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]


def test_one_step_of_adamw_is_the_formula():
    weight = nn.Linear(2, 2, bias=False)
    before = weight.weight.detach().clone()
    optimizer = optim.adamw(optim.parameter_groups(weight, 0.1))
    optim.set_learning_rate(optimizer, 0.01)
    weight.weight.sum().backward()
    optimizer.step()
    torch.testing.assert_close(weight.weight.detach(), before * (1 - 0.01 * 0.1) - 0.01)


def test_learning_rate_scales_with_the_batch():
    assert optim.scaled_learning_rate(1.5e-4, 4096) == pytest.approx(2.4e-3)
    with pytest.raises(SettingsError, match="above 0"):
        optim.scaled_learning_rate(0.0, 4)
