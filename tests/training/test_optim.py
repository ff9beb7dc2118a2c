import math

import pytest
import pytorch_optimizer
import torch
from torch import nn

from medssl import backbones, discovery, methods
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


def test_a_weight_decay_is_set_where_kernels_and_matrices_are():
    for start in (0.1, 0.0):
        optimizer = optim.adamw(optim.parameter_groups(Tiny(), start))
        optim.set_weight_decay(optimizer, 0.3)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


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


def test_what_does_not_decay_is_not_adapted_to():
    adapted, plain = optim.parameter_groups(Tiny(), 0.0)
    assert (adapted["adapt"], plain["adapt"]) == (True, False)
    assert len(plain["params"]) == 4


@pytest.mark.parametrize("name", methods.names())
def test_no_position_token_norm_or_bias_of_a_method_decays(name):
    family = "vit" if methods.supports(name, "vit") else "resnet"
    variant, overrides = {"vit": ("vit_nano", {"patch_size": 8}), "resnet": ("resnet18", {"stem_width": 16})}[family]
    method = methods.build(name, backbones.build(variant, in_channels=1, image_size=64, overrides=overrides))
    names = {id(p): name for name, p in method.named_parameters()}
    decayed, plain = ([names[id(p)] for p in g["params"]] for g in optim.parameter_groups(method, 0.1))
    words = ("token", "pos", "norm", "bias", "query")
    assert not [one for one in decayed if any(word in one.rpartition(".")[2] for word in words)]
    assert all(dict(method.named_parameters())[one].ndim == 1 or "token" in one or "pos" in one for one in plain)
    assert any(one.endswith("qkv.weight" if family == "vit" else "conv1.weight") for one in decayed)


@pytest.mark.parametrize("family", discovery.names("backbones"))
def test_of_every_backbone_the_weights_of_layers_decay_and_nothing_else(family):
    variant = next(iter(discovery.load("backbones", family).VARIANTS))
    learned = {"positions": "learned", "register_tokens": 2} if family == "vit" else None
    backbone = backbones.build(variant, in_channels=1, image_size=64, overrides=learned)
    layers = [m for m in backbone.modules() if isinstance(m, nn.Linear | torch.nn.modules.conv._ConvNd)]
    decayed, _ = optim.parameter_groups(backbone, 0.1)
    assert {id(p) for p in decayed["params"]} == {id(layer.weight) for layer in layers}


RATES = [0.3, 0.1, 0.5, 0.2]


def problem():
    """Weights that decay and are adapted to, a vector that is not, and a matrix of zeros; a gradient for each step."""
    noise = torch.Generator().manual_seed(0)
    shapes = {"decayed": (3, 2), "plain": (3,), "zero": (2, 2)}
    start = {name: torch.randn(shape, generator=noise, dtype=torch.float64) for name, shape in shapes.items()}
    start["zero"].zero_()
    gradients = [{n: torch.randn(s, generator=noise, dtype=torch.float64) for n, s in shapes.items()} for _ in RATES]
    gradients[2]["decayed"].zero_()
    return start, gradients


def steps_of(name, start, gradients, **options):
    weights = {key: nn.Parameter(value.clone()) for key, value in start.items()}
    groups = [
        {"params": [weights["decayed"], weights["zero"]], "weight_decay": 0.1, "scale": 1.0, "adapt": True},
        {"params": [weights["plain"]], "weight_decay": 0.0, "scale": 2.0, "adapt": False},
    ]
    optimizer = optim.optimizer(name, groups, **options)
    for rate, gradient in zip(RATES, gradients, strict=True):
        optim.set_learning_rate(optimizer, rate)
        for key, value in weights.items():
            value.grad = gradient[key].clone()
        optimizer.step()
    return {key: value.detach() for key, value in weights.items()}


def slow(name, start, gradients, update):
    """Apply `update(w, g, state, step, rate, decay, adapt)` of plain lists of numbers, a step and a layer at a time."""
    result = {}
    for key, value in start.items():
        adapt, scale = (False, 2.0) if key == "plain" else (True, 1.0)
        weights, state = value.flatten().tolist(), [{} for _ in range(value.numel())]
        for step, (rate, gradient) in enumerate(zip(RATES, gradients, strict=True), start=1):
            flat = gradient[key].flatten().tolist()
            weights = update(weights, flat, state, step, rate * scale, 0.1 if adapt else 0.0, adapt)
        result[key] = torch.tensor(weights, dtype=torch.float64).view_as(value)
    return result


def norm(numbers):
    return math.sqrt(sum(number * number for number in numbers))


def slow_lars(w, g, state, step, rate, decay, adapt):
    below = norm(g) + decay * norm(w)
    local = 0.001 * norm(w) / below if adapt and norm(w) > 0 and below > 0 else 1.0
    for one, x, d in zip(state, w, g, strict=True):
        one["v"] = 0.8 * one.get("v", 0.0) + rate * local * (d + decay * x)
    return [x - one["v"] for x, one in zip(w, state, strict=True)]


