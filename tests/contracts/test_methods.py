"""One contract over every method and every family of backbones that it supports, in 2D and 3D."""

import copy
import re

import pytest
import torch

from medssl import backbones, discovery, methods
from medssl.chance import Chance, key
from medssl.errors import SettingsError
from medssl.methods.parts.momentum import momentum_copy
from medssl.methods.parts.wish import edges

FAMILIES = discovery.names("backbones")
SIZES = {2: (64, 64), 3: (16, 64, 32)}  # each axis of a volume another
LIGHT = {"dino": {"prototypes": 256}, "lejepa": {"local_views": 1}}  # save time; a new method needs no entry
VOLUME = (16, 16, 16)  # of contracts that train in 3D, on one family of tokens and one of stages
SLIGHT = {"vit": {"patch_size": 4, "depth": 1}, "resnet": {"stem_width": 8}}
PAIRS = [(m, f) for m in methods.names() for f in FAMILIES if methods.supports(m, f)]
REFUSED = [(m, f) for m in methods.names() for f in FAMILIES if not methods.supports(m, f)]


IN_3D = [(m, f, 3) for m, f in PAIRS if f in SLIGHT]
TRAINED = [(m, f, 2) for m, f in PAIRS] + IN_3D


def make(method, family, spatial_dims, settings=None, size=None):
    torch.manual_seed(0)
    name = next(iter(discovery.load("backbones", family).VARIANTS))
    sizes = {"spatial_dims": spatial_dims, "image_size": size or SIZES[spatial_dims]}
    backbone = backbones.build(name, in_channels=1, overrides=SLIGHT.get(family) if size else None, **sizes)
    return methods.build(method, backbone, {**LIGHT.get(method, {}), **(settings or {})})


def trained(method, family, spatial_dims, settings=None):
    """Make a method whose training takes little time, in 3D on the smallest of volumes."""
    return make(method, family, spatial_dims, settings, VOLUME if spatial_dims == 3 else None)


def views_of(method, step=0, count=3):
    noise = torch.Generator().manual_seed(step)
    size = method.backbone.image_size
    return [
        torch.randn(count, 1, *edges(wish.size, size), generator=noise)
        for wish in method.wish
        for _ in range(wish.count)
    ]


def train(method, optimizer, steps, still=False):
    """Train on some steps; teachers and other momentum copies stay where they are if `still`."""
    losses = []
    for step in steps:
        chance = Chance([key(0, step, sample) for sample in "abc"])
        terms = method(views_of(method, step), chance)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        if not still:
            method.after_step(step, 10)
        losses.append(terms["loss"].item())
    return losses


def optimizer_of(method):
    return torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-3)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_one_step_reaches_the_backbone_and_no_teacher(name, family, spatial_dims):
    method = make(name, family, spatial_dims)
    before = copy.deepcopy(method.backbone.state_dict())
    terms = method(views_of(method), Chance([1, 2, 3]))
    assert all(value.ndim == 0 and torch.isfinite(value) for value in terms.values())
    assert [name for name, value in terms.items() if value.requires_grad] == ["loss"]
    optimizer = optimizer_of(method)
    terms["loss"].backward()
    # BatchNorm of a block that starts at zero lets no gradient through to the convolutions before it
    reached = [name for name, p in method.backbone.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any(method.backbone.layer_index(name) == 0 for name in reached)
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    assert all(p.grad is None and not p.requires_grad for teacher, _ in copies(method) for p in teacher.parameters())
    optimizer.step()
    after = method.backbone.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in reached)


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_no_view_is_larger_than_the_image_and_small_ones_have_its_shape(name, family):
    for wish in make(name, family, 3).wish:
        edge = edges(wish.size, SIZES[3])
        assert all(own <= whole for own, whole in zip(edge, SIZES[3], strict=True))
        assert wish.size is None or edge == {"vit": (16, 32, 16)}.get(family, (7, 24, 16))


@pytest.mark.parametrize(("name", "family", "spatial_dims"), TRAINED)
def test_loss_depends_on_keys_and_views_alone(name, family, spatial_dims):
    method = trained(name, family, spatial_dims)
    views = views_of(method)
    first, again = (method(views, Chance([1, 2, 3]))["loss"].item() for _ in range(2))
    assert first == again


