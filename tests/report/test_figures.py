"""Figures on data: what is drawn where, and what is left out."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.report import arms, curves, embedding, forest, fractions


def _rows(value=0.8, arm="mae"):
    return [{"arm": arm, "fraction": f, "value": value, "low": 0.7, "high": 0.9} for f in (5.0, 100.0)]


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=12))
def test_direct_labels_keep_apart_and_in_order(wanted):
    gap = 0.06
    found = fractions.spread(wanted, gap)
    order = sorted(wanted, key=lambda name: (wanted[name], name))
    heights = [found[name] for name in order]
    assert set(found) == set(wanted)
    assert all(b - a > gap - 1e-9 for a, b in itertools.pairwise(heights))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in heights)


def test_direct_labels_far_apart_stay_where_they_are():
    assert fractions.spread({"a": 0.2, "b": 0.8}, 0.06) == {"a": 0.2, "b": 0.8}


def test_a_panel_names_every_arm_that_has_a_value():
    looks = arms.looks(["mae", "pixels", "scratch"])
    rows = _rows() + _rows(None, "pixels") + _rows(0.7, "scratch")
    figure = fractions.panel("p", "t", rows, looks, (0.5, 1.0), unit="AUROC", chance=0.5)
    assert [word in figure for word in (">mae<", ">scratch<", ">chance<", ">pixels<")] == [True, True, True, False]
    assert "5\u00a0%" in figure


def test_panels_share_limits_that_hold_every_interval():
    low, high = fractions.shared_limits(_rows(), 0.5)
    assert low < 0.5
    assert high > 0.9
    assert fractions.shared_limits([], None)[0] < fractions.shared_limits([], None)[1]


def test_the_forest_writes_differences_and_intervals():
    row = {"a": "mae", "b": "scratch", "fraction": 5.0, "difference": 0.03, "low": -0.01, "high": 0.07}
    looks = arms.looks(["mae", "scratch"])
    limits = forest.shared_limits([row], 0.02)
    figure = forest.plot("f", "t", [row, row | {"low": None, "high": None}], looks, limits, 0.02)
    assert "mae against scratch, 5\u00a0%" in figure
    assert "+0.030 (\u22120.010 to +0.070)" in figure
    assert "+0.030 (no interval)" in figure
    assert limits[0] < -0.01
    assert limits[1] > 0.07


def test_smoothing_keeps_level_and_ends_and_ignores_spikes():
    values = np.linspace(3, 1, 400)
    spiked = values.copy()
    spiked[::50] = 100
    assert np.abs(curves.smoothed(spiked) - values).max() < 0.1
    assert curves.smoothed(np.array([3.0, 2.0])).tolist() == [3.0, 2.0]


@pytest.mark.parametrize("n", [1, 2, 39, 40, 4000])
def test_a_loss_of_any_length_is_drawn(n):
    points = [(i / 10, 1.0 + 1.0 / (i + 1)) for i in range(n)]
    figure = curves.loss(points)
    assert figure.count("var(--accent)") >= 1
    assert len(figure) < 200_000


def test_groups_are_ordered_by_size_with_the_unknown_last():
    groups = ["unknown"] * 5 + ["b"] * 2 + ["a"] * 3
    assert embedding.ordered(groups) == ["a", "b", "unknown"]
    assert embedding.style("unknown", 2)[0] == "faint"


def test_a_map_draws_every_dot_once():
    figure = embedding.plot("m", "t", np.arange(7.0), np.arange(7.0), ["a"] * 4 + ["unknown"] * 3)
    assert len(re.findall("<use", figure)) == 7


def test_learnt_arms_come_first_and_differ_in_colour_and_marker():
    looks = arms.looks(["scratch", "mae", "pixels", "simclr"])
    assert list(looks) == ["mae", "simclr", "scratch", "pixels"]
    assert len({look.colour for look in looks.values() if look.learnt}) == 2
    assert len({look.marker for look in looks.values()}) == 4