def slow_lamb(w, g, state, step, rate, decay, adapt):
    update = []
    for one, x, d in zip(state, w, g, strict=True):
        one["m"] = 0.7 * one.get("m", 0.0) + 0.3 * d
        one["s"] = 0.95 * one.get("s", 0.0) + 0.05 * d * d
        mean, square = one["m"] / (1 - 0.7**step), one["s"] / (1 - 0.95**step)
        update.append(mean / (math.sqrt(square) + 1e-6) + decay * x)
    ratio = norm(w) / norm(update) if adapt and norm(w) > 0 and norm(update) > 0 else 1.0
    return [x - rate * ratio * u for x, u in zip(w, update, strict=True)]


@pytest.mark.parametrize(
    ("name", "options", "update"),
    [("lars", {"momentum": 0.8}, slow_lars), ("lamb", {"betas": (0.7, 0.95)}, slow_lamb)],
)
def test_steps_equal_the_slow_loop(name, options, update):
    start, gradients = problem()
    found, expected = steps_of(name, start, gradients, **options), slow(name, start, gradients, update)
    for key in start:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-12, atol=1e-14)


def test_lars_is_that_of_pytorch_optimizer():
    """At a rate that stays: its momentum gathers gradients, ours gathers steps."""
    start, gradients = problem()
    theirs = {key: nn.Parameter(value.clone()) for key, value in start.items()}
    ours = {key: nn.Parameter(value.clone()) for key, value in start.items()}
    witness = pytorch_optimizer.LARS(theirs.values(), lr=0.3, momentum=0.8, weight_decay=0.1, trust_coefficient=0.001)
    groups = [
        {"params": [ours["decayed"], ours["zero"]], "weight_decay": 0.1, "adapt": True},
        {"params": [ours["plain"]], "weight_decay": 0.0, "adapt": False},
    ]
    optimizer = optim.optimizer("lars", groups, momentum=0.8)
    optim.set_learning_rate(optimizer, 0.3)
    for gradient in gradients:
        for key in start:
            theirs[key].grad, ours[key].grad = gradient[key].clone(), gradient[key].clone()
        witness.step()
        optimizer.step()
    for key in start:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-12, atol=1e-14)


def test_lamb_goes_where_torchs_adamw_goes_and_as_far_as_the_norm_of_the_weights_says():
    start, gradients = problem()
    found = nn.Parameter(start["decayed"].clone())
    witness = nn.Parameter(start["decayed"].clone())
    groups = [{"params": [found], "weight_decay": 0.1, "adapt": True}]
    optimizer = optim.optimizer("lamb", groups, betas=(0.7, 0.95))
    adamw = torch.optim.AdamW([witness], lr=1.0, betas=(0.7, 0.95), eps=1e-6, weight_decay=0.1)
    for rate, gradient in zip(RATES, gradients, strict=True):
        before = found.detach().clone()
        witness.data.copy_(before)
        found.grad, witness.grad = gradient["decayed"].clone(), gradient["decayed"].clone()
        optim.set_learning_rate(optimizer, rate)
        optimizer.step()
        adamw.step()
        update = before - witness.detach()
        expected = before - rate * before.norm() / update.norm() * update
        torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=1e-14)


def test_a_first_step_of_lars_and_lamb_is_a_share_of_the_weights_norm():
    weights = {key: torch.full((2, 2), 3.0, dtype=torch.float64) for key in ("decayed", "zero", "plain")}
    gradient = [{key: torch.tensor([[0.0, 0.0], [0.0, 50.0]], dtype=torch.float64) for key in weights}] * 4
    for name, share in (("lars", 0.001), ("lamb", 1.0)):
        layer = nn.Parameter(weights["decayed"].clone())
        optimizer = optim.optimizer(name, [{"params": [layer], "weight_decay": 0.0, "adapt": True}])
        optim.set_learning_rate(optimizer, 0.1)
        layer.grad = gradient[0]["decayed"]
        optimizer.step()
        expected = weights["decayed"].clone()
        expected[1, 1] -= 0.1 * share * 6  # the norm of four times 3
        torch.testing.assert_close(layer.detach(), expected)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_goes_on_from_its_state(name):
    start, gradients = problem()
    whole = steps_of(name, start, gradients)
    layers = {key: nn.Parameter(value.clone()) for key, value in start.items()}

    def built():
        pair = [layers["decayed"], layers["zero"]]
        groups = [{"params": pair, "weight_decay": 0.1, "scale": 1.0, "adapt": True}]
        groups += [{"params": [layers["plain"]], "weight_decay": 0.0, "scale": 2.0, "adapt": False}]
        return optim.optimizer(name, groups)

    optimizer, kept = built(), None
    for step, (rate, gradient) in enumerate(zip(RATES, gradients, strict=True)):
        if step == 2:
            kept = optimizer.state_dict()
            optimizer = built()
            optimizer.load_state_dict(kept)
        optim.set_learning_rate(optimizer, rate)
        for key, value in layers.items():
            value.grad = gradient[key].clone()
        optimizer.step()
    assert all(torch.equal(layers[key].detach(), whole[key]) for key in whole)
