import math

import pytest
import torch
import torch.nn.functional as F

from medssl.methods.parts.hypersphere import alignment, uniformity


def test_both_equal_the_definition_on_distances():
    torch.manual_seed(0)
    first, second = (F.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1) for _ in range(2))
    near = sum(float((a - b).square().sum()) for a, b in zip(first, second, strict=True)) / 5
    pairs = [math.exp(-2 * float((first[i] - first[j]).square().sum())) for i in range(5) for j in range(5) if i < j]
    assert float(alignment((first * second).sum(dim=1))) == pytest.approx(near)
    assert float(uniformity(first @ first.T)) == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_a_point_and_opposite_points_are_closed_forms():
    assert float(uniformity(torch.ones(3, 3))) == pytest.approx(0, abs=1e-6)
    assert float(uniformity(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))) == pytest.approx(-8)
    assert float(alignment(torch.tensor([1.0, -1.0]))) == pytest.approx(2)
