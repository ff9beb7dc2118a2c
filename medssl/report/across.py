"""What the page of an embedding shows of training: maps of every epoch whose weights were kept, on the same axes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from medssl.evaluation import embedded, projecting
from medssl.evaluation.cohort import Progress
from medssl.evaluation.embedded import Images
from medssl.evaluation.learners import PretrainedFeatures
from medssl.report import embedding, moving
from medssl.report.coloured import Coloured, Row, groups_of, read_line
from medssl.report.moving import Frame
from medssl.report.words import number, percent


class State(NamedTuple):
    """The features of the images by the weights of one epoch.

    Attributes:
        name: "epoch 4".
        short: "4".
        features: (N, D).
    """

    name: str
    short: str
    features: np.ndarray


def section(
    images: Images,
    features: np.ndarray,
    colours: Sequence[Coloured],
    device: torch.device,
    seed: int = 0,
    tell: Progress = lambda *_: None,
) -> list[Row] | None:
    """Return the maps of training, principal components and t-SNE; None where no weights before these were kept.

    Args:
        images: The images, in the order of the features.
        features: By the weights that the page is of, (N, D).
        colours: What dots are coloured by.
        device: Where networks run.
        seed: Of t-SNE.
        tell: Told how far it is.
    """
    states = _states(images, features, device, tell)
    if len(states) == 1:
        return None
    readings = [read_line(state.name, state.features, images, colours, others=False) for state in states]
    shown = slice(None, None, max(1, -(-len(features) // moving.MOST_DOTS)))
    used = [state.features[shown] for state in states]
    of_all = f"{len(used[0]):,} of {len(features):,} images are drawn." if len(used[0]) < len(features) else ""
    maps, shares = projecting.together(used)
    held = ", ".join(f"{percent(100 * share)} in {s.name}" for share, s in zip(shares, states, strict=True))
    found = [
        _map("PCA", maps, states, readings, colours, shown) | {"note": f"Of the spread they hold {held}. {of_all}"}
    ]
    if len(used[0]) >= projecting.FEWEST:
        through = projecting.tsne_through(used, seed)
        found.append(_map("t-SNE", through, states, readings, colours, shown) | {"note": of_all})
    return found


def _states(images: Images, features: np.ndarray, device: torch.device, tell: Progress) -> list[State]:
    """Return the states that the run kept before the weights that the page is of, and these last."""
    last = embedded.epoch_of(images.run)
    kept = [run for run in embedded.snapshots(images.run) if run.weights_hash != images.run.weights_hash]
    kept = [run for run in kept if last is None or (run.epoch or 0) < last]
    states = []
    for done, run in enumerate(kept, start=1):
        of_run = images.features(PretrainedFeatures(run), device)
        states.append(State(f"epoch {run.epoch}", str(run.epoch), of_run))
        tell("kept", {"done": done, "total": len(kept)})
    return [
        *states,
        State("the weights of this page" if last is None else f"epoch {last}", str(last or "here"), features),
    ]


def _map(
    name: str,
    maps: Sequence[np.ndarray],
    states: Sequence[State],
    readings: Sequence[Row],
    colours: Sequence[Coloured],
    shown: slice,
) -> Row:
    """Return a way to draw the states: its buttons, its rules, and a view by each thing that is known."""
    frames = [Frame(state.name, state.short, xy) for state, xy in zip(states, maps, strict=True)]
    stem = f"over-{name.lower()}"
    known = [(place, colour) for place, colour in enumerate(colours) if any(colour.words)]
    views = [_view(name, place, colour, frames, readings, shown) for place, colour in known or [(0, colours[0])]]
    steps = [(frame.short, frame.name) for frame in frames]
    return {"name": name, "stem": stem, "steps": steps, "views": views, "rules": moving.rules(stem, len(frames))}


def _view(
    name: str, place: int, colour: Coloured, frames: Sequence[Frame], readings: Sequence[Row], shown: slice
) -> dict[str, Any]:
    """Return the map that moves, coloured by one thing, and its frames side by side."""
    groups = groups_of(colour, shown)
    notes = [_said(line["cells"][place]) for line in readings]
    title = f"{name} across training, coloured by {colour.name}"
    stills = [
        {"name": frame.name, "note": note, "figure": figure}
        for frame, note, figure in zip(frames, notes, moving.stills(title, frames, groups), strict=True)
    ]
    figure = moving.plot(title, frames, groups, notes)
    return {"by": colour.name, "figure": figure, "stills": stills, "legend": embedding.legend(groups)}


def _said(cell: Row) -> str:
    return f"AUROC {number(cell['reading'].auroc)}" if np.isfinite(cell["reading"].auroc) else ""
