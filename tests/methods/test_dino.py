import math

import pytest
import torch

from medssl import backbones, methods
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.dino import Head, cross_entropy
from medssl.methods.parts.wish import edges


def make(**settings):
    torch.manual_seed(0)
    overrides = {"patch_size": 8, "depth": 1}
    backbone = backbones.build("vit_nano", in_channels=1, image_size=64, overrides=overrides)
    return methods.build("dino", backbone, {"prototypes": 12, "local_views": 2, "bottleneck": 16, **settings})


def views_of(method, count=4, seed=0):
    noise = torch.Generator().manual_seed(seed)
    sizes = [edges(wish.size, (64, 64)) for wish in method.wish for _ in range(wish.count)]
    return [torch.randn(count, 1, *size, generator=noise) for size in sizes]


def slow(targets, logits):
    """Over all pairs of a teacher's view and another of the student, row by row in float64."""
    values = []
    for t, q in enumerate(targets):
        for v, logit in enumerate(logits):
            if t == v:
                continue
            for row in range(len(q)):
                exponentials = [math.exp(float(x)) for x in logit[row].double()]
                values.append(
                    -sum(float(q[row, k]) * math.log(e / sum(exponentials)) for k, e in enumerate(exponentials))
                )
    return sum(values) / len(values)


def test_cross_entropy_agrees_with_a_slow_version():
    noise = torch.Generator().manual_seed(1)
    targets = [torch.randn(3, 5, generator=noise).mul(4).softmax(dim=1) for _ in range(2)]
    logits = [torch.randn(3, 5, generator=noise) * (1 + v) for v in range(4)]
    assert cross_entropy(targets, logits).item() == pytest.approx(slow(targets, logits), rel=1e-5)


def slow_head(head, features):
    """Linear, batch norm, GELU, twice; linear; then cosines with the prototypes, one number after the other."""
    for layer in head.mlp:
        if isinstance(layer, torch.nn.Linear):
            features = features @ layer.weight.T + layer.bias
        elif isinstance(layer, torch.nn.BatchNorm1d):
            mean, variance = features.mean(dim=0), features.var(dim=0, correction=0)
            features = (features - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias
        else:
            features = features * (1 + torch.erf(features / math.sqrt(2))) / 2
    return [[float(row @ p / (row.norm() * p.norm())) for p in head.prototypes] for row in features]


def slow_softmax(numbers):
    exponentials = [math.exp(x) for x in numbers]
    return [e / sum(exponentials) for e in exponentials]


@pytest.mark.parametrize("head_norm", [True, False])
def test_the_whole_forward_agrees_with_a_slow_version(head_norm):
    """In float64 from pixels to loss, beside the backbone: heads, temperatures, centre, and who meets whom."""
    temperatures = {"student_temperature": 0.25, "teacher_temperature": 0.3, "teacher_temperature_start": 0.1}
    method = make(head_norm=head_norm, warmup=0.5, **temperatures).double()
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in [*method.head.parameters(), *method.teacher_head.parameters()]:
            parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.3)
        method.centre.copy_(torch.randn(12, generator=noise))
    method.progress.fill_(0.25)
    views = [view.double() * (1 + number) + number for number, view in enumerate(views_of(method, count=3))]
    terms = method(views, Chance([0] * 3))

    def outputs(backbone, head, shown):
        with torch.no_grad():
            rows = slow_head(head, torch.cat([backbone(view).pooled for view in shown]))
        return [rows[start : start + 3] for start in range(0, len(rows), 3)]

    student = outputs(method.backbone, method.head, views)
    teacher = outputs(method.teacher_backbone, method.teacher_head, views[:2])
    centre, values, entropies = method.centre.tolist(), [], []
    for t, shown in enumerate(teacher):
        for row in range(3):
            target = slow_softmax([(x - c) / 0.2 for x, c in zip(shown[row], centre, strict=True)])  # half of the rise
            entropies.append(-sum(q * math.log(q) for q in target))
            for v in range(4):
                if v != t:
                    predicted = slow_softmax([x / 0.25 for x in student[v][row]])
                    values.append(-sum(q * math.log(p) for q, p in zip(target, predicted, strict=True)))
    assert len(values) == 2 * 3 * 3
    assert terms["loss"].item() == pytest.approx(sum(values) / len(values), rel=1e-9)
    assert terms["teacher_entropy"].item() == pytest.approx(sum(entropies) / len(entropies), rel=1e-9)


