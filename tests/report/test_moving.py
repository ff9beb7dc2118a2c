"""Maps that move: every dot knows its place of every frame, axes are shared, and style sheets name what is there."""

import re
import xml.etree.ElementTree as ET

import numpy as np

from medssl.report import embedding, moving
from medssl.report.moving import Frame


def frames(*maps):
    return [Frame(f"epoch {k}", str(k), np.asarray(xy, dtype=float)) for k, xy in enumerate(maps, start=1)]


def dots(svg):
    """Places of each dot, (n, F, 2)."""
    found = [re.findall(r"--f\d+:(-?[\d.]+)px (-?[\d.]+)px", path.get("style")) for path in svg.iter("path")]
    return np.array(found, dtype=float)


def test_all_frames_and_both_axes_have_one_scale():
    small, large = [[0, 0], [1, 1]], [[0, 0], [10, 5]]
    svg = ET.fromstring(str(moving.plot("t", frames(small, large), ["a", "b"], ["", ""])))
    places = dots(svg)
    first, last = (np.ptp(places[:, frame], axis=0) for frame in (0, 1))
    assert last[0] == 400  # the widest frame fills the drawing
    np.testing.assert_allclose(first, [40, 40], atol=0.2)
    np.testing.assert_allclose(last, [400, 200], atol=0.2)
    assert places[1, 1, 1] < places[0, 1, 1]  # the second axis points up
    assert places[0, 0].tolist() == places[0, 1].tolist()


def test_dots_stay_inside_the_drawing():
    maps = np.random.default_rng(0).normal(size=(3, 40, 2)) * [1, 30]
    drawn, height = moving.places(frames(*maps))
    assert drawn.min() >= 10 - 1e-9
    assert drawn[..., 0].max() <= 410 + 1e-9
    assert drawn[..., 1].max() <= height - 10 + 1e-9


def test_side_by_side_every_dot_is_drawn_in_every_frame():
    maps = np.random.default_rng(1).normal(size=(2, 30, 2))
    groups = ["a"] * 20 + [embedding.UNKNOWN] * 10
    drawn = [ET.fromstring(str(svg)) for svg in moving.stills("t", frames(*maps), groups)]
    assert len(drawn) == 2
    for svg in drawn:
        assert [path.get("d").count("M") for path in svg.iter("path")] == [10, 20]  # the unknown beneath


def test_markers_grow_about_their_middle():
    assert moving._shape("a", 1, 2.0) == "m-5.4 -5.4h10.8v10.8h-10.8z"
    for place in range(8):
        ends = re.findall(r"-?[\d.]+", moving._shape("a", place))
        assert max(abs(float(end)) for end in ends) <= 6.4


def test_rules_move_through_all_frames_and_only_where_motion_is_welcome():
    text = str(moving.rules("maps", 3))
    still, _, moved = text.partition("@media (prefers-reduced-motion:no-preference)")
    assert "animation:" not in still
    assert moved.count("animation:maps-move") == 1
    for k in range(3):
        assert f"#maps-{k}:checked~.panels .moving path{{translate:var(--f{k})}}" in still
        assert f"@keyframes maps-at{k}" in still
    shares = [float(share) for share in re.findall(r"([\d.]+)%", re.search(r"maps-move\{.*", text)[0])]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], len(shares)) == (0, 100, 6)
    seen = [re.search(rf"maps-at{k}\{{.*", text)[0] for k in range(3)]
    begins = [re.search(r"([\d.]+)%\{visibility:visible", one)[1] for one in seen]
    ends = [re.search(r"([\d.]+)%,100%\{visibility:hidden", one)[1] for one in seen[:-1]]
    assert begins[1:] == ends  # one name at a time, and always one


def test_names_and_titles_are_escaped():
    maps = [Frame("<i>", "1", np.zeros((3, 2))), Frame("two", "2", np.zeros((3, 2)))]  # one point is drawn
    svg = str(moving.plot("<b>", maps, ["x"] * 3, ["<u>", ""]))
    assert not [tag for tag in ("<i>", "<b>", "<u>") if tag in svg]
    assert "<b>" not in "".join(map(str, moving.stills("<b>", maps, ["x"] * 3)))
    assert dots(ET.fromstring(svg)).shape == (3, 2, 2)
