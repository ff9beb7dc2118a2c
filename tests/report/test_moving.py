"""A map that moves: every dot passes its place of every frame, and names are text."""

import xml.etree.ElementTree as ET

import numpy as np

from medssl.report import moving


def drawn(frames, groups):
    return ET.fromstring(str(moving.plot("t", frames, groups)))


def test_a_dot_is_held_at_its_place_of_each_frame():
    first, last = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])
    svg = drawn([("epoch 1", first), ("the end", last)], ["a", "b"])
    moves = [node.find("animateTransform") for node in svg.iter("path")]
    stops = [move.get("values").split(";") for move in moves]
    assert stops[0] == [*[stops[1][2]] * 2, *[stops[1][0]] * 2]
    x, y = (float(number) for number in stops[0][0].split())
    assert (x, y) == (24.0, 328.0)  # lower left: the second axis points up
    times = [float(time) for time in moves[0].get("keyTimes").split(";")]
    assert times[0] == 0
    assert times[-1] == 1
    assert times == sorted(times)


def test_names_and_titles_are_escaped_and_dots_are_few():
    many = np.random.default_rng(0).normal(size=(1700, 2))
    svg = moving.plot("<b>", [("<i>", many), ("two", many)], ["x"] * 1700)
    assert "<i>" not in svg
    assert "<b>" not in svg
    assert 0 < len(list(ET.fromstring(str(svg)).iter("path"))) <= moving.MOST_DOTS


def test_one_point_is_drawn():
    assert drawn([("a", np.zeros((3, 2))), ("b", np.zeros((3, 2)))], ["x"] * 3) is not None
