import pytest
import torch
import torch.nn.functional as F
from transformers import BitConfig, BitModel

from medssl import backbones
from medssl.backbones.bit import StandardConv3d, standardised
from medssl.backbones.weights import load_file, match
from medssl.errors import SettingsError

SMALL = {"layers": (1, 2, 1, 2), "stem_width": 16, "groups": 4}


def small(**values):
    sizes = {"in_channels": 2, "image_size": 64} | values
    return backbones.build("bit_nano", overrides=SMALL, **sizes).eval()


def randomised(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("size", [(64, 96), (50, 39)])
def test_forward_equals_transformers(tmp_path, size):
    config = BitConfig(
        num_channels=2,
        embedding_size=16,
        hidden_sizes=[64, 128, 256, 512],
        depths=list(SMALL["layers"]),
        num_groups=4,
    )
    theirs = randomised(BitModel(config))
    theirs.save_pretrained(tmp_path)
    ours = small()
    report = match(load_file(tmp_path / "model.safetensors"), ours)
    assert (report["missing"], report["unused"]) == ([], [])
    x = torch.randn(2, 2, *size)
    with torch.no_grad():
        expected = theirs(x, output_hidden_states=True)
        pooled, grid = ours(x)
        maps = ours.stages(x)
    torch.testing.assert_close(grid, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled, expected.pooler_output.flatten(1), atol=1e-5, rtol=1e-5)
    for mine, hidden in zip(maps[:-1], expected.hidden_states[1:-1], strict=True):
        torch.testing.assert_close(mine, hidden, atol=1e-5, rtol=1e-5)


class SlowBit:
    """BiT for volumes, written out from the paper and its code (resnetv2): convolutions and pools are torch's own."""

    def __init__(self, state, layers, groups):
        self.state, self.layers, self.groups = state, layers, groups

    def conv(self, x, name, stride=1):
        """Each kernel less its mean, over its deviation; zeros around it."""
        kernels = []
        for kernel in self.state[f"{name}.weight"]:
            deviation = ((kernel - kernel.mean()) ** 2).mean()
            kernels.append((kernel - kernel.mean()) / (deviation + 1e-8).sqrt())
        return F.conv3d(x, torch.stack(kernels), stride=stride, padding=kernels[0].shape[-1] // 2)

    def active(self, x, name):
        """Group norm over channels that stand side by side, and all their places; then what is above 0."""
        size = x.shape[1] // self.groups
        parts = []
        for start in range(0, x.shape[1], size):
            part = x[:, start : start + size]
            mean = part.mean(dim=(1, 2, 3, 4), keepdim=True)
            variance = ((part - mean) ** 2).mean(dim=(1, 2, 3, 4), keepdim=True)
            parts.append((part - mean) / (variance + 1e-5).sqrt())
        weight, bias = (self.state[f"{name}.{kind}"].view(1, -1, 1, 1, 1) for kind in ("weight", "bias"))
        return (torch.cat(parts, dim=1) * weight + bias).clamp(min=0)

    def block(self, x, name, stride):
        before = self.active(x, f"{name}.norm1")
        first = f"{name}.downsample.conv"
        shortcut = self.conv(before, first, stride) if f"{first}.weight" in self.state else x
        x = self.conv(before, f"{name}.conv1")
        x = self.conv(self.active(x, f"{name}.norm2"), f"{name}.conv2", stride)
        return shortcut + self.conv(self.active(x, f"{name}.norm3"), f"{name}.conv3")

    def stages(self, x):
        x = self.conv(x, "stem.conv", 2)
        around = x.new_zeros(*x.shape[:2], *(edge + 2 for edge in x.shape[2:]))
        around[:, :, 1:-1, 1:-1, 1:-1] = x
        x, maps = F.max_pool3d(around, 3, 2), []
        for stage, count in enumerate(self.layers):
            for at in range(count):
                x = self.block(x, f"body.{stage}.{at}", 2 if stage and not at else 1)
            maps.append(x)
        return [*maps[:-1], self.active(x, "norm")]


def test_forward_in_3d_equals_a_slow_version():
    overrides = {"layers": (1, 2, 1, 1), "stem_width": 8, "groups": 4}
    ours = backbones.build("bit_nano", in_channels=2, spatial_dims=3, image_size=(24, 40, 33), overrides=overrides)
    randomised(ours).double()
    x = torch.randn(2, 2, 24, 40, 33).double() + 5  # so that borders of the stem are below the zeros around them
    with torch.no_grad():
        expected = SlowBit(ours.state_dict(), overrides["layers"], 4).stages(x)
        maps, features = ours.stages(x), ours(x)
    assert expected[-1].std() > 0.05
    for mine, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(features.pooled, expected[-1].mean(dim=(2, 3, 4)), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "depths", "factor"),
    [
        ("bit_50x1", [3, 4, 6, 3], 1),
        ("bit_101x1", [3, 4, 23, 3], 1),
        ("bit_50x3", [3, 4, 6, 3], 3),
        ("bit_152x2", [3, 8, 36, 3], 2),
    ],
)
def test_sizes_are_those_of_transformers(name, depths, factor):
    widths = [256 * factor * 2**i for i in range(4)]
    with torch.device("meta"):
        ours = backbones.build(name, in_channels=3, image_size=224)
        theirs = BitModel(BitConfig(depths=depths, hidden_sizes=widths, embedding_size=64 * factor))
    shapes = [sorted(tuple(p.shape) for p in model.parameters()) for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.width == 2048 * factor
    if name == "bit_50x1":  # timm's count for resnetv2_50x1_bit without its head
        assert sum(p.numel() for p in ours.parameters()) == 23_500_352


def test_weights_of_timm_are_found():
    original = randomised(small())
    timm = {}
    for name, value in original.state_dict().items():
        first, _, rest = name.partition(".")
        stage, _, block = rest.partition(".")
        timm[f"stages.{stage}.blocks.{block}" if first == "body" else name] = value
    assert {"stages.1.blocks.0.downsample.conv.weight", "stages.3.blocks.1.norm2.bias", "stem.conv.weight"} <= set(timm)
    ours = small()
    head = {"head.fc.weight": torch.zeros(3, 512, 1, 1), "head.fc.bias": torch.zeros(3)}
    report = match(timm | head, ours)
    assert (report["missing"], report["unused"]) == ([], sorted(head))
    assert all(torch.equal(v, original.state_dict()[n]) for n, v in ours.state_dict().items())


def test_kernels_have_mean_0_and_variance_1_for_each_output():
    weight = torch.randn(5, 3, 3, 3, 3) * 4 + 2
    kernels = standardised(weight).flatten(1)
    torch.testing.assert_close(kernels.mean(dim=1), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernels.var(dim=1, correction=0), torch.ones(5), atol=1e-5, rtol=0)
    conv = StandardConv3d(3, 5, 3, bias=False)
    x = torch.randn(1, 3, 4, 4, 4)
    before = conv(x)
    conv.weight.data.mul_(7).add_(3)
    torch.testing.assert_close(conv(x), before, atol=1e-4, rtol=1e-4)


def test_an_image_s_features_do_not_depend_on_its_batch_in_training():
    model = small().train()
    x = torch.randn(3, 2, 64, 64)
    torch.testing.assert_close(model(x).pooled[1:2], model(x[1:2]).pooled, atol=1e-5, rtol=1e-5)


def test_groups_divide_the_stem():
    with pytest.raises(SettingsError, match=r"bit\.groups.*8.*5"):
        backbones.build("bit_nano", in_channels=1, image_size=32, overrides={"groups": 5})
