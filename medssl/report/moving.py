"""Embedding maps that move through training at the reader's choice: dots, buttons and motion without a script.

An epoch is chosen by radio buttons, so that a keyboard does it, too; style sheets move the dots to their places of
that epoch, or through all of them where `Play` is chosen. Axes are the same in every frame. Whoever asks for reduced
motion has no `Play`, and dots change places at once; on paper the maps stand side by side.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from medssl.report import embedding, svg

MOST_DOTS = 500
_WIDTH, _LOWEST, _HIGHEST, _MARGIN, _TITLE = 420, 200, 420, 10, 30
_HELD, _MOVED, _LAST = 1.2, 1.0, 1.2  # seconds at a frame, between two, and longer at the last
_STILL = 1.7  # times larger are the dots of maps that are drawn small
_SHAPES = {
    "o": "m{-3} 0a{3} {3} 0 1 0 {6} 0a{3} {3} 0 1 0 {-6} 0z",
    "s": "m{-2.7} {-2.7}h{5.4}v{5.4}h{-5.4}z",
    "^": "m0 {-3.4}l{3.2} {5.8}h{-6.4}z",
    "D": "m0 {-3.6}l{3.6} {3.6}l{-3.6} {3.6}l{-3.6} {-3.6}z",
    "v": "m0 {3.4}l{3.2} {-5.8}h{-6.4}z",
    "*": "m0 {-4}l{1.2} {2.7}l{2.8} {.2}l{-2.2} {1.8}l{.7} {2.9}l{-2.5} {-1.6}l{-2.5} {1.6}l{.7} {-2.9}l{-2.2} {-1.8}"
    "l{2.8} {-.2}z",
    ".": "m{-1.5} 0a{1.5} {1.5} 0 1 0 {3} 0a{1.5} {1.5} 0 1 0 {-3} 0z",
}
"""A marker from its middle on; numbers in braces grow with it."""


class Frame(NamedTuple):
    """The map of an epoch.

    Attributes:
        name: "epoch 4".
        short: What its button says, "4".
        xy: Coordinates of the images, (N, 2).
    """

    name: str
    short: str
    xy: np.ndarray


def places(frames: Sequence[Frame]) -> tuple[np.ndarray, float]:
    """Return where the dots of each frame are drawn, (F, N, 2), and the height of the drawing, all in CSS pixels.

    All frames and both axes have one scale, the second axis points up, and the drawing is as high as the dots need.
    """
    xy = np.stack([frame.xy for frame in frames]).astype(float)
    low, high = xy.min(axis=(0, 1)), xy.max(axis=(0, 1))
    span = np.maximum(high - low, 1e-12)
    inner = np.array([_WIDTH, _HIGHEST - _TITLE]) - 2 * _MARGIN
    scale = float((inner / span).min())
    height = min(max(float(span[1]) * scale + 2 * _MARGIN + _TITLE, _LOWEST), _HIGHEST)
    middle = np.array([_WIDTH / 2, (height + _TITLE) / 2])
    return (xy - (low + high) / 2) * scale * [1, -1] + middle, height


def plot(title: str, frames: Sequence[Frame], groups: Sequence[str], notes: Sequence[str]) -> Markup:
    """Draw dots that know their place of every frame; the rules of `rules` choose among them.

    Args:
        title: What is shown, for those who hear the page.
        frames: Maps of the same images in the same order, at most `MOST_DOTS`.
        groups: The group of each dot.
        notes: What is said of each frame beside its name.
    """
    drawn, height = places(frames)
    order = embedding.ordered(groups)
    dots = [_dot(drawn[:, k], group, order.index(group)) for k, group in _painted(groups)]
    names = [
        f'<text x="{_MARGIN}" y="20" class="at{k}">{escape(svg.label(frame.name))} '
        f'<tspan style="fill: var(--muted); font-weight: 400">{escape(note)}</tspan></text>'
        for k, (frame, note) in enumerate(zip(frames, notes, strict=True))
    ]
    return _svg(title, height, "".join([*dots, *names]), "moving")


def stills(title: str, frames: Sequence[Frame], groups: Sequence[str]) -> list[Markup]:
    """Draw each frame by itself, to stand side by side, on the same axes.

    Args:
        title: What is shown, for those who hear the page; the name of the frame is added.
        frames: Maps of the same images in the same order.
        groups: The group of each dot.
    """
    drawn, height = places(frames)
    of_group = np.asarray(groups, dtype=object)
    parts = []
    for frame, xy in zip(frames, drawn, strict=True):
        body = [
            _mark(group, place, "".join(f"M{x:.0f} {y:.0f}{_shape(group, place, _STILL)}" for x, y in chosen))
            for place, group in _beneath(groups)
            if len(chosen := xy[of_group == group] - [0, _TITLE])
        ]
        parts.append(_svg(f"{title}, {frame.name}", height - _TITLE, "".join(body), "still", top=0))
    return parts


def rules(name: str, frames: int) -> Markup:
    """Return the style sheet that moves every `plot` beside the buttons `NAME-play` and `NAME-0`, `NAME-1`, ...

    Args:
        name: Of the buttons, unique on the page.
        frames: How many there are.
    """
    held = np.arange(frames) * (_HELD + _MOVED)
    seconds = float(held[-1] + _HELD + _LAST)
    ends = [*(held[:-1] + _HELD), seconds]
    shares = [(100 * float(a) / seconds, 100 * float(b) / seconds) for a, b in zip(held, ends, strict=True)]
    lines = [f"{a:.2f}%,{b:.2f}%{{translate:var(--f{k})}}" for k, (a, b) in enumerate(shares)]
    play = f"#{name}-play:checked~"
    still = [
        f"#{name}-{k}:checked~.panels .moving path{{translate:var(--f{k})}}"
        f"#{name}-{k}:checked~.panels .at{k}{{visibility:visible}}"
        for k in range(frames)
    ]
    timing = f"{seconds:.1f}s infinite"
    playing = [f"{play}.panels .moving path{{animation:{name}-move {timing} ease-in-out}}"]
    for k in range(frames):
        playing.append(f"{play}.panels .at{k},{play}.step{k}::after{{animation:{name}-at{k} {timing} step-end}}")
    middles = [0.0, *((before[1] + after[0]) / 2 for before, after in pairwise(shares)), 100.0]
    turns = [_turn(f"{name}-at{k}", middles[k], middles[k + 1]) for k in range(frames)]
    moved = f"@media (prefers-reduced-motion:no-preference){{{''.join(playing)}}}"
    return Markup("\n".join([*still, f"@keyframes {name}-move{{{''.join(lines)}}}", *turns, moved]))  # noqa: S704 (ours)


def _turn(name: str, begin: float, end: float) -> str:
    """Return keyframes of what is seen from one share of the whole to another, in per cent."""
    before = "0%{visibility:hidden}" if begin else ""
    after = f"{end:.2f}%,100%{{visibility:hidden}}" if end < 100 else ""
    return f"@keyframes {name}{{{before}{begin:.2f}%{{visibility:visible}}{after}}}"


def _painted(groups: Sequence[str]) -> list[tuple[int, str]]:
    """Return place and group of the dots as they are painted: unknown ones first, the others mixed as they come."""
    return sorted(enumerate(groups), key=lambda pair: pair[1] != embedding.UNKNOWN)


def _beneath(groups: Sequence[str]) -> list[tuple[int, str]]:
    """Return place and name of the groups as they are painted: the unknown first, then larger before smaller ones."""
    return sorted(enumerate(embedding.ordered(groups)), key=lambda pair: pair[1] != embedding.UNKNOWN)


def _dot(path: np.ndarray, group: str, place: int) -> str:
    stops = ";".join(f"--f{k}:{x:.1f}px {y:.1f}px" for k, (x, y) in enumerate(path))
    return _mark(group, place, _shape(group, place), stops)


def _mark(group: str, place: int, path: str, more: str = "") -> str:
    colour, _ = embedding.style(group, place)
    return f'<path d="{path}" style="fill:var(--{colour});{more}"/>'


def _shape(group: str, place: int, size: float = 1.0) -> str:
    """Return the path of a group's marker from its middle on."""
    _, marker = embedding.style(group, place)
    parts = (part.partition("}") for part in _SHAPES[marker].replace("{", "\0").split("\0"))
    return "".join(f"{float(number) * size:.4g}{rest}" if brace else number for number, brace, rest in parts)


def _svg(title: str, height: float, body: str, kind: str, top: int = _TITLE) -> Markup:
    """Return the drawing with its frame and a grid, the same in every frame."""
    step = (height - top) / 4
    columns = [_WIDTH / 2 + step * k for k in range(-9, 10) if 0 < _WIDTH / 2 + step * k < _WIDTH]
    lines = "".join(f'<polyline points="{x:.1f},{top} {x:.1f},{height:.1f}"/>' for x in columns)
    lines += "".join(f'<polyline points="0,{top + step * k:.1f} {_WIDTH},{top + step * k:.1f}"/>' for k in (1, 2, 3))
    return Markup(  # noqa: S704  (numbers and escaped names)
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}" class="{kind}">'
        f'<g class="grid"><rect x="0.5" y="{top + 0.5}" width="{_WIDTH - 1}" height="{height - top - 1:.1f}" rx="6"/>'
        f"{lines}</g>{body}</svg>"
    )
