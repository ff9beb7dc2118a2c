"""What the built-in arms are made of."""

import torch

from medssl import backbones
from medssl.evaluation.learners import opened


def test_a_random_network_has_no_branch_that_adds_nothing():
    torch.manual_seed(0)
    images = torch.randn(4, 1, 32, 32)
    small = {"stem_width": 4, "layers": (1, 1, 1, 1)}
    closed = backbones.build("resnet18", in_channels=1, image_size=32, overrides=small).eval()
    before = closed(images).pooled
    scales = {name: value.clone() for name, value in closed.named_parameters() if "bn" in name}
    assert any(not value.any() for value in scales.values())
    again = opened(closed)
    assert all(value.any() for name, value in again.named_parameters() if name.endswith("bn2.weight"))
    assert not torch.allclose(again(images).pooled, before)
    unchanged = [name for name, value in scales.items() if value.any()]
    assert all(torch.equal(dict(again.named_parameters())[name], scales[name]) for name in unchanged)


def test_a_transformer_has_none_and_stays_as_it_is():
    torch.manual_seed(0)
    model = backbones.build("vit_nano", in_channels=1, image_size=32, overrides={"patch_size": 8}).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in opened(model).state_dict().items())
