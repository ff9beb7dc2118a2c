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


def slow_lejepa(embeddings, directions, points):
    """Agreement and SIGReg of embeddings (V, N, D), one number after the other in float64."""
    views, images, width = embeddings.shape
    agreement = 0.0
    for n in range(images):
        centre = [sum(float(embeddings[v, n, d]) for v in range(views)) / views for d in range(width)]
        distances = [(float(embeddings[v, n, d]) - centre[d]) ** 2 for v in range(views) for d in range(width)]
        agreement += sum(distances) / (views * images * width)
    ts = [3 * i / (points - 1) for i in range(points)]
    statistics = []
    for view in embeddings.numpy():
        for a in directions.numpy().T:
            x = view @ a
            errors = [abs(np.exp(1j * t * x).mean() - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2) for t in ts]
            statistics.append(images * 2 * np.trapezoid(errors, ts))
    return agreement, np.mean(statistics)


def test_the_whole_forward_agrees_with_a_slow_version():
    """From pixels to loss in float64: two large and two small views, of which no two have one distribution."""
    method = make(local_views=2, trade_off=0.3, points=9).double()
    views = [view.double() * (1 + number) - number for number, view in enumerate(views_of(method, count=3))]
    with torch.no_grad():
        embeddings = method.projector(torch.cat([method.backbone(view).pooled for view in views])).reshape(4, 3, 8)
        terms = method(views, Chance([0] * 3))
    directions = method._directions(embeddings)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(16, dtype=torch.float64), atol=1e-6, rtol=0)
    agreement, gaussian = slow_lejepa(embeddings, directions, 9)
    assert terms["agreement"].item() == pytest.approx(agreement, rel=1e-9)
    assert terms["sigreg"].item() == pytest.approx(gaussian, rel=1e-9)
    assert terms["loss"].item() == pytest.approx(0.7 * agreement + 0.3 * gaussian, rel=1e-9)


def test_agreement_of_known_embeddings_is_a_closed_form(monkeypatch):
    """Views at 3 and 5 in every feature lie 1 from their mean, whatever the images; the views of an image that are one,
    0."""
    method, (first, second) = make(), views_of(make())
    image = torch.arange(4.0)[:, None]
    for apart in (2.0, 0.0):
        embedded = torch.cat([3 + image, 3 + apart + image]).expand(-1, 8)
        monkeypatch.setattr(method.projector, "forward", lambda _, embedded=embedded: embedded)
        terms = method([first, second], Chance([0] * 4))
        assert terms["agreement"].item() == pytest.approx((apart / 2) ** 2)


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
