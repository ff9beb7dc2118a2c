import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from medssl.report import svg

HOSTILE = ["<script>alert(1)</script>", "$\\frac{", "]]>", "\x00\x1b\u202e", "日本 🩻", '"onload="x', "&amp;#x41;"]


def _paint(axes):
    axes.plot([0, 1, 2], [2, 1, 3], "o-", color=svg.COLOURS["arm-1"])
    axes.set_xlim(0.2, 1.8)


def test_colours_become_variables_and_nothing_else_remains():
    figure = svg.draw("a", "A", _paint)
    assert "var(--arm-1)" in figure
    assert "var(--muted)" in figure
    assert not re.search(r"#00[0-9a-f]{2}fe", figure)


def test_two_figures_share_no_id_and_references_hold():
    figures = [svg.draw(name, "A", _paint) for name in ("first", "second")]
    ids = [re.findall(r'\bid="([^"]+)"', figure) for figure in figures]
    assert not set(ids[0]) & set(ids[1])
    for own, figure in zip(ids, figures, strict=True):
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', figure))
        assert used == set(own)
        assert len(own) == len(set(own)) > 0


def test_equal_data_give_equal_bytes():
    assert svg.draw("a", "A", _paint) == svg.draw("a", "A", _paint)


def test_nothing_points_outside():
    figure = svg.draw("a", "A", _paint)
    assert "http" not in figure
    assert "<style" not in figure
    assert "<metadata" not in figure


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_text(text):
    figure = svg.draw("a", text, lambda axes: axes.text(0, 0, svg.label(text)))
    root = ET.fromstring(figure)
    assert root.get("aria-label") is not None
    assert svg.label(text) in {"".join(element.itertext()) for element in root.iter("text")}
    assert root.find(".//script") is None
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on")]


def test_a_label_is_one_short_line():
    assert svg.label("a\n b\t" + "c" * 40, 10) == "a b ccccc…"


def test_the_drawing_keeps_its_size():
    root = ET.fromstring(svg.draw("a", "A", _paint, height=200))
    width, height = np.array(root.get("viewBox").split(), dtype=float)[2:]
    assert (round(width), round(height)) == (svg.WIDTH, 200)
    assert root.get("width") is None
