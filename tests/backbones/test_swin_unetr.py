import pytest
import torch
from monai.networks.nets import SwinUNETR

from medssl import backbones
from medssl.backbones.weights import match
from medssl.errors import SettingsError


@pytest.mark.parametrize(("dims", "size"), [(2, 64), (3, 32)])
def test_it_is_the_encoder_of_monais_swinunetr(dims, size):
    torch.manual_seed(0)
    sizes = {"depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 4), "window_size": 4}
    theirs = SwinUNETR(in_channels=2, out_channels=3, feature_size=12, spatial_dims=dims, **sizes).eval()
    overrides = {"layers": (1, 2, 1, 1), "heads": (1, 2, 2, 4)}
    ours = backbones.build("swin_unetr_nano", in_channels=2, spatial_dims=dims, image_size=size, overrides=overrides)
    report = match({"state_dict": {f"module.{n}": v for n, v in theirs.state_dict().items()}}, ours)
    assert (report["prefix"], report["missing"], report["unused"]) == ("module.swinViT.", [], [])
    x = torch.randn(2, 2, *[size] * dims)
    with torch.no_grad():
        expected = theirs.swinViT(x, theirs.normalize)
        maps, features = ours.eval().stages(x), ours(x)
    for mine, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
    assert torch.equal(features.grid, maps[-1])


def test_monais_self_supervised_weights_are_found():
    torch.manual_seed(0)
    original, ours = (
        backbones.build("swin_unetr_nano", in_channels=1, spatial_dims=3, image_size=32) for _ in range(2)
    )
    theirs = {}
    for name, value in original.state_dict().items():
        name = name.removeprefix("net.").replace("mlp.linear", "mlp.fc")
        for stage in range(1, 5):
            name = name.replace(f"layers{stage}.0.", f"layers{stage}.0.0.")
        theirs[f"encoder.{name}"] = value
    theirs |= {"encoder.mask_token": torch.zeros(3), "encoder.norm.weight": torch.zeros(3)}
    assert "encoder.layers2.0.0.blocks.0.mlp.fc1.weight" in theirs
    report = match({"model": theirs}, ours)
    assert (report["missing"], report["unused"]) == ([], ["mask_token", "norm.weight"])
    assert all(torch.equal(v, original.state_dict()[n]) for n, v in ours.state_dict().items())


def test_size_is_that_of_the_paper():
    model = backbones.build("swin_unetr", in_channels=1, spatial_dims=3, image_size=96)
    theirs = SwinUNETR(in_channels=1, out_channels=2, feature_size=48, spatial_dims=3).swinViT
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert (model.width, model.stage_strides) == (768, (2, 4, 8, 16, 32))
    assert model.layer_index("net.layers3.0.blocks.0.norm1.weight") == 3


def test_heads_divide_the_channels():
    with pytest.raises(SettingsError, match=r"swin_unetr\.heads to divide 24 channels, but got 5"):
        backbones.build("swin_unetr_nano", in_channels=1, image_size=32, overrides={"heads": (1, 5, 1, 1)})


def test_without_einops_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"einops.*medssl\[swin\]"):
        backbones.build("swin_unetr_nano", in_channels=1, image_size=32)