@pytest.mark.parametrize(("name", "family", "spatial_dims"), TRAINED)
def test_loss_falls_on_one_batch(name, family, spatial_dims):
    method = trained(name, family, spatial_dims)
    losses = train(method, optimizer_of(method), [0] * 6, still=True)  # else DINO's targets change under it
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("name", "family", "spatial_dims"), TRAINED)
def test_resumed_equals_uninterrupted(name, family, spatial_dims, tmp_path):
    whole = trained(name, family, spatial_dims)
    losses = train(whole, optimizer_of(whole), range(4))

    half = trained(name, family, spatial_dims)
    optimizer = optimizer_of(half)
    train(half, optimizer, range(2))
    torch.save({"method": half.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")

    resumed = trained(name, family, spatial_dims)
    for parameter in resumed.parameters():
        parameter.data.fill_(0.5)
    optimizer = optimizer_of(resumed)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(state["method"])
    optimizer.load_state_dict(state["optimizer"])
    assert train(resumed, optimizer, range(2, 4)) == losses[2:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


WITH_TEACHER = [(m, f) for m, f in PAIRS if "momentum" in discovery.load("methods", m).Settings.model_fields]


def copies(method):
    """Return every momentum copy with what it follows: `teacher_head` with `head`, `target_encoder` with `backbone`."""
    prefixes = ("teacher_", "target_")
    names = [name for name, _ in method.named_children() if name.startswith(prefixes)]
    return [(getattr(method, name), getattr(method, name.partition("_")[2], method.backbone)) for name in names]


@pytest.mark.parametrize(("name", "family"), WITH_TEACHER)
def test_teachers_move_exactly_by_their_momentum_and_stand_still_at_the_end(name, family):
    method, noise = make(name, family, 2, {"momentum": 0.9}), torch.Generator().manual_seed(2)
    pairs = copies(method)
    with torch.no_grad():
        for _, student in pairs:
            for value in [*student.parameters(), *(b for b in student.buffers() if b.is_floating_point())]:
                value.add_(torch.randn(value.shape, generator=noise))
    before = [copy.deepcopy(teacher.state_dict()) for teacher, _ in pairs]
    method.after_step(0, 10)  # both schedules begin at the setting and end at 1
    for (teacher, student), old in zip(pairs, before, strict=True):
        for parameter, value in teacher.named_parameters():
            expected = 0.9 * old[parameter] + 0.1 * student.get_parameter(parameter)
            torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
        assert all(torch.equal(value, student.get_buffer(buffer)) for buffer, value in teacher.named_buffers())
    moved = [[p.clone() for p in teacher.parameters()] for teacher, _ in pairs]
    method.after_step(10, 10)
    for (teacher, _), old in zip(pairs, moved, strict=True):
        assert all(torch.equal(now, then) for now, then in zip(teacher.parameters(), old, strict=True))


@pytest.mark.parametrize(
    ("name", "family", "spatial_dims"),
    [(m, f, 2) for m, f in WITH_TEACHER] + [t for t in IN_3D if t[:2] in WITH_TEACHER],
)
def test_t02_a_teacher_is_whole_when_it_is_evaluated(name, family, spatial_dims):
    """Case T02: a copy of parameters alone leaves the running mean and variance at 0 and 1."""
    method = trained(name, family, spatial_dims, {"momentum": 0.0})
    pairs = copies(method)
    assert pairs
    assert name == "byol" or any(teacher is methods.exported(method) for teacher, _ in pairs)  # byol: the student
    # positions are no statistics, and stay
    first = [{n: b.clone() for n, b in teacher.named_buffers() if "running" in n} for teacher, _ in pairs]
    in_head = any("running" in n for teacher, _ in pairs[1:] for n, _ in teacher.named_buffers())
    assert any(first) == (in_head or any("running" in n for n, _ in method.backbone.named_buffers()))
    optimizer, noise = optimizer_of(method), torch.Generator().manual_seed(1)
    for step in range(5):
        views = [torch.randn(view.shape, generator=noise) * 3 + 5 for view in views_of(method, count=6)]
        optimizer.zero_grad()
        method(views, Chance([key(step, sample) for sample in range(6)]))["loss"].backward()
        optimizer.step()
        method.after_step(step, 10**6)
    for (teacher, _), kept in zip(pairs, first, strict=True):
        assert not [n for n, b in teacher.named_buffers() if n in kept and torch.equal(b, kept[n])]
    method.eval()
    view = torch.randn(6, 1, *method.backbone.image_size, generator=noise) * 3 + 5
    teacher, student = next((t, s) for t, s in pairs if s is method.backbone)
    theirs, ours = teacher(view).pooled, student(view).pooled
    assert (theirs - ours).norm() < 0.1 * ours.norm()


WITH_PATHS = [f for f in FAMILIES if "drop_path" in discovery.load("backbones", f).Settings.model_fields]


@pytest.mark.parametrize("family", WITH_PATHS)
def test_a_teacher_drops_no_path_and_gives_the_same_answer_twice(family):
    name = next(iter(discovery.load("backbones", family).VARIANTS))
    backbone = backbones.build(name, in_channels=1, image_size=SIZES[2], overrides={"drop_path": 0.8})
    teacher, view = momentum_copy(backbone).train(), torch.randn(8, 1, *SIZES[2])
    with torch.no_grad():
        assert not torch.equal(backbone(view).grid, backbone(view).grid)
        assert torch.equal(teacher(view).grid, teacher(view).grid)


@pytest.mark.parametrize(("name", "family"), REFUSED)
def test_an_unsupported_backbone_is_refused_with_what_to_use(name, family):
    with pytest.raises(SettingsError, match=r"needs .* does not have.*Choose") as refused:
        make(name, family, 2)
    other, backbone = (re.search(rf"--{what} (\w+)", str(refused.value)) for what in ("method", "backbone"))
    assert other is None or methods.supports(other[1], family)
    assert backbone is None or methods.supports(name, backbones.names()[backbone[1]])


@pytest.mark.parametrize("name", methods.names())
def test_describes_itself(name):
    module = discovery.load("methods", name)
    assert module.TITLE
    assert any(methods.supports(name, family) for family in FAMILIES)
    with pytest.raises(SettingsError, match=rf"{name}\.no_such_setting"):
        methods.build(name, backbones.build("vit_nano", in_channels=1, image_size=32), {"no_such_setting": 1})


def test_an_unknown_method_gets_the_nearest_name():
    with pytest.raises(SettingsError, match=r"'simcrl'.*Did you mean 'simclr'"):
        methods.build("simcrl", backbones.build("vit_nano", in_channels=1, image_size=32))
