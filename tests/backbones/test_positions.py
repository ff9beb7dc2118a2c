import math

import pytest
import torch

from medssl.backbones.parts.positions import FixedPositions, resize, sincos


def test_columns_come_first_and_follow_the_formula():
    positions = sincos((3, 5), 16)
    assert positions.shape == (15, 16)
    row, column = 2, 4
    vector = positions[row * 5 + column]
    for i in range(4):
        frequency = 10000.0 ** (-i / 4)
        assert vector[i] == pytest.approx(math.sin(column * frequency), abs=1e-6)
        assert vector[4 + i] == pytest.approx(math.cos(column * frequency), abs=1e-6)
        assert vector[8 + i] == pytest.approx(math.sin(row * frequency), abs=1e-6)
        assert vector[12 + i] == pytest.approx(math.cos(row * frequency), abs=1e-6)


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 3), (1, 0, 2), (0, 2, 1)])
def test_in_volumes_the_last_axis_comes_first_and_each_follows_the_formula(place):
    vector = sincos((2, 3, 4), 26)[(place[0] * 3 + place[1]) * 4 + place[2]]  # 26 = 3 axes x (4 sines, 4 cosines) + 2
    expected = []
    for index in reversed(place):
        angles = [index * 10000.0 ** (-i / 4) for i in range(4)]
        expected += [*map(math.sin, angles), *map(math.cos, angles)]
    assert vector.tolist() == pytest.approx([*expected, 0.0, 0.0], abs=1e-6)


def test_volumes_share_the_width_and_leave_the_rest_at_zero():
    positions = sincos((2, 3, 4), 128)  # 128 = 3 * 42 + 2
    assert positions.shape == (24, 128)
    assert not positions[:, 126:].any()
    assert len(torch.unique(positions, dim=0)) == 24


def test_fixed_positions_make_other_grids_on_demand():
    fixed = FixedPositions((2, 2), 8)
    assert torch.equal(fixed((2, 2))[0], sincos((2, 2), 8))
    assert torch.equal(fixed((3, 1))[0], sincos((3, 1), 8))
    assert not fixed.state_dict()


@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 4)])
def test_resizing_keeps_order_and_a_linear_ramp(grid):
    ramp = torch.arange(grid[-1], dtype=torch.float32).expand(*grid).reshape(1, -1, 1)
    assert resize(ramp, grid, grid) is ramp
    larger = resize(ramp, grid, [2 * g for g in grid]).reshape([2 * g for g in grid])
    assert torch.all(larger.diff(dim=-1) >= -0.2)
    assert torch.allclose(larger.diff(dim=0), torch.zeros(()), atol=1e-5)
    assert larger.mean() == pytest.approx(float(ramp.mean()), abs=1e-4)