def test_views_have_the_sizes_and_areas_of_the_paper():
    wishes = [(wish.count, wish.strength, wish.size, wish.crop_area) for wish in make().wish]
    assert wishes == [
        (2, "strong", None, (0.4, 1.0)),
        (2, "strong", (24, 24), (0.05, 0.4)),
    ]  # 64 x 3 / 7, in whole patches


def test_uniform_outputs_cost_the_logarithm_of_their_number():
    uniform = [torch.full((2, 7), 1 / 7)] * 2
    assert cross_entropy(uniform, [torch.zeros(2, 7)] * 3).item() == pytest.approx(math.log(7), rel=1e-6)


def test_a_view_is_never_compared_with_itself():
    """Each teacher's view is met by the other one alone, where the student is sure of the wrong prototype."""
    targets = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    agreeing = [torch.tensor([[30.0, 0.0]]), torch.tensor([[0.0, 30.0]])]
    assert cross_entropy(targets, agreeing).item() == pytest.approx(30)
    assert cross_entropy(targets, agreeing[::-1]).item() == pytest.approx(0, abs=1e-6)


def test_the_teacher_is_centred_and_sharpened():
    method = make(teacher_temperature=0.05, teacher_temperature_start=0.05)
    output = torch.tensor([[0.3, 0.1, *[0.0] * 10]])
    method.centre.copy_(torch.tensor([0.2, *[0.0] * 11]))
    expected = torch.tensor([0.1 / 0.05, 0.1 / 0.05, *[0.0] * 10]).softmax(dim=0)
    torch.testing.assert_close(method._target(output)[0], expected)


def test_the_centre_moves_towards_the_mean_output():
    method = make(centre_momentum=0.9)
    views = views_of(method)
    with torch.no_grad():
        outputs = method.teacher_head(method.teacher_backbone(torch.cat(views[:2])).pooled)
    method(views, Chance([0] * 4))
    assert method.centre.abs().max() == 0  # a loss is a function: what follows from it follows after the step
    method.after_step(0, 10)
    torch.testing.assert_close(method.centre, 0.1 * outputs.mean(dim=0))


def test_no_gradient_reaches_the_teacher_and_it_is_what_is_exported():
    method = make()
    method(views_of(method), Chance([0] * 4))["loss"].backward()
    teacher = [*method.teacher_backbone.parameters(), *method.teacher_head.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in teacher)
    assert methods.exported(method) is method.teacher_backbone


def test_prototypes_stand_still_at_first():
    method = make(freeze_last_layer=0.2)
    views = views_of(method)
    method(views, Chance([0] * 4))["loss"].backward()
    assert method.head.prototypes.grad.abs().max() == 0
    assert method.head.mlp[0].weight.grad.abs().max() > 0
    method.after_step(1, 10)
    method(views, Chance([0] * 4))["loss"].backward()
    assert method.head.prototypes.grad.abs().max() > 0


def test_the_temperature_rises_in_a_line():
    method = make(teacher_temperature=0.07, teacher_temperature_start=0.04, warmup=0.5)
    seen = [method.temperature]
    for step in range(8):
        method.after_step(step, 8)
        seen.append(method.temperature)
    assert seen == pytest.approx([0.04, 0.0475, 0.055, 0.0625, 0.07, 0.07, 0.07, 0.07, 0.07])


def test_a_collapsed_teacher_shows_in_the_log():
    method = make()
    with torch.no_grad():
        for head in (method.head, method.teacher_head):
            head.prototypes.copy_(head.prototypes[:1].expand_as(head.prototypes))
    terms = method(views_of(method), Chance([0] * 4))
    assert terms["teacher_entropy"].item() == pytest.approx(math.log(12), rel=1e-5)
    assert terms["loss"].item() == pytest.approx(math.log(12), rel=1e-5)


def test_a_single_image_is_refused_where_the_head_normalises():
    method = make()
    with pytest.raises(SettingsError, match="batch has 1 image"):
        method(views_of(method, count=1), Chance([1]))
    plain = make(head_norm=False)
    assert torch.isfinite(plain(views_of(plain, count=1), Chance([1]))["loss"])


def test_the_head_takes_away_what_all_images_have_in_common():
    """Features that differ by a thousandth of what they share give outputs that differ, with norm alone."""
    torch.manual_seed(0)
    shared, own = torch.randn(128), torch.randn(64, 128) / 1000
    spread = {norm: Head(128, 256, 32, 16, norm=norm)(shared + own).std(dim=0).mean().item() for norm in (True, False)}
    assert spread[True] > 0.1
    assert spread[False] < 0.001
