"""What a run folder holds: what was trained on what, how it went, and which files are there."""

from pathlib import Path
from typing import Any

from medssl.data.masking import Names
from medssl.report import pictures
from medssl.report.inspected import Fact, Inspected, listed
from medssl.report.run import PICTURES, Run, headline, method_title, modality_title
from medssl.report.sheet import Cell
from medssl.report.words import count, known, number, plural, significant

_RGB = 3


def inspect(folder: Path, *, ids: bool) -> Inspected:
    """Return the facts of a run, finished or not, and the pictures that it kept.

    Raises:
        DataError: One of its files is damaged.
    """
    run, names = Run.read(folder), Names(shown=ids)
    settings = {name: str(run.settings.get(name, "unknown")) for name in ("method", "modality", "backbone")}
    facts = [
        ("run", str(folder) if ids else names.of("path", run.name)),
        ("state", "finished" if run.finished else "not finished: medssl pretrain -o RUN --resume goes on"),
        ("method", f"{settings['method']} ({method_title(settings['method'])})"),
        ("modality", f"{settings['modality']} ({modality_title(settings['modality'])})"),
        ("backbone", settings["backbone"]),
        ("data", _data(run, names)),
        ("trained on", _trained_on(run)),
        ("stages before", _before(run)),
        (
            "training",
            f"{count(run.epochs)} epochs, {plural(run.steps[-1]['step'], 'step')}" if run.steps else "no step",
        ),
        ("last loss", _last(run.steps, "loss")),
        ("kNN AUROC", _last(run.monitors, "knn_auroc")),
        ("in words", headline(run)),
        ("remarks", f"{len(run.provenance.get('remarks') or []) + len(run.remarks)}; the report has them"),
    ]
    return Inspected([*facts, *_files(folder)], _cells(run))


def _data(run: Run, names: Names) -> str:
    if run.provenance.get("synthetic"):
        return "the built-in synthetic cohort"
    manifest = (run.settings.get("data") or {}).get("manifest")
    return names.of("path", manifest) if manifest else "unknown"


def _trained_on(run: Run) -> str:
    if run.images is None:
        return "unknown: the table of images is not there"
    rows = (run.provenance.get("manifest") or {}).get("rows")
    of = f" of {count(rows)} in the manifest" if known(rows) else ""
    return f"{plural(len(run.images), 'image')}{of}, {plural(run.images['patient_key'].nunique(), 'patient')}"


def _trained(run: Run) -> str:
    if not run.steps:
        return "no step logged"
    return f"{plural(int(run.epochs), 'epoch')}, {plural(run.steps[-1]['step'], 'step')}"


def _before(run: Run) -> str:
    if not run.provenance.get("parent"):
        return "none, from random weights"
    return plural(max(len(run.provenance.get("stages") or []) - 1, 1), "stage")


def _last(lines: list[dict[str, Any]], name: str) -> str:
    found = [line for line in lines if known(line.get(name))]
    if not found:
        return "unknown"
    value = number(found[-1][name]) if name == "knn_auroc" else significant(found[-1][name], 4)
    return f"{value} at step {count(found[-1]['step'])}"


def _files(folder: Path) -> list[Fact]:
    """Return what stands in the folder, a line each, with its size; the names are ours."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return listed("files", (f"{path.name}{'/' if path.is_dir() else ''} {_size(path)}" for path in entries))


def _size(path: Path) -> str:
    parts = [part for part in path.rglob("*") if part.is_file()] if path.is_dir() else [path]
    return f"{sum(part.stat().st_size for part in parts) / 1e6:.3g} MB"


def _cells(run: Run) -> list[Cell]:
    kept = [(caption, run.samples[name]) for name, caption in PICTURES.items() if name in run.samples]
    cells = []
    for place in range(len(kept[0][1]) if kept else 0):
        limits = pictures.window(kept[0][1][place])
        for caption, images in kept:
            image = pictures.flat(images[place])
            cells.append(Cell(f"{place + 1}: {caption}", pictures.levels(image, *limits, colour=len(image) == _RGB)))
    return cells
