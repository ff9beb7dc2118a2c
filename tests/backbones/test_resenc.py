import pytest
import torch
import torch.nn.functional as F
from monai.networks.blocks.dynunet_block import UnetResBlock

from medssl import backbones
from medssl.backbones.resenc import Block
from medssl.backbones.weights import match
from medssl.errors import SettingsError

SMALL = {"layers": (1, 2, 2, 1), "widths": (4, 6, 8, 8)}
PUBLISHED = {  # ResidualEncoder of dynamic-network-architectures 0.4.4 with the same weights and image
    2: [0.82861525, 0.83991241, 0.72860014, 0.55973113, 0.40872127, 0.37637377, 0.50030088, 0.64885426],
    3: [0.87532955, 0.86716163, 0.89327377, 0.69472003, 0.27768630, 0.32890236, 0.62362933, 0.76794946],
}


def small(dims=2, size=32):
    return backbones.build("resenc_nano", in_channels=2, spatial_dims=dims, image_size=size, overrides=SMALL).eval()


@torch.no_grad()
def fill(state):
    """Set weights by a formula."""
    for at, (name, tensor) in enumerate(sorted(state.items())):
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + at).view(tensor.shape)
        scale = (4 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.3
        tensor.copy_(wave * scale + (0.8 if name.endswith("norm.weight") else 0))


@pytest.mark.parametrize("dims", [2, 3])
def test_features_are_those_of_nnunets_library(dims):
    model = small(dims)
    fill(model.state_dict())
    shape = (2, 2, *[32] * dims)
    x = torch.sin(torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * 0.37).float().view(shape)
    with torch.no_grad():
        pooled = model(x).pooled[0]
    torch.testing.assert_close(pooled, torch.tensor(PUBLISHED[dims]), atol=1e-5, rtol=1e-5)


def slow_stages(state, layers, x):
    """The residual encoder, written out: convolutions and pools are torch's own."""
    dims = x.ndim - 2
    convolve, average = (F.conv2d, F.avg_pool2d) if dims == 2 else (F.conv3d, F.avg_pool3d)

    def layer(x, name, stride=1):
        kernel = state[f"{name}.conv.weight"]
        x = convolve(x, kernel, state.get(f"{name}.conv.bias"), stride=stride, padding=kernel.shape[-1] // 2)
        axes = list(range(2, x.ndim))  # of each image and channel
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
        weight, bias = (state[f"{name}.norm.{kind}"].view(1, -1, *[1] * dims) for kind in ("weight", "bias"))
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def leaky(x):
        return torch.where(x > 0, x, x / 100)

    x, maps = leaky(layer(x, "stem.convs.0")), []
    for stage, count in enumerate(layers):
        for at in range(count):
            name, stride = f"body.{stage}.blocks.{at}", 2 if stage and not at else 1
            shortcut = average(x, 2) if stride == 2 else x
            projected = f"{name}.skip.{stride - 1}"
            if f"{projected}.conv.weight" in state:
                shortcut = layer(shortcut, projected)
            x = leaky(layer(leaky(layer(x, f"{name}.conv1", stride)), f"{name}.conv2") + shortcut)
        maps.append(x)
    return maps


@pytest.mark.parametrize("size", [(32, 48), (16, 24, 32)])
def test_stages_agree_with_a_slow_version(size):
    torch.manual_seed(0)
    model = small(len(size), size).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 2, *size).double() + 1
    with torch.no_grad():
        expected, maps = slow_stages(model.state_dict(), SMALL["layers"], x), model.stages(x)
        pooled = model(x).pooled
    assert expected[-1].std() > 0.1
    for mine, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(pooled, expected[-1].flatten(2).mean(dim=2), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_block_without_stride_equals_monais(dims):
    torch.manual_seed(0)
    ours, theirs = Block(dims, (4, 6), 1), UnetResBlock(dims, 4, 6, 3, 1, ("instance", {"affine": True}))
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for layer in (ours.conv1, ours.conv2):
        torch.nn.init.zeros_(layer.conv.bias)  # MONAI's have none, and the norm takes it away
    pairs = [(theirs.conv1, theirs.norm1, ours.conv1), (theirs.conv2, theirs.norm2, ours.conv2)]
    for conv, norm, layer in [*pairs, (theirs.conv3, theirs.norm3, ours.skip[0])]:
        conv.conv.weight.data = layer.conv.weight.data
        norm.weight.data, norm.bias.data = layer.norm.weight.data, layer.norm.bias.data
    x = torch.randn(2, 4, *[9] * dims)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_the_shortcut_averages_where_the_resolution_falls():
    block = small().body[3]["blocks"][0]  # fresh: the branch ends with a norm of weight 0
    x = torch.randn(2, 8, 6, 8)
    torch.testing.assert_close(block(x), F.leaky_relu(F.avg_pool2d(x, 2), 0.01))


def test_weights_of_nnunet_are_found_though_each_is_saved_twice():
    torch.manual_seed(0)
    original, ours = small(), small()
    theirs = {}
    for name, value in original.state_dict().items():
        name = name.replace("body.", "stages.")
        twice = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        for place in ("encoder.", "decoder.encoder."):
            theirs |= {place + name: value, place + twice: value}
    assert "encoder.stages.1.blocks.0.skip.1.all_modules.0.weight" in theirs
    report = match({"network_weights": theirs, "current_epoch": 1000}, ours)
    assert (report["place"], report["prefix"], report["missing"]) == ("network_weights", "encoder.", [])
    assert all(torch.equal(v, original.state_dict()[n]) for n, v in ours.state_dict().items())


def test_size_is_nnunets():
    with torch.device("meta"):
        model = backbones.build("resenc_l", in_channels=2, spatial_dims=3, image_size=96)
    assert sum(p.numel() for p in model.parameters()) == 90_297_440
    assert model.stage_strides == (1, 2, 4, 8, 16, 32)


def test_images_and_settings_that_do_not_fit_are_refused_in_a_sentence():
    with pytest.raises(SettingsError, match=r"32 x 32 x 32 shrinks to a single place.*larger than 32.*resenc\.layers"):
        backbones.build("resenc_l", in_channels=1, spatial_dims=3, image_size=32)
    with pytest.raises(SettingsError, match=r"as many resenc\.widths as resenc\.layers, 4, but got 3"):
        backbones.build("resenc_nano", in_channels=1, image_size=32, overrides={"widths": (8, 8, 8)})
