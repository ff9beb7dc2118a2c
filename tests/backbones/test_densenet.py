import pytest
import torch
from monai.networks.nets import DenseNet121

from medssl import backbones
from medssl.backbones.weights import match


@pytest.mark.parametrize(("dims", "size"), [(2, 64), (3, 32)])
def test_it_is_monais_densenet_121(dims, size):
    torch.manual_seed(0)
    theirs = DenseNet121(spatial_dims=dims, in_channels=2, out_channels=3).eval()
    ours = backbones.build("densenet121", in_channels=2, spatial_dims=dims, image_size=size).eval()
    report = match(theirs.state_dict(), ours)
    assert (report["missing"], report["unused"]) == ([], ["class_layers.out.bias", "class_layers.out.weight"])
    x = torch.randn(2, 2, *[size] * dims)
    with torch.no_grad():
        torch.testing.assert_close(theirs.class_layers.out(ours(x).pooled), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("between", ["", "."])
def test_weights_of_torchvision_are_found_in_both_spellings(between):
    torch.manual_seed(0)
    original, ours = (backbones.build("densenet_nano", in_channels=1, image_size=64) for _ in range(2))
    theirs = {}
    for name, value in original.state_dict().items():
        for part in ("norm1", "conv1", "norm2", "conv2"):
            name = name.replace(f".layers.{part}", f".{part[:-1]}{between}{part[-1]}")
        theirs[name] = value
    assert f"features.denseblock2.denselayer1.norm{between}2.running_mean" in theirs
    assert match(theirs, ours)["missing"] == []
    assert all(torch.equal(v, original.state_dict()[n]) for n, v in ours.state_dict().items())


def test_size_and_widths_are_those_of_the_paper():
    with torch.device("meta"):
        model = backbones.build("densenet121", in_channels=3, image_size=224)
    assert sum(p.numel() for p in model.parameters()) == 6_953_856  # torchvision's without head
    assert model.stage_widths == (256, 512, 1024, 1024)
    assert model.layer_index("features.transition2.conv.weight") == 2
    assert model.layer_index("features.norm5.weight") == 4
