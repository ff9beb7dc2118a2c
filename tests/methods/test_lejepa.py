import numpy as np
import pytest
import torch
from scipy.integrate import quad

from medssl import backbones, methods
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.lejepa import sigreg
from medssl.methods.parts.wish import edges


def statistic(x):
    """The Epps-Pulley statistic of numbers x between -3 and 3 by adaptive integration."""

    def integrand(t):
        empirical = np.exp(1j * t * x).mean()
        return abs(empirical - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)

    return len(x) * quad(integrand, -3, 3, limit=200)[0]


def unit(*vector):
    v = torch.tensor(vector)
    return (v / v.norm())[:, None]


def test_agrees_with_adaptive_integration_for_each_view_and_direction():
    noise = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 9, 3, generator=noise, dtype=torch.float64) * 1.5 + 0.3
    directions = torch.cat([unit(1.0, 2.0, -1.0), unit(0.0, 1.0, 0.0)], dim=1).double()
    expected = np.mean([statistic((view @ a).numpy()) for view in embeddings for a in directions.T])
    assert expected > 0.1
    assert sigreg(embeddings, directions, points=201).item() == pytest.approx(expected, rel=1e-4)
    assert sigreg(embeddings, directions).item() == pytest.approx(expected, rel=2e-2)


def test_points_in_one_place_have_a_closed_form():
    """All at 0: N times the integral of (1 - g)^2 g over +-3 with g the normal's characteristic function."""
    expected = 4 * quad(lambda t: (1 - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2), -3, 3)[0]
    found = sigreg(torch.zeros(1, 4, 2, dtype=torch.float64), unit(1.0, 1.0).double(), points=401)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_gaussian_scores_lower_than_anything_else():
    noise = torch.Generator().manual_seed(1)
    normal = torch.randn(1, 2000, 2, generator=noise)
    directions = torch.cat([unit(1.0, 0.3), unit(-1.0, 2.0)], dim=1)
    good = sigreg(normal, directions)
    for other in (normal * 2, normal + 1, normal.sign(), torch.zeros_like(normal)):
        assert sigreg(other, directions) > 5 * good


def make(**settings):
    torch.manual_seed(0)
    overrides = {"patch_size": 8, "depth": 1}
    backbone = backbones.build("vit_nano", in_channels=1, image_size=64, overrides=overrides)
    return methods.build("lejepa", backbone, {"projection_width": 8, "directions": 16, **settings})


def views_of(method, count=4):
    return [torch.randn(count, 1, *edges(wish.size, (64, 64))) for wish in method.wish for _ in range(wish.count)]


def test_local_views_are_small_and_count():
    method = make(local_views=3)
    assert [(wish.count, wish.size, wish.crop_area) for wish in method.wish] == [
        (2, None, None),
        (3, (24, 24), (0.05, 0.4)),
    ]
    terms = method(views_of(method), Chance([0] * 4))
    expected = 0.98 * terms["agreement"] + 0.02 * terms["sigreg"]
    assert terms["loss"].item() == pytest.approx(expected.item())


def test_directions_are_new_at_each_step_and_the_same_again_after_resuming():
    method, views = make(), None
    views = views_of(method)
    first = method(views, Chance([0] * 4))["sigreg"]
    method.after_step(0, 10)
    second = method(views, Chance([0] * 4))["sigreg"]
    assert first != second
    again = make()
    again.load_state_dict(method.state_dict())
    for part in (method, again):
        part.eval()
    assert method(views, Chance([0] * 4))["sigreg"] == again(views, Chance([0] * 4))["sigreg"]


def test_what_cannot_work_is_refused():
    with pytest.raises(SettingsError, match="global_views to 2"):
        make(global_views=1)
    with pytest.raises(SettingsError, match="batch has 1 image"):
        make()(views_of(make(), count=1), Chance([0]))
