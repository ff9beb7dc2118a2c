"""One contract over every family of backbones, in 2D and 3D."""

import pytest
import torch

from medssl import backbones, discovery
from medssl.backbones.weights import export, load_backbone, match
from medssl.errors import SettingsError

FAMILIES = discovery.names("backbones")
NARROW = {"resnet": {"stem_width": 16}}  # only to save time; a new family needs no entry
SIZES = {2: (64, 48), 3: (32, 32, 48)}


def smallest(family, spatial_dims, channels=2):
    name = next(iter(discovery.load("backbones", family).VARIANTS))
    torch.manual_seed(0)
    sizes = {"spatial_dims": spatial_dims, "image_size": SIZES[spatial_dims]}
    return backbones.build(name, in_channels=channels, overrides=NARROW.get(family), **sizes)


@pytest.fixture(scope="module", params=[(f, d) for f in FAMILIES for d in (2, 3)], ids=lambda p: f"{p[0]}-{p[1]}d")
def backbone(request):
    return smallest(*request.param)


def images(backbone, count=2):
    return torch.randn(count, backbone.in_channels, *SIZES[backbone.spatial_dims])


def test_features_have_the_declared_width_and_gradient_reaches_all_weights(backbone):
    features = backbone(images(backbone))
    assert features.pooled.shape == (2, backbone.width)
    assert features.grid.shape[:2] == (2, backbone.width)
    assert features.grid.ndim == 2 + backbone.spatial_dims
    (features.pooled.square().sum() + features.grid.square().sum()).backward()
    without = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())
    backbone.zero_grad()


def test_stages_are_as_declared_and_end_in_the_grid(backbone):
    if "stages" not in backbone.OFFERS:
        assert not hasattr(backbone, "stages")
        return
    x = images(backbone)
    backbone.eval()
    with torch.no_grad():
        maps, grid = backbone.stages(x), backbone(x).grid
    backbone.train()
    strides = backbone.stage_strides
    assert list(strides) == sorted({s for s in strides if s.bit_count() == 1})  # rising powers of two
    expected = [(width, *(-(-edge // s) for edge in x.shape[2:])) for width, s in zip(backbone.stage_widths, strides)]
    assert [tuple(m.shape[1:]) for m in maps] == expected
    assert torch.equal(maps[-1], grid)


def test_a_sample_does_not_depend_on_its_neighbours_in_eval_mode(backbone):
    backbone.eval()
    x = images(backbone, 3)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x).pooled[1:2], backbone(x[1:2]).pooled, atol=1e-4, rtol=1e-4)
    backbone.train()


def test_every_parameter_has_a_depth_within_the_count(backbone):
    depths = {backbone.layer_index(name) for name, _ in backbone.named_parameters()}
    assert min(depths) == 0
    assert max(depths) <= backbone.layer_count - 1
    assert len(depths) > 2


def test_export_loads_back_and_its_weights_match(backbone, tmp_path):
    export(backbone, tmp_path / "b", {})
    loaded = load_backbone(tmp_path / "b")
    x = images(backbone, 1)
    with torch.no_grad():
        assert torch.equal(loaded(x).pooled, backbone.eval()(x).pooled)
    family = backbone.family
    fresh = smallest(family, backbone.spatial_dims)
    assert match(backbone.state_dict(), fresh)["missing"] == []
    backbone.train()


@pytest.mark.parametrize("family", FAMILIES)
def test_describes_itself(family):
    module = discovery.load("backbones", family)
    assert "features" in module.Backbone.OFFERS
    backbone = smallest(family, 2)
    assert (backbone.family, backbone.in_channels, backbone.spatial_dims) == (family, 2, 2)
    assert backbone.image_size == SIZES[2]
    assert backbones.names()[backbone.name] == family
    with pytest.raises(SettingsError, match="no_such_setting"):
        backbones.build(backbone.name, in_channels=1, image_size=64, overrides={"no_such_setting": 1})
