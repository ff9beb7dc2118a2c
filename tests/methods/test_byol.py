import copy

import pytest
import torch
from torch import nn

from medssl import backbones, methods
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods import byol
from medssl.methods.parts.momentum import follow, momentum_copy, rising_momentum


def make(**settings):
    torch.manual_seed(0)
    backbone = backbones.build("resnet18", in_channels=1, image_size=32, overrides={"stem_width": 8})
    return methods.build("byol", backbone, {"projection_width": 8, **settings})


def slow_loss(predictions, targets):
    """The sum of both directions, row by row in float64: predictions of one view against targets of the other."""
    total = 0.0
    for prediction, target in ((predictions[0], targets[1]), (predictions[1], targets[0])):
        for p, t in zip(prediction.double(), target.double(), strict=True):
            total += float(((p / p.norm() - t / t.norm()) ** 2).sum()) / len(prediction)
    return total


def test_loss_is_the_sum_of_both_directions():
    method = make().eval()
    views = [torch.randn(5, 1, 32, 32), torch.randn(5, 1, 32, 32) + 1]
    with torch.no_grad():
        method.target_projector[0].weight.mul_(-0.5)  # so that both networks differ
        online = [method.projector(method.backbone(view).pooled) for view in views]
        predictions = [method.predictor(z) for z in online]
        targets = [method.target_projector(method.target_backbone(view).pooled) for view in views]
        loss = method(views, Chance([0] * 5))["loss"]
    assert loss.item() == pytest.approx(slow_loss(predictions, targets), rel=1e-5)


def test_the_heads_are_the_papers_for_a_resnet50():
    with torch.device("meta"):
        method = methods.build("byol", backbones.build("resnet50", in_channels=3, image_size=224))
    for head, shapes in (
        (method.projector, [(4096, 2048), (256, 4096)]),
        (method.predictor, [(4096, 256), (256, 4096)]),
    ):
        assert [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)] == shapes


@pytest.mark.parametrize(("angle", "expected"), [(0.0, 0.0), (90.0, 2.0), (180.0, 4.0)])
def test_distance_of_known_angles(angle, expected):
    turn = torch.deg2rad(torch.tensor(angle))
    row = torch.stack([turn.cos(), turn.sin()])[None] * 7
    assert byol.distance(torch.tensor([[3.0, 0.0]]), row).item() == pytest.approx(expected, abs=1e-6)


def test_no_gradient_reaches_the_target():
    method = make()
    method([torch.randn(4, 1, 32, 32)] * 2, Chance([0] * 4))["loss"].backward()
    targets = [*method.target_backbone.parameters(), *method.target_projector.parameters()]
    assert targets
    assert all(p.grad is None and not p.requires_grad for p in targets)


def test_the_target_moves_exactly_by_its_momentum():
    method = make(momentum=0.9)
    with torch.no_grad():
        for parameter in method.backbone.parameters():
            parameter.add_(1)
    before = copy.deepcopy(method.target_backbone.state_dict())
    method.after_step(3, 10)
    momentum = 1 - 0.1 * (torch.cos(torch.tensor(torch.pi * 0.3)).item() + 1) / 2
    for name, new in method.backbone.named_parameters():
        expected = momentum * before[name] + (1 - momentum) * new
        torch.testing.assert_close(method.target_backbone.get_parameter(name), expected)


def test_momentum_rises_from_its_base_to_one():
    values = [rising_momentum(0.99, step, 100) for step in range(101)]
    assert values[0] == pytest.approx(0.99)
    assert values[50] == pytest.approx(0.995)
    assert values[-1] == 1
    assert values == sorted(values)


def test_buffers_of_the_target_follow():
    """A teacher whose running statistics stayed at 0 and 1 would be poor wherever it is evaluated (case T02)."""
    method = make(momentum=0.0)
    first = {name: value.clone() for name, value in method.target_backbone.named_buffers() if value.is_floating_point()}
    noise = torch.Generator().manual_seed(1)
    for step in range(5):
        views = [torch.randn(8, 1, 32, 32, generator=noise) * 3 + 5 for _ in range(2)]
        method(views, Chance([0] * 8))["loss"].backward()
        method.after_step(step, 10**6)
    now = dict(method.target_backbone.named_buffers())
    assert first
    assert all(not torch.equal(now[name], value) for name, value in first.items())
    method.eval()
    view = torch.randn(8, 1, 32, 32, generator=noise) * 3 + 5
    student, teacher = method.backbone(view).pooled, method.target_backbone(view).pooled
    assert (student - teacher).norm() < 0.1 * student.norm()


def test_follow_copies_buffers_whatever_the_momentum():
    student = nn.BatchNorm1d(2)
    teacher = momentum_copy(student)
    student(torch.tensor([[1.0, 5.0], [3.0, 9.0]]))
    follow(teacher, student, 1.0)
    assert torch.equal(teacher.running_mean, student.running_mean)
    assert torch.equal(teacher.num_batches_tracked, student.num_batches_tracked)


def test_a_single_image_is_refused():
    with pytest.raises(SettingsError, match="batch has 1 image"):
        make()([torch.randn(1, 1, 32, 32)] * 2, Chance([0]))
