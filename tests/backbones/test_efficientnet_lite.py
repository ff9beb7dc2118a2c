import pytest
import torch
from monai.networks.nets import EfficientNet

from medssl import backbones
from medssl.backbones.efficientnet_lite import rounded

SIZES = {  # of the package's models: repeats and channels of the seven groups; stem and head are not scaled
    0: ([1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
    1: ([1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
    2: ([1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
}
KINDS = ["k3_s11_e1", "k3_s22_e6", "k5_s22_e6", "k3_s22_e6", "k5_s11_e6", "k5_s22_e6", "k3_s11_e6"]


def witness(number, dims, size):
    """Return MONAI's EfficientNet with a Lite's blocks, without squeeze and excitation, and with ReLU6 for swish."""
    sizes = {"spatial_dims": dims, "in_channels": 2, "num_classes": 1, "image_size": size}
    depths, widths = SIZES[number]
    shapes = zip(depths, KINDS, [32, *widths], widths, strict=False)
    groups = [f"r{depth}_{kind}_i{before}_o{after}" for depth, kind, before, after in shapes]
    model = EfficientNet(groups, width_coefficient=1.0, depth_coefficient=1.0, drop_connect_rate=0.0, **sizes)
    for module in model.modules():
        if "_swish" in module._modules:
            module._swish = torch.nn.ReLU6()
    return model


def to_monai(state, number):
    """Give our weights the names of MONAI, which names the group of a block, too."""
    groups = [group for group, depth in enumerate(SIZES[number][0]) for _ in range(depth)]
    renamed = {}
    for name, value in state.items():
        first, _, rest = name.partition(".")
        at, _, part = rest.partition(".")
        if first == "_blocks":
            name = f"_blocks.{groups[int(at)]}.{at}.{part}"
        renamed[name] = value
    return renamed


@pytest.mark.parametrize(("number", "dims", "size"), [(0, 2, 61), (0, 3, 32), (1, 2, 61), (2, 2, 61)])
def test_forward_equals_monai(number, dims, size):
    torch.manual_seed(0)
    ours = backbones.build(f"efficientnet_lite{number}", in_channels=2, spatial_dims=dims, image_size=size)
    for parameter in ours.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    ours(torch.randn(2, 2, *[48] * dims))  # running statistics that matter
    ours.eval()
    theirs = witness(number, dims, size).eval()
    left = theirs.load_state_dict(to_monai(ours.state_dict(), number), strict=False)
    assert set(left.missing_keys) == {"_fc.weight", "_fc.bias"}
    assert not left.unexpected_keys
    heard = []
    theirs._avg_pooling.register_forward_hook(lambda _module, inputs, _output: heard.append(inputs[0]))
    x = torch.randn(2, 2, *[size] * dims)
    with torch.no_grad():
        theirs(x)
        grid = ours(x).grid
    assert grid.std() > 0.1
    torch.testing.assert_close(grid, heard[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("number", "parameters"), [(0, 3_371_008), (1, 4_135_680), (2, 4_811_072)])
def test_sizes_are_those_of_the_package(number, parameters):
    with torch.device("meta"):
        model = backbones.build(f"efficientnet_lite{number}", in_channels=3, image_size=224)
    assert sum(p.numel() for p in model.parameters()) == parameters
    names = set(model.state_dict())
    assert {"_conv_stem.weight", "_bn0.running_var", "_blocks.0._depthwise_conv.weight", "_bn1.bias"} <= names
    assert {"_blocks.1._expand_conv.weight", "_blocks.1._bn2.weight", "_conv_head.weight"} <= names
    assert "_blocks.0._expand_conv.weight" not in names


def test_channels_are_rounded_to_eights():
    assert [rounded(c, 1.1) for c in (16, 24, 40, 80, 112, 192, 320)] == [16, 24, 48, 88, 120, 208, 352]
    assert rounded(16, 0.5) == 8
    assert rounded(24, 0.5) == 16  # 8 would be less than nine tenths of 12


def test_depth_follows_the_resolution():
    model = backbones.build("efficientnet_lite0", in_channels=1, image_size=64)
    depths = [model.layer_index(f"_blocks.{i}._bn1.weight") for i in range(16)]
    assert depths == [1] * 3 + [2] * 2 + [3] * 6 + [4] * 5
    assert (model.layer_index("_conv_stem.weight"), model.layer_index("_bn1.weight")) == (0, 5)
