import pytest
import torch
from monai.networks.nets import ResNet
from transformers import ResNetConfig, ResNetModel

from medssl import backbones


def from_transformers(state, bottleneck):
    """Rename the weights of transformers' ResNetModel to torchvision's names."""
    layer, renamed = ("conv{}", "bn{}"), {}
    for name, value in state.items():
        name = name.replace("embedder.embedder.convolution", "conv1").replace("embedder.embedder.normalization", "bn1")
        if name.startswith("encoder"):
            _, _, stage, _, block, part, *rest = name.split(".")
            new = f"layer{int(stage) + 1}.{block}."
            if part == "shortcut":
                new += f"downsample.{0 if rest[0] == 'convolution' else 1}.{rest[1]}"
            else:
                new += layer[rest[1] == "normalization"].format(int(rest[0]) + 1) + f".{rest[2]}"
            name = new
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_forward_equals_transformers(block):
    torch.manual_seed(0)
    wide = 4 if block == "bottleneck" else 1
    config = ResNetConfig(
        num_channels=2,
        embedding_size=8,
        hidden_sizes=[8 * wide, 16 * wide, 32 * wide, 64 * wide],
        depths=[1, 2, 1, 1],
        layer_type=block,
    )
    theirs = ResNetModel(config).train()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(4, 2, 64, 96)
    theirs(x)  # running statistics that matter
    name = "resnet50" if block == "bottleneck" else "resnet18"
    overrides = {"layers": (1, 2, 1, 1), "stem_width": 8}
    ours = backbones.build(name, in_channels=2, image_size=(64, 96), overrides=overrides).eval()
    # transformers puts a projection on the first shortcut whenever the width changes, as torchvision does
    ours.load_state_dict(from_transformers(theirs.state_dict(), block == "bottleneck"))
    with torch.no_grad():
        expected = theirs.eval()(x)
        features = ours(x)
    assert features.grid.std() > 0.1
    torch.testing.assert_close(features.grid, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features.pooled, expected.pooler_output.flatten(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("training", [True, False])
def test_forward_in_3d_equals_monai(block, training):
    """monai.networks.nets.ResNet with the same weights, in float64: maps of all stages, features, running statistics.

    Its shortcut of type B without bias is the paper's, and its stem strides as ours when told to.
    """
    torch.manual_seed(0)
    theirs = ResNet(
        block, [1, 2, 1, 1], [8, 16, 32, 64], n_input_channels=2, conv1_t_stride=2, shortcut_type="B",
        feed_forward=False, bias_downsample=False,
    ).double()  # fmt: skip
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs(torch.randn(2, 2, 32, 32, 32).double())  # running statistics that matter
    name = "resnet50" if block == "bottleneck" else "resnet18"
    overrides = {"layers": (1, 2, 1, 1), "stem_width": 8}
    ours = backbones.build(name, in_channels=2, spatial_dims=3, image_size=(24, 40, 33), overrides=overrides).double()
    ours.load_state_dict(theirs.state_dict())
    expected = []
    for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        stage.register_forward_hook(lambda stage, inputs, output: expected.append(output))
    x = torch.randn(2, 2, 24, 40, 33).double() * 2 + 1
    with torch.no_grad():
        pooled = theirs.train(training)(x)
        features = ours.train(training)(x)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), atol=1e-9, rtol=1e-9)
        ours.load_state_dict(theirs.state_dict())
        maps = ours.stages(x)
    assert features.grid.std() > 0.1
    torch.testing.assert_close(features.pooled, pooled, atol=1e-9, rtol=1e-9)
    for mine, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "parameters", "width"),
    [
        ("resnet18", 11_176_512, 512),
        ("resnet34", 21_284_672, 512),
        ("resnet50", 23_508_032, 2048),
        ("resnet101", 42_500_160, 2048),
        ("resnet152", 58_143_808, 2048),
    ],
)
def test_sizes_are_torchvisions(name, parameters, width):
    with torch.device("meta"):
        model = backbones.build(name, in_channels=3, image_size=224)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.width == width


def test_parameters_have_torchvisions_names_and_a_depth():
    model = backbones.build("resnet50", in_channels=1, image_size=64, overrides={"stem_width": 4})
    names = dict(model.named_parameters())
    assert {"conv1.weight", "bn1.bias", "layer1.0.conv3.weight", "layer1.0.downsample.0.weight"} <= set(names)
    assert {"layer4.2.bn3.weight", "layer3.5.conv1.weight"} <= set(names)
    assert model.layer_index("bn1.bias") == 0
    assert model.layer_index("layer3.5.conv1.weight") == 3
    assert model.layer_count == 6


def test_a_fresh_block_is_its_shortcut():
    model = backbones.build("resnet18", in_channels=1, image_size=64, overrides={"stem_width": 4})
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(model.layer1[0](x.clone()), x)
