import pytest
import torch
from transformers import ConvNextConfig, ConvNextModel

from medssl import backbones
from medssl.backbones.convnext import Block, ChannelNorm
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


def test_a_block_in_3d_follows_its_formula():
    block = randomised(Block(3, 4, 1e-6, 0.0))
    x = torch.randn(2, 4, 5, 6, 7)
    branch = block.conv_dw(x)
    mean, variance = branch.mean(dim=1, keepdim=True), branch.var(dim=1, keepdim=True, correction=0)
    shape = (1, -1, 1, 1, 1)
    branch = (branch - mean) / (variance + 1e-6).sqrt() * block.norm.weight.view(shape) + block.norm.bias.view(shape)
    hidden = torch.einsum("oc,bcxyz->boxyz", block.mlp.fc1.weight, branch) + block.mlp.fc1.bias.view(shape)
    out = torch.einsum("oc,bcxyz->boxyz", block.mlp.fc2.weight, torch.nn.functional.gelu(hidden))
    expected = x + block.gamma.view(shape) * (out + block.mlp.fc2.bias.view(shape))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_maps_that_do_not_divide_get_zeros_at_their_end():
    model, x = randomised(small()), torch.randn(1, 2, 61, 64)
    whole = torch.nn.functional.pad(x, (0, 0, 1, 2))
    with torch.no_grad():  # of 3 zeros, 1 stands before and 2 behind
        torch.testing.assert_close(model(x).grid, model(whole).grid, atol=1e-5, rtol=1e-5)
    assert model(torch.randn(1, 2, 9, 20)).grid.shape == (1, 24, 1, 1)


def test_channel_norm_is_over_channels():
    norm = ChannelNorm(6)
    x = norm(torch.randn(2, 6, 3, 4) * 5 + 1)
    assert torch.allclose(x.mean(dim=1), torch.zeros(2, 3, 4), atol=1e-5)
