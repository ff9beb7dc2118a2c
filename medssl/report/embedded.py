"""What the page of an embedding says: what can be read from the features, maps of them, and how training moved them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from medssl.data import builtin
from medssl.errors import SettingsError
from medssl.evaluation import embedded, projecting
from medssl.evaluation.cohort import Progress
from medssl.evaluation.embedded import Images
from medssl.evaluation.learners import PretrainedFeatures
from medssl.evaluation.readable import MOST_IMAGES, Reading, read_out
from medssl.evaluation.shortcut import device_names
from medssl.report import embedding, moving, page
from medssl.report.run import method_title, modality_title
from medssl.report.words import interval, number, plural

_MOST_WORDS = 50
_GUESS = 0.5
Row = dict[str, Any]
_BASELINES = {"random": "random weights", "pixels": "16 x 16 pixels"}


class Coloured(NamedTuple):
    """Something known of the images that dots are coloured by.

    Attributes:
        name: "disease", "site" or "device".
        kind: "label", "site" or "device".
        words: (N,) words, None where unknown.
    """

    name: str
    kind: str
    words: np.ndarray


class Asked(NamedTuple):
    """What a page is asked to show.

    Attributes:
        data: The manifest.
        baseline: Whose features they are; the run's if None.
        umap: Draw UMAP, too.
        seed: Of t-SNE and UMAP.
    """

    data: Path
    baseline: str | None = None
    umap: bool = False
    seed: int = 0


def check_labels(images: Images) -> None:
    """Refuse labels that no map can be coloured by, before features are computed.

    Raises:
        SettingsError: A column has more than 50 words.
    """
    for name in images.labels:
        words = images.table[name].nunique()
        if words > _MOST_WORDS:
            raise SettingsError(
                f"The column '{name}' has {words} different words, and a map is coloured by {_MOST_WORDS} at most",
                fix="Choose another --label, or leave out --map",
            )


def write(
    path: Path,
    images: Images,
    features: np.ndarray,
    asked: Asked,
    device: torch.device,
    progress: Progress | None = None,
) -> Path:
    """Write the page of an embedding, and return its path.

    Args:
        path: Where it goes.
        images: The images, in the order of the features.
        features: (N, D), of the run or of the baseline.
        asked: Whose they are, and what is drawn.
        device: Where networks run.
        progress: Told how far it is.

    Raises:
        SettingsError: UMAP is asked for and not installed.
        StorageError: The page could not be written.
    """
    colours = coloured(images)
    named = _named(images, features, asked.baseline, device)
    readings = [_line(name, values, images, colours) for name, values in named.items()]
    context = {
        "title": _title(images, asked.baseline),
        "synthetic": builtin.is_builtin(asked.data),
        "name": images.run.name,
        "headline": headline(readings[0], colours),
        "tiles": _tiles(images, features),
        "readings": {"lines": readings, "notes": _notes(readings, len(features))},
        "maps": list(_maps(features, colours, asked, progress or (lambda *_: None))),
        "training": None if asked.baseline else over_training(images, features, colours, device),
        "kept": images.run.settings["train"].get("keep_epochs") or [],
        "baseline": asked.baseline,
        "remarks": [*images.remarks, *_unknown_patients(images)],
        "about": embedded.about(images, asked.baseline, features.shape[1]),
    }
    return page.write(path, page.render("embed.html.j2", context))


def _maps(features: np.ndarray, colours: Sequence[Coloured], asked: Asked, tell: Progress) -> Iterator[Row]:
    names = [name for name in projecting.PROJECTIONS if name != "UMAP" or asked.umap]
    for done, name in enumerate(names, start=1):
        yield _map(name, features, colours, asked.seed)
        tell("map", {"done": done, "total": len(names)})


def coloured(images: Images) -> list[Coloured]:
    """Return what dots are coloured by: the labels, the site and the device, with the words of each image.

    Where devices are unknown, or part the images as sites do, sites are enough.
    """
    table = images.table
    labels = [Coloured(name, "label", _words(table[name])) for name in images.labels]
    site = Coloured("site", "site", _words(table["site"]))
    named = pd.Series(device_names(table), dtype=object)
    device = Coloured("device", "device", _words(named.where(named != "")))
    if not any(device.words):
        return [*labels, site]
    if np.array_equal(pd.factorize(site.words)[0], pd.factorize(device.words)[0]):
        return [*labels, site._replace(name="site or device")]
    return [*labels, site, device]


def _words(column: pd.Series) -> np.ndarray:
    known = column.notna().to_numpy(dtype=bool)
    words = np.full(len(column), None, dtype=object)
    words[known] = column[column.notna()].astype(str).to_numpy(dtype=object)
    return words


def _named(images: Images, features: np.ndarray, baseline: str | None, device: torch.device) -> dict[str, np.ndarray]:
    """Return features by name: those asked for first, then the baselines they are compared with."""
    first = _BASELINES.get(baseline, baseline) if baseline else method_title(images.run.settings["method"])
    result = {first: features}
    for name, said in _BASELINES.items():
        if name != baseline:
            result[said] = images.features(embedded.source_of(images, name), device)
    return result


def _line(name: str, features: np.ndarray, images: Images, colours: Sequence[Coloured], *, others: bool = True) -> Row:
    """Return a row of the table: each thing read from the features, and each label from other sites alone."""
    rows = slice(None, None, max(1, -(-len(features) // MOST_IMAGES)))
    patients, used = images.patients()[rows], features[rows]
    cells = [(colour, read_out(used, colour.words[rows], patients, patients)) for colour in colours]
    site = next(colour.words for colour in colours if colour.kind == "site")[rows]
    if others and len(set(site) - {None}) > 1:
        cells += [
            (
                colour._replace(name=f"{colour.name}, by images of other sites"),
                read_out(used, colour.words[rows], patients, site),
            )
            for colour in colours
            if colour.kind == "label"
        ]
    return {"name": name, "cells": [_cell(colour, reading) for colour, reading in cells]}


def _cell(colour: Coloured, reading: Reading) -> Row:
    defined = np.isfinite(reading.auroc)
    balanced = f"accuracy {number(reading.accuracy, 2)}, a guess {number(1 / max(reading.classes, 1), 2)}"
    return {
        "by": colour.name,
        "reading": reading,
        "value": number(reading.auroc) if defined else "undefined",
        "interval": interval(reading.low, reading.high) if defined else "",
        "more": balanced if defined else "",
    }


def headline(line: Row, colours: Sequence[Coloured]) -> str:
    """Say what the nearest neighbours tell of an image, and what they do not."""
    said = []
    for cell in line["cells"][: len(colours)]:
        reading = cell["reading"]
        if np.isfinite(reading.auroc):
            above = reading.low > _GUESS
            said.append(f"{cell['by']} {cell['value']}{'' if above else ' (no better than a guess)'}")
    if not said:
        return "Nothing that is known of these images has two classes, so nothing can be read from the features."
    return f"Told by the nearest neighbours among images of other patients, AUROC: {', '.join(said)}."


def _notes(readings: Sequence[Row], images: int) -> list[str]:
    cells = [cell for line in readings for cell in line["cells"]]
    notes = dict.fromkeys(f"{cell['by']}: {cell['reading'].why}" for cell in cells if cell["reading"].why)
    step = max(1, -(-images // MOST_IMAGES))
    return [*notes, *([f"every {step}th of {images:,} images was used"] if step > 1 else [])]


def _map(name: str, features: np.ndarray, colours: Sequence[Coloured], seed: int) -> Row:
    """Return a map, coloured by each thing that is known."""
    shown = slice(None, None, max(1, -(-len(features) // embedding.MOST_DOTS)))
    used = features[shown]
    if name != "PCA" and len(used) < projecting.FEWEST:
        return {"name": name, "views": [], "note": "", "missing": f"{name} needs {projecting.FEWEST} images or more."}
    xy = projecting.PROJECTIONS[name](used, seed=seed)
    stem = name.lower().replace("-", "")
    views = [
        embedding.view(f"{stem}-{place}", name, colour.name, xy, groups_of(colour, shown))
        for place, colour in enumerate(colours)
    ]
    note = f"{len(used):,} of {len(features):,} images are drawn." if len(used) < len(features) else ""
    return {"name": name, "views": views, "note": note, "missing": ""}


def groups_of(colour: Coloured, shown: slice) -> list[str]:
    """Return the group of each dot; all but the largest seven groups are called `other`."""
    return embedding.few([embedding.UNKNOWN if word is None else str(word) for word in colour.words[shown]])


def over_training(
    images: Images, features: np.ndarray, colours: Sequence[Coloured], device: torch.device
) -> list[Row] | None:
    """Return for each colour a map that moves and the maps it moves through; None where no weights were kept.

    The frames are principal components of each checkpoint, turned to lie as near as they can on those of the next.
    """
    kept = [run for run in embedded.snapshots(images.run) if run.weights_hash != images.run.weights_hash]
    kept = [run for run in kept if images.run.epoch is None or (run.epoch or 0) < images.run.epoch]
    if not kept:
        return None
    shown = slice(None, None, max(1, -(-len(features) // embedding.MOST_DOTS)))
    of_frames = {f"epoch {run.epoch}": images.features(PretrainedFeatures(run), device) for run in kept}
    last = "the end" if images.run.epoch is None else f"epoch {images.run.epoch}"
    of_frames[last] = features
    frames: list[tuple[str, np.ndarray]] = []
    for name, values in reversed(of_frames.items()):
        xy = projecting.pca(values[shown])
        frames.insert(0, (name, projecting.aligned(xy, frames[0][1]) if frames else xy))
    readings = [_line(name, values, images, colours, others=False) for name, values in of_frames.items()]
    return [_frames(place, colour, frames, readings, shown) for place, colour in enumerate(colours)]


def _frames(
    place: int, colour: Coloured, frames: Sequence[tuple[str, np.ndarray]], readings: Sequence[Row], shown: slice
) -> Row:
    groups = groups_of(colour, shown)
    known = any(group != embedding.UNKNOWN for group in groups)
    stills = [
        {
            "name": name,
            "figure": embedding.plot(
                f"still-{place}-{k}", f"{name}, coloured by {colour.name}", xy[:, 0], xy[:, 1], groups
            ),
            "note": _said(line["cells"][place]),
        }
        for k, ((name, xy), line) in enumerate(zip(frames, readings, strict=True))
        if known
    ]
    figure = moving.plot(f"Features over training, coloured by {colour.name}", frames, groups) if known else None
    return {"by": colour.name, "figure": figure, "stills": stills, "legend": embedding.legend(groups)}


def _said(cell: Row) -> str:
    return f"read with an AUROC of {cell['value']}" if np.isfinite(cell["reading"].auroc) else ""


def _title(images: Images, baseline: str | None) -> str:
    settings = images.run.settings
    of = modality_title(settings["modality"], settings.get("own_modality"))
    if baseline:
        return f"Features of a baseline ({baseline}) on {of}"
    return f"Features of {method_title(settings['method'])} on {of}"


def _tiles(images: Images, features: np.ndarray) -> list[tuple[str, str, str]]:
    patients = images.table["patient_id"].notna()
    known = len(set(images.patients()[patients.to_numpy(dtype=bool)]))
    sites = images.table["site"].nunique()
    devices = len(set(device_names(images.table)) - {""})
    unknown = int((~patients).sum())
    return [
        (f"{len(features):,}", "images", ""),
        (f"{known:,}", "patients", f"unknown of {plural(unknown, 'image')}" if unknown else ""),
        (str(sites or "unknown"), "site" if sites == 1 else "sites", ""),
        (str(devices or "unknown"), "device" if devices == 1 else "devices", ""),
        (f"{features.shape[1]:,}", "features an image", ""),
    ]


def _unknown_patients(images: Images) -> list[str]:
    unknown = int(images.table["patient_id"].isna().sum())
    if not unknown:
        return []
    return [
        f"{unknown} of {len(images)} images have no patient: each is taken as a patient of its own, so that images of "
        "the same person may have voted for each other and figures may be too high"
    ]
