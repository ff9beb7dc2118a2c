"""What the page of an embedding says: what can be read from the features, maps of them, and how training moved them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from medssl.data import builtin
from medssl.errors import SettingsError
from medssl.evaluation import embedded, projecting
from medssl.evaluation.cohort import Progress
from medssl.evaluation.embedded import Images
from medssl.evaluation.readable import MOST_IMAGES
from medssl.evaluation.shortcut import device_names
from medssl.report import across, embedding, page
from medssl.report.coloured import Coloured, Row, coloured, groups_of, read_line
from medssl.report.run import method_title, modality_title
from medssl.report.words import plural
from medssl.training import runs

_MOST_WORDS = 50
_GUESS = 0.5
_BASELINES = {"random": "random weights", "pixels": "16 x 16 pixels"}


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
    tell = progress or (lambda *_: None)
    colours = coloured(images)
    named = _named(images, features, asked.baseline, device)
    readings = [read_line(name, values, images, colours) for name, values in named.items()]
    context = {
        "title": _title(images, asked.baseline),
        "synthetic": builtin.is_builtin(asked.data),
        "name": images.run.name,
        "headline": headline(readings[0], colours),
        "tiles": _tiles(images, features),
        "readings": {"lines": readings, "notes": _notes(readings, len(features))},
        "maps": list(_maps(features, colours, asked, tell)),
        "training": None if asked.baseline else across.section(images, features, colours, device, asked.seed, tell),
        "kept": runs.kept_epochs(images.run.folder),
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


def _named(images: Images, features: np.ndarray, baseline: str | None, device: torch.device) -> dict[str, np.ndarray]:
    """Return features by name: those asked for first, then the baselines they are compared with."""
    first = _BASELINES.get(baseline, baseline) if baseline else method_title(images.run.settings["method"])
    result = {first: features}
    for name, said in _BASELINES.items():
        if name != baseline:
            result[said] = images.features(embedded.source_of(images, name), device)
    return result


def headline(read: Row, colours: Sequence[Coloured]) -> str:
    """Say what the nearest neighbours tell of an image, and what they do not."""
    said = []
    for cell in read["cells"][: len(colours)]:
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
