import pytest
import torch
from monai.networks.nets import MedNeXt
from monai.networks.nets.mednext import create_mednext

from medssl import backbones
from medssl.backbones.weights import match
from medssl.errors import SettingsError


def monais(dims):
    counts = {"blocks_down": (1, 2, 1, 1), "blocks_bottleneck": 1, "blocks_up": (1, 1, 1, 1)}
    factors = {"encoder_expansion_ratio": (2, 3, 2, 2), "bottleneck_expansion_ratio": 4}
    return MedNeXt(dims, 4, 2, 3, kernel_size=3, use_residual_connection=True, **counts, **factors)


def small(dims):
    overrides = {"layers": (1, 2, 1, 1, 1), "expansion": (2, 3, 2, 2, 4), "stem_width": 4}
    sizes = {"in_channels": 2, "spatial_dims": dims, "image_size": 32}
    return backbones.build("mednext_nano", overrides=overrides, **sizes)


@pytest.mark.parametrize("dims", [2, 3])
def test_it_is_the_encoder_of_monais_mednext(dims):
    torch.manual_seed(0)
    theirs, ours = monais(dims).eval(), small(dims).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    report = match(theirs.state_dict(), ours)
    assert report["missing"] == []
    assert all(name.startswith(("up_blocks.", "dec_stages.", "out_0.")) for name in report["unused"])
    heard = []
    for module in (*theirs.enc_stages, theirs.bottleneck):
        module.register_forward_hook(lambda _module, _inputs, output: heard.append(output))
    x = torch.randn(2, 2, *[32] * dims)
    with torch.no_grad():
        theirs(x)
        maps = ours.stages(x)
    for mine, expected in zip(maps, heard, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)


def test_weights_of_the_authors_are_found():
    torch.manual_seed(0)
    original, ours = small(3), small(3)
    theirs = {n.replace("enc_stages.", "enc_block_"): v for n, v in original.state_dict().items()}
    theirs = {n.replace("down_blocks.", "down_"): v for n, v in theirs.items()}
    assert {"enc_block_1.1.conv2.weight", "down_3.res_conv.bias", "bottleneck.0.norm.weight"} <= set(theirs)
    assert match(theirs, ours)["missing"] == []
    assert all(torch.equal(v, original.state_dict()[n]) for n, v in ours.state_dict().items())


@pytest.mark.parametrize("variant", ["small", "base", "medium", "large"])
def test_sizes_are_monais(variant):
    with torch.device("meta"):
        ours = backbones.build(f"mednext_{variant}", in_channels=1, spatial_dims=3, image_size=96)
        theirs = create_mednext(variant[0].upper())
    encoder = ("stem.", "enc_stages.", "down_blocks.", "bottleneck.")
    shapes = {n: p.shape for n, p in theirs.named_parameters() if n.startswith(encoder)}
    assert {n: p.shape for n, p in ours.named_parameters()} == shapes


def test_small_images_are_refused_in_a_sentence():
    with pytest.raises(SettingsError, match=r"16 x 16 shrinks to a single place.*larger than 16"):
        backbones.build("mednext_small", in_channels=1, image_size=16)


def test_narrow_networks_keep_away_from_onednns_fault():
    model = backbones.build("mednext_nano", in_channels=1, image_size=64, overrides={"stem_width": 8})
    images = torch.randn(2, 1, 64, 64).contiguous(memory_format=torch.channels_last)
    model(images).pooled.square().sum().backward()  # with channels last the process died here
    assert torch.isfinite(model.stem.weight.grad).all()
