import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import ContrastiveLoss

from medssl import backbones, methods
from medssl.chance import Chance
from medssl.errors import SettingsError
from medssl.methods.parts.heads import projection_head
from medssl.methods.simclr import nt_xent, random_negatives, triplet


def slow_nt_xent(first, second, temperature, kin=None):
    """Equation 1 of the paper in float64, one pair and one direction after the other; kin is nobody's negative."""
    kin = list(range(len(first))) if kin is None else kin
    views = [v / v.norm() for v in torch.cat([first, second]).double()]
    n = len(first)
    total = 0.0
    for i in range(2 * n):
        j = i + n if i < n else i - n
        numerator = math.exp(float(views[i] @ views[j]) / temperature)
        denominator = sum(
            math.exp(float(views[i] @ views[k]) / temperature)
            for k in range(2 * n)
            if k == j or kin[k % n] != kin[i % n]
        )
        total -= math.log(numerator / denominator)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("n", [2, 5])
def test_loss_equals_the_slow_loop(n, temperature):
    torch.manual_seed(n)
    first, second = torch.randn(n, 7) * 3, torch.randn(n, 7) + 0.5
    loss = nt_xent(first, second, temperature)["loss"]
    assert float(loss) == pytest.approx(slow_nt_xent(first, second, temperature), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_equals_monais_contrastive_loss(temperature):
    """monai.losses.ContrastiveLoss, NT-Xent by another hand: value and gradients in float64, where all contrast."""
    torch.manual_seed(0)
    views = [(torch.randn(5, 7).double() * 3 + shift).requires_grad_() for shift in (0.0, 0.5)]
    loss = nt_xent(*views, temperature)["loss"]
    expected = ContrastiveLoss(temperature=temperature)(*views)
    # MONAI keeps its temperature in float32
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    for mine, theirs in zip(torch.autograd.grad(loss, views), torch.autograd.grad(expected, views), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kin", [[0, 0, 1, 2, 1], [4, 4, 4, 4, 9], [7, 7, 7, 7, 7], [0, 1, 2, 3, 4]])
def test_images_of_a_patient_are_not_contrasted(kin):
    torch.manual_seed(1)
    first, second = torch.randn(5, 7) * 3, torch.randn(5, 7) + 0.5
    terms = nt_xent(first, second, 0.3, torch.tensor(kin))
    assert float(terms["loss"]) == pytest.approx(slow_nt_xent(first, second, 0.3, kin), rel=1e-5, abs=1e-6)
    assert torch.isfinite(torch.stack(list(terms.values()))).all()


def test_loss_of_orthogonal_images_is_a_closed_form():
    views = torch.eye(4)[:3]  # three images; both views of an image equal, images orthogonal
    t = 0.3
    expected = -math.log(math.exp(1 / t) / (math.exp(1 / t) + 4))
    terms = nt_xent(views, 5 * views, t)
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(terms["positive_similarity"]) == pytest.approx(1.0)
    assert float(terms["contrast_accuracy"]) == 1.0


def test_loss_of_equal_views_is_the_logarithm_of_the_others():
    assert float(nt_xent(torch.ones(4, 3), torch.ones(4, 3), 0.1)["loss"]) == pytest.approx(math.log(7), rel=1e-5)


def test_both_directions_count_and_pairs_are_by_row():
    torch.manual_seed(0)
    first, second = torch.randn(4, 6), torch.randn(4, 6)
    forth, back = nt_xent(first, second, 0.2), nt_xent(second, first, 0.2)
    assert float(forth["loss"]) == pytest.approx(float(back["loss"]), rel=1e-6)
    assert float(nt_xent(first, second.roll(1, 0), 0.2)["loss"]) != pytest.approx(float(forth["loss"]), rel=1e-3)
    first.requires_grad_()
    second.requires_grad_()
    nt_xent(first, second, 0.2)["loss"].backward()
    assert first.grad.abs().min() > 0
    assert second.grad.abs().min() > 0


def test_terms_are_those_of_the_worst_case():
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    terms = nt_xent(first, first.flip(0), 0.1)  # each view's double belongs to the other image
    assert float(terms["positive_similarity"]) == pytest.approx(0.0)
    assert float(terms["contrast_accuracy"]) == 0.0


def test_autocast_does_not_round_the_similarities():
    torch.manual_seed(0)
    first, second = torch.randn(8, 16), torch.randn(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = nt_xent(first, second, 0.05)["loss"]
    assert torch.equal(rounded, nt_xent(first, second, 0.05)["loss"])


def simclr(**settings):
    backbone = backbones.build(
        "resnet18", in_channels=1, image_size=32, overrides={"stem_width": 4, "layers": (1, 1, 1, 1)}
    )
    return methods.build("simclr", backbone, settings)


def test_the_head_is_the_papers():
    head = projection_head(10, 12, 6)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert [name for name, _ in head.named_parameters()] == ["0.weight", "1.weight", "1.bias", "3.weight", "4.weight"]
    out = head(torch.randn(64, 10) * 9 + 4)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(6), atol=1e-5, rtol=0)
    assert simclr().projection_head[3].out_features == 128
    assert simclr(projection_hidden=5, projection_width=7).projection_head[3].weight.shape == (7, 5)


def test_method_is_the_loss_of_the_heads_output():
    torch.manual_seed(0)
    method = simclr(temperature=0.4).eval()
    first, second = torch.randn(3, 1, 32, 32), torch.randn(3, 1, 32, 32)
    loss = method([first, second], Chance([1, 2, 3]))["loss"]
    rows = [method.projection_head(method.backbone(view).pooled).detach() for view in (first, second)]
    assert loss.item() == pytest.approx(slow_nt_xent(*rows, 0.4), rel=1e-4)


def test_a_single_image_is_refused():
    with pytest.raises(SettingsError, match=r"batch has 1.*train\.batch_size.*at least 2"):
        simclr()([torch.randn(1, 1, 32, 32)] * 2, Chance([1]))


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match=r"simclr\.temperature"):
        simclr(temperature=0)


def slow_triplet(first, second, margin, negatives):
    """The sum in float64, one view after the other; a negative that is the view itself does not count."""
    views = [v / v.norm() for v in torch.cat([first, second]).double()]
    n, total = len(first), 0.0
    for i, negative in enumerate(negatives.tolist()):
        near = float((views[i] - views[(i + n) % (2 * n)]).square().sum())
        far = float((views[i] - views[negative]).square().sum())
        total += max(0.0, near - far + margin) if negative != i else 0.0
    return total


@pytest.mark.parametrize("margin", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("kin", [[0, 1, 2, 3, 4], [6, 6, 2, 6, 2], [1, 1, 1, 1, 1]])
def test_triplets_equal_the_slow_loop(margin, kin):
    torch.manual_seed(2)
    first, second = torch.randn(5, 7) * 3, torch.randn(5, 7) + 0.5
    negatives = random_negatives(torch.rand(10, dtype=torch.float64), torch.tensor(kin))
    terms = triplet(first, second, margin, negatives, torch.tensor(kin))
    assert float(terms["loss"]) == pytest.approx(slow_triplet(first, second, margin, negatives), rel=1e-5, abs=1e-6)


def test_triplets_of_known_angles_are_a_closed_form():
    first = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    second = torch.tensor([[1.0, 1.0], [0.0, 0.5]])  # 45 degrees from the first view of its image, and 0
    near, far = 2 - math.sqrt(2), 2.0
    negatives, kin = torch.tensor([1, 0, 1, 0]), torch.arange(2)
    terms = triplet(first, second, 1.5, negatives, kin)
    # 0 to 2 against 1: right angle; 2 to 0 against 1: both 45 degrees; 1 and 3 are one, against 0: right angle
    assert float(terms["loss"]) == pytest.approx((near - far + 1.5) + 1.5, rel=1e-6)
    assert float(terms["violations"]) == pytest.approx(0.5)
    assert float(terms["positive_similarity"]) == pytest.approx((math.sqrt(0.5) * 2 + 2) / 4)


def test_triplets_pull_the_positive_and_push_the_negative():
    torch.manual_seed(0)
    first, second = (torch.randn(2, 4, requires_grad=True) for _ in range(2))
    triplet(first, second, 4.0, torch.tensor([1, 0, 3, 2]), torch.arange(2))["loss"].backward()
    with torch.no_grad():
        moved = [F.normalize(view - 0.1 * view.grad, dim=1) for view in (first, second)]
        before = [F.normalize(view, dim=1) for view in (first, second)]
    assert (moved[0] - moved[1]).norm() < (before[0] - before[1]).norm()
    assert (moved[0][0] - moved[0][1]).norm() > (before[0][0] - before[0][1]).norm()


def test_negatives_are_even_over_all_views_of_others():
    drawn = torch.rand(4000, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counts = torch.zeros(6, 6)
    for row in drawn:
        counts[torch.arange(6), random_negatives(row, torch.tensor([3, 5, 3]))] += 1
    kin = torch.tensor([3, 5, 3, 3, 5, 3])
    assert (counts[kin[:, None] == kin] == 0).all()
    shares = counts / 4000
    assert (abs(shares[0, [1, 4]] - 0.5) < 0.04).all()
    assert (abs(shares[1, [0, 2, 3, 5]] - 0.25) < 0.04).all()
    assert random_negatives(drawn[0, :4], torch.tensor([3, 3])).tolist() == [0, 1, 2, 3]


def test_the_method_takes_triplets_whose_negatives_follow_from_chance():
    torch.manual_seed(0)
    method = simclr(loss="triplet", margin=3.0).eval()
    views = [torch.randn(4, 1, 32, 32) for _ in range(2)]
    first, again, other = (
        method(views, Chance(keys))["loss"].item() for keys in ([1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8])
    )
    assert first == again != other
    rows = [method.projection_head(method.backbone(view).pooled).detach() for view in views]
    drawn = torch.from_numpy(Chance([1, 2, 3, 4]).spawn("negatives").uniform(size=(2,))).T.flatten()
    assert first == pytest.approx(slow_triplet(*rows, 3.0, random_negatives(drawn, torch.arange(4))), rel=1e-4)
    with pytest.raises(SettingsError, match=r"simclr\.loss"):
        simclr(loss="triplets")
