"""Figures as SVG that lives inside the page: its colours are the page's, its text is text, its ids are its own.

Matplotlib draws with stand-in colours. In the finished SVG each becomes a CSS variable, so that one figure is
readable on light and dark ground and in print. Nothing in it refers outside the page, and equal data give equal bytes.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medssl.report.words import clean, shortened

WIDTH = 420
"""Drawing width of a panel in CSS pixels: two stand side by side on a desk, one fills a telephone."""

_VARIABLES = ("ink", "muted", "faint", "grid", "page", "accent", *(f"arm-{i}" for i in range(8)))
COLOURS = {name: f"#00{0xA0 + i:02x}fe" for i, name in enumerate(_VARIABLES)}
"""Stand-in colour of each CSS variable, for use in Matplotlib calls."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["faint"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "xtick.color": COLOURS["faint"],
    "ytick.color": COLOURS["faint"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": False,
}
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"font: ([^;']*?)([\d.]+)px [^;]*")
_COLOUR = re.compile("|".join(COLOURS.values()))
_NAMES = {colour: name for name, colour in COLOURS.items()}


def draw(
    name: str,
    title: str,
    paint: Callable[[Axes], None],
    *,
    height: int = 270,
    margins: tuple[int, int, int, int] = (52, 16, 44, 12),
) -> Markup:
    """Let `paint` fill one pair of axes and return the SVG element.

    Args:
        name: Unique on the page; every id in the figure starts with it.
        title: What the figure shows, for those who hear the page.
        paint: Draws into the axes.
        height: Drawing height in CSS pixels.
        margins: Left, right, bottom, top in CSS pixels, kept for tick labels and direct labels.
    """
    left, right, bottom, top = margins
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (bottom + top) / height)
    data = io.BytesIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the measuring font lacks; the browser has its own
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        paint(figure.add_axes(box))
        figure.savefig(data, format="svg", metadata={"Date": None})
    return _inlined(data.getvalue(), name, title)


def label(text: object, most: int = 22) -> str:
    """Return foreign text fit for a figure: safe characters on one line, not too long."""
    return shortened(" ".join(clean(str(text)).split()), most)


def _inlined(svg: bytes, name: str, title: str) -> Markup:
    root = ET.fromstring(svg)  # noqa: S314  (drawn here, from cleaned text)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = {value for e in root.iter() for key, value in e.attrib.items() if _local(key) == "href"}
    used |= {match for e in root.iter() for match in re.findall(r"url\((#[^)]+)\)", e.get("clip-path", ""))}
    for element in root.iter():
        _rewrite(element, name, used)
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": view, "role": "img", "aria-label": clean(title)})
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704  (serialised, hence escaped)


def _rewrite(element: ET.Element, name: str, used: set[str]) -> None:
    """Drop namespaces and idle ids, prefix the others, swap colours and fonts for the page's, shorten numbers."""
    element.tag = _local(element.tag)
    attributes, element.attrib = dict(element.attrib), {}
    for key, value in attributes.items():
        key = _local(key)
        if key == "id":
            if f"#{value}" not in used:
                continue
            value = f"{name}-{value}"
        elif key == "href":
            value = f"#{name}-{value.removeprefix('#')}"
        elif key == "clip-path":
            value = value.replace("url(#", f"url(#{name}-")
        elif key == "style":
            value = _FONT.sub(_font, _COLOUR.sub(lambda match: f"var(--{_NAMES[match.group()]})", value))
        if key in ("d", "x", "y", "transform", "width", "height", "points"):
            value = _NUMBER.sub(lambda match: f"{float(match.group()):.2f}", value)
        element.set(key, value)


def _font(match: re.Match[str]) -> str:
    weight = "; font-weight: 600" if re.search(r"bold|[5-9]00", match[1]) else ""
    return f"font-size: {match[2]}px{weight}"


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
