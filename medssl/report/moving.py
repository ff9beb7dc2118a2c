"""An embedding map that moves: one drawing whose dots go from checkpoint to checkpoint, without a script.

The motion is SVG's own (SMIL), which needs neither script nor network. Whoever asks for reduced motion is shown the
still maps alone; a fold keeps it still until it is opened.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from medssl.report import embedding

MOST_DOTS = 500
_SIDE, _MARGIN = 340, 12
_HELD, _MOVED = 1.2, 1.0  # seconds at a checkpoint, and between two
_SHAPES = {
    "o": "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
    "s": "M-2.7 -2.7h5.4v5.4h-5.4z",
    "^": "M0 -3.4L3.2 2.4H-3.2z",
    "D": "M0 -3.6L3.6 0L0 3.6L-3.6 0z",
    "v": "M0 3.4L3.2 -2.4H-3.2z",
    "*": "M0 -4L1.2 -1.3L4 -1.1L1.8 .7L2.5 3.6L0 2L-2.5 3.6L-1.8 .7L-4 -1.1L-1.2 -1.3z",
    ".": "M-1.5 0a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0 -3 0",
}


def plot(title: str, frames: Sequence[tuple[str, np.ndarray]], groups: Sequence[str]) -> Markup:
    """Draw dots that move through the frames and begin again, with the name of the checkpoint above them.

    Args:
        title: What is shown, for those who hear the page.
        frames: At least two names with coordinates, (N, 2), of the same images in the same order.
        groups: The group of each dot.
    """
    step = max(1, -(-len(groups) // MOST_DOTS))
    shown = [(name, xy[::step]) for name, xy in frames]
    places = np.stack([_scaled(xy) for _, xy in shown])  # (F, n, 2)
    order = {group: place for place, group in enumerate(embedding.ordered(groups))}
    times, seconds = _times(len(frames))
    parts = [_dot(places[:, k], times, seconds, group, order[group]) for k, group in enumerate(groups[::step])]
    names = [_name(name, place, times, seconds) for place, (name, _) in enumerate(shown)]
    body = "".join([*parts, *names])
    said = escape(title)
    return Markup(  # noqa: S704  (numbers and escaped names)
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{said}" class="moving">{body}</svg>'
    )


def _scaled(xy: np.ndarray) -> np.ndarray:
    """Return coordinates on the drawing; every frame fills it, since the scales of checkpoints differ."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    middle, span = (low + high) / 2, max(float((high - low).max()), 1e-12)
    scaled = (xy - middle) / span * (_SIDE - 4 * _MARGIN)
    return scaled * [1, -1] + [_SIDE / 2, _SIDE / 2 + _MARGIN]


def _times(frames: int) -> tuple[list[float], float]:
    """Return at which shares of the whole each frame begins and ends to be held, (2 F,), and the whole in seconds."""
    seconds = frames * _HELD + (frames - 1) * _MOVED
    starts = [place * (_HELD + _MOVED) / seconds for place in range(frames)]
    return [share for start in starts for share in (start, min(1.0, start + _HELD / seconds))], seconds


def _dot(path: np.ndarray, times: list[float], seconds: float, group: str, place: int) -> str:
    colour, marker = embedding.style(group, place)
    stops = ";".join(f"{x:.1f} {y:.1f}" for x, y in np.repeat(path, 2, axis=0))
    x, y = path[0]
    keys = ";".join(f"{time:.4f}" for time in times)
    timing = f'keyTimes="{keys}" dur="{seconds:.1f}s" repeatCount="indefinite"'
    return (
        f'<path d="{_SHAPES[marker]}" transform="translate({x:.1f} {y:.1f})" fill-opacity="0.7" '
        f'style="fill: var(--{colour})">'
        f'<animateTransform attributeName="transform" type="translate" values="{stops}" {timing}/></path>'
    )


def _name(name: str, place: int, times: list[float], seconds: float) -> str:
    """Return the name of a frame, seen while it is held."""
    begin, end = times[2 * place], times[2 * place + 1]
    shown = "inline" if place == 0 else "none"
    values, keys = "none;inline;none", f"0;{begin:.4f};{min(end, 0.9999):.4f}"
    if place == 0:
        values, keys = "inline;none", f"0;{end:.4f}"
    timing = f'keyTimes="{keys}" calcMode="discrete" dur="{seconds:.1f}s" repeatCount="indefinite"'
    return (
        f'<text x="{_MARGIN}" y="{2 * _MARGIN}" display="{shown}" style="fill: var(--ink); font-size: 14px">'
        f'{escape(name)}<animate attributeName="display" values="{values}" {timing}/></text>'
    )
