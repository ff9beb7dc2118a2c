import pytest
import torch
import torch.nn.functional as F
from transformers import ConvNextConfig, ConvNextModel

from medssl import backbones
from medssl.backbones.convnext import ChannelNorm
from medssl.backbones.weights import load_file, match

SMALL = {"layers": (1, 2, 2, 1), "widths": (8, 12, 16, 24)}


def small(**values):
    sizes = {"in_channels": 2, "image_size": 64} | values
    return backbones.build("convnext_nano", overrides=SMALL, **sizes).eval()


def randomised(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def to_the_authors(state):
    """Give our weights the names in the authors' files."""
    renamed = {}
    for name, value in state.items():
        name = name.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".").replace("conv_dw", "dwconv")
        first, _, rest = name.partition(".")
        stage, _, part = rest.partition(".")
        if first == "body" and part.startswith("downsample."):
            name = f"downsample_layers.{stage}.{part.removeprefix('downsample.')}"
        name = name.replace("body.", "stages.").replace("mlp.fc", "pwconv")
        renamed[name] = value
    return renamed


def test_forward_equals_transformers(tmp_path):
    config = ConvNextConfig(num_channels=2, depths=list(SMALL["layers"]), hidden_sizes=list(SMALL["widths"]))
    theirs = randomised(ConvNextModel(config))
    theirs.save_pretrained(tmp_path)
    ours = small()
    report = match(load_file(tmp_path / "model.safetensors"), ours)
    assert (report["missing"], report["unused"]) == ([], [])
    x = torch.randn(2, 2, 64, 96)
    with torch.no_grad():
        expected = theirs(x, output_hidden_states=True)
        pooled, grid = ours(x)
        maps = ours.stages(x)
    last = theirs.layernorm(expected.last_hidden_state.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(grid, last, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled, expected.pooler_output, atol=1e-5, rtol=1e-5)
    for mine, hidden in zip(maps, (*expected.hidden_states[1:-1], last), strict=True):
        torch.testing.assert_close(mine, hidden, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("convnext_tiny", 27_820_128), ("convnext_small", 49_454_688), ("convnext_base", 87_566_464)],
)
def test_sizes_are_the_authors(name, parameters):
    with torch.device("meta"):
        model = backbones.build(name, in_channels=3, image_size=224)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_weights_of_the_authors_and_of_timm_are_found():
    original = randomised(small())
    theirs = to_the_authors(original.state_dict())
    assert {"downsample_layers.0.0.weight", "downsample_layers.2.1.bias", "stages.2.1.pwconv2.weight"} <= set(theirs)
    timm = {n.replace("body.", "stages."): v for n, v in original.state_dict().items()}
    timm |= {f"head.{n}": timm.pop(n) for n in ("norm.weight", "norm.bias")}
    for state in ({"model": theirs}, timm):
        ours = small()
        assert match(state, ours)["missing"] == []
        assert all(torch.equal(v, original.state_dict()[n]) for n, v in ours.state_dict().items())


class SlowConvNext:
    """ConvNeXt for volumes, written out from the paper: convolutions are torch's own."""

    def __init__(self, state, layers):
        self.state, self.layers = state, layers

    def taken(self, name):
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]

    def norm(self, x, name):
        """Over the channels of each place."""
        mean = x.mean(dim=1, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=1, keepdim=True)
        weight, bias = (value.view(1, -1, *[1] * (x.ndim - 2)) for value in self.taken(name))
        return (x - mean) / (variance + 1e-6).sqrt() * weight + bias

    def linear(self, x, name):
        weight, bias = self.taken(name)
        return torch.einsum("oc,bcxyz->boxyz", weight, x) + bias.view(1, -1, 1, 1, 1)

    def block(self, x, name):
        weight, bias = self.taken(f"{name}.conv_dw")
        branch = F.conv3d(x, weight, bias, padding=3, groups=x.shape[1])
        hidden = self.linear(self.norm(branch, f"{name}.norm"), f"{name}.mlp.fc1")
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        return x + self.state[f"{name}.gamma"].view(1, -1, 1, 1, 1) * self.linear(hidden, f"{name}.mlp.fc2")

    def maps(self, x):
        """Before the last norm."""
        x = self.norm(F.conv3d(x, *self.taken("stem.0"), stride=4), "stem.1")
        maps = []
        for stage, count in enumerate(self.layers):
            if stage:
                halve = f"body.{stage}.downsample"
                x = F.conv3d(self.norm(x, f"{halve}.0"), *self.taken(f"{halve}.1"), stride=2)
            for at in range(count):
                x = self.block(x, f"body.{stage}.blocks.{at}")
            maps.append(x)
        return maps


def test_forward_in_3d_equals_a_slow_version():
    ours = randomised(small(spatial_dims=3, image_size=(32, 64, 32))).double()
    x, slow = torch.randn(2, 2, 32, 64, 32).double(), SlowConvNext(ours.state_dict(), SMALL["layers"])
    with torch.no_grad():
        expected = slow.maps(x)
        pooled, grid = ours(x)
        maps = ours.stages(x)
        last, mean = slow.norm(expected[-1], "norm"), expected[-1].mean(dim=(2, 3, 4))
        torch.testing.assert_close(pooled, slow.norm(mean, "norm"), atol=1e-9, rtol=1e-9)
    assert grid.shape == (2, 24, 1, 2, 1)
    torch.testing.assert_close(grid, last, atol=1e-9, rtol=1e-9)
    for mine, other in zip(maps, (*expected[:-1], last), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-9)


def test_maps_that_do_not_divide_get_zeros_at_their_end():
    model, x = randomised(small()), torch.randn(1, 2, 61, 64)
    whole = F.pad(x, (0, 0, 1, 2))
    with torch.no_grad():  # of 3 zeros, 1 stands before and 2 behind
        torch.testing.assert_close(model(x).grid, model(whole).grid, atol=1e-5, rtol=1e-5)
    assert model(torch.randn(1, 2, 9, 20)).grid.shape == (1, 24, 1, 1)


def test_channel_norm_is_over_channels():
    norm = ChannelNorm(6)
    x = norm(torch.randn(2, 6, 3, 4) * 5 + 1)
    assert torch.allclose(x.mean(dim=1), torch.zeros(2, 3, 4), atol=1e-5)
