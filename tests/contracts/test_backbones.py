"""One contract over every family of backbones, in 2D and 3D."""

import pytest
import torch

from medssl import backbones, discovery
from medssl.backbones.weights import export, load_backbone, match
from medssl.errors import SettingsError

FAMILIES = discovery.names("backbones")
SIZES = {2: (64, 48), 3: (32, 32, 48)}


def smallest(family, spatial_dims, channels=2):
    name = next(iter(discovery.load("backbones", family).VARIANTS))
    torch.manual_seed(0)
    sizes = {"spatial_dims": spatial_dims, "image_size": SIZES[spatial_dims]}
    return backbones.build(name, in_channels=channels, **sizes)


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


def test_stages_have_the_declared_widths_and_strides_and_end_in_the_grid(backbone):
    if not hasattr(backbone, "stages"):
        assert "stages" not in backbone.OFFERS
        pytest.skip("has no stages")
    backbone.eval()
    x = images(backbone)
    odd = x[..., :-5]  # sizes that do not divide are rounded up, as SparK's masks are
    with torch.no_grad():
        assert torch.equal(backbone.stages(x)[-1], backbone(x).grid)
        for image in (x, odd):
            maps = backbone.stages(image)
            assert [m.shape[1] for m in maps] == list(backbone.stage_widths)
            for each, stride in zip(maps, backbone.stage_strides, strict=True):
                assert list(each.shape[2:]) == [-(-edge // stride) for edge in image.shape[2:]]
    assert backbone.stage_widths[-1] == backbone.width
    assert list(backbone.stage_strides) == sorted({2 ** (s.bit_length() - 1) for s in backbone.stage_strides})
    backbone.train()


def test_crops_smaller_than_the_total_stride_have_features_too(backbone):
    if "tokens" in backbone.OFFERS:
        pytest.skip("sizes are multiples of the patch")
    features = backbone(torch.randn(4, backbone.in_channels, 24, *[16] * (backbone.spatial_dims - 1)))
    assert features.pooled.shape == (4, backbone.width)
    assert torch.isfinite(features.pooled).all()


def test_no_convolution_pads_a_short_depth_where_that_ends_the_process(backbone):
    """See tests/backbones/test_depth.py."""
    layers = [layer for layer in backbone.modules() if isinstance(layer, torch.nn.Conv3d)]
    large = [layer for layer in layers if layer.kernel_size[0] > 5 and layer.stride[0] > 1]
    assert all(layer.padding[0] == 0 for layer in large)
    assert large or backbone.spatial_dims == 2 or backbone.family not in ("resnet", "bit", "densenet")


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
