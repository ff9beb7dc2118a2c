import pytest
import torch

from medssl import backbones, methods
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.vicreg import vicreg


def slow(first, second):
    """All three terms by loops in float64."""
    a, b = first.double(), second.double()
    count, width = a.shape
    distance = sum(float((a[i, j] - b[i, j]) ** 2) for i in range(count) for j in range(width)) / (count * width)
    spread, covariance = 0.0, 0.0
    for z in (a, b):
        means = [float(z[:, j].sum()) / count for j in range(width)]
        for j in range(width):
            variance = sum((float(z[i, j]) - means[j]) ** 2 for i in range(count)) / (count - 1)
            spread += max(0.0, 1 - (variance + 1e-4) ** 0.5) / width / 2
            for k in range(width):
                if k != j:
                    products = [(float(z[i, j]) - means[j]) * (float(z[i, k]) - means[k]) for i in range(count)]
                    covariance += (sum(products) / (count - 1)) ** 2 / width
    return {"invariance": distance, "variance": spread, "covariance": covariance}


def test_agrees_with_a_slow_version():
    noise = torch.Generator().manual_seed(2)
    first = torch.randn(7, 4, generator=noise) * torch.tensor([0.1, 0.5, 1.0, 2.0]) + 3
    second = first[:, [1, 0, 2, 3]] * 0.7 + torch.randn(7, 4, generator=noise) * 0.2
    terms = vicreg(first, second)
    for name, value in slow(first, second).items():
        assert value > 0.01, name
        assert terms[name].item() == pytest.approx(value, rel=1e-5), name


def test_closed_form():
    """Two rows at +-1: variance 2 and covariance 2 between two equal features; a constant has variance 0."""
    z = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    same = vicreg(z, z)
    assert same["invariance"].item() == 0
    assert same["variance"].item() == 0
    assert same["covariance"].item() == pytest.approx(2 * 2 * 2**2 / 2)
    still = vicreg(torch.ones(4, 3), torch.full((4, 3), 2.0))
    assert still["invariance"].item() == 1
    assert still["variance"].item() == pytest.approx(1 - 0.01)
    assert still["covariance"].item() == 0


def test_the_whole_forward_agrees_with_the_slow_version():
    """From pixels to loss in float64; batch norm of the expander sees both views, and each view is its own Z."""
    torch.manual_seed(1)
    backbone = backbones.build("vit_nano", in_channels=1, image_size=16, overrides={"patch_size": 8, "depth": 1})
    method = methods.build("vicreg", backbone, {"invariance": 2, "variance": 3, "covariance": 5, "expander_width": 6})
    method.double()
    views = [torch.randn(5, 1, 16, 16, dtype=torch.float64), torch.randn(5, 1, 16, 16, dtype=torch.float64) * 3 + 1]
    z = torch.cat([method.backbone(view).pooled for view in views])
    for layer in method.expander:
        if isinstance(layer, torch.nn.Linear):
            z = z @ layer.weight.T
        elif isinstance(layer, torch.nn.BatchNorm1d):
            z = (z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + layer.eps).sqrt() * layer.weight + layer.bias
        else:
            z = z * (z > 0)
    expected, terms = slow(z[:5].detach(), z[5:].detach()), method(views, Chance([0] * 5))
    assert min(expected.values()) > 0.01
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-9), name
    weighted = 2 * expected["invariance"] + 3 * expected["variance"] + 5 * expected["covariance"]
    assert terms["loss"].item() == pytest.approx(weighted, rel=1e-9)


def test_the_expander_is_the_papers_for_a_resnet50():
    with torch.device("meta"):
        method = methods.build("vicreg", backbones.build("resnet50", in_channels=3, image_size=224))
    widths = [layer.out_features for layer in method.expander if isinstance(layer, torch.nn.Linear)]
    assert widths == [8192, 8192, 8192]


def test_the_weights_multiply_their_terms():
    torch.manual_seed(0)
    backbone = backbones.build("vit_nano", in_channels=1, image_size=16, overrides={"patch_size": 8, "depth": 1})
    method = methods.build("vicreg", backbone, {"invariance": 2, "variance": 3, "covariance": 5, "expander_width": 6})
    terms = method([torch.randn(4, 1, 16, 16), torch.randn(4, 1, 16, 16)], Chance([0] * 4))
    expected = 2 * terms["invariance"] + 3 * terms["variance"] + 5 * terms["covariance"]
    assert terms["loss"].item() == pytest.approx(expected.item())
    with pytest.raises(SettingsError, match="batch has 1 image"):
        method([torch.randn(1, 1, 16, 16)] * 2, Chance([0]))
