"""What the page of a pretraining run says: what was trained on what, what it looks like, and how it went."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl import discovery, kept
from medssl.kept import NUMBER
from medssl.report import curves, pictures
from medssl.report.words import count, duration, known, number, plural, significant
from medssl.training import runs

_NEEDED = ("modality", "method", "backbone")
_LOGGED = {
    "step": {"step": NUMBER, "epoch": NUMBER},
    "monitor": {"step": NUMBER, "epoch": NUMBER},
    "remark": {"step": NUMBER},
}
_BARE = ("default of", "size of")
_PAIR = 2
_WORDS = {
    "knn_auroc": (
        "Online kNN, AUROC",
        "How well the nearest neighbours tell the classes apart; 0.5 is a guess.",
        0.5,
        3,
    ),
    "feature_std": ("Feature standard deviation", "Near 0, all images have the same features: a collapse.", None, None),
    "effective_rank": (
        "Effective rank (RankMe)",
        "How many directions the features use; a fall towards 1 is a collapse.",
        None,
        None,
    ),
}
PICTURES = {
    "original": "original",
    "masked": "visible to it",
    "reconstruction": "reconstructed",
    "view_0": "view 1",
    "view_1": "view 2",
}


@dataclass(frozen=True)
class Run:
    """A run folder, read.

    Attributes:
        name: The folder's name.
        place: The folder's name below its parent's, for commands.
        settings: Everything that was resolved.
        provenance: Where code, data and weights came from; empty while a run is young.
        choices: Name to (value, source) of what the preset chose.
        steps: Logged steps.
        monitors: Logged monitors.
        remarks: What was said during training.
        images: The table of images used, or None.
        samples: Arrays (n, C, *spatial) to look at.
        finished: Whether it came to its end.
    """

    name: str
    place: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    choices: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    monitors: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[dict[str, Any]] = field(default_factory=list)
    images: pd.DataFrame | None = None
    samples: dict[str, Any] = field(default_factory=dict)
    finished: bool = False

    @classmethod
    def read(cls, path: Path) -> "Run":
        """Read a run folder, finished or not."""
        log = path / "metrics.jsonl"
        lines = kept.lines(log)
        by_kind = {
            kind: kept.checked([line for line in lines if line.get("kind") == kind], f"{kind} lines", needed, log)
            for kind, needed in _LOGGED.items()
        }
        absolute = path.resolve()
        return cls(
            name=absolute.name,
            place=f"{absolute.parent.name}/{absolute.name}",
            settings=kept.mapping(path / "settings.yaml"),
            provenance=kept.mapping(path / "provenance.json"),
            choices=kept.mapping(path / "choices.json"),
            steps=by_kind["step"],
            monitors=by_kind["monitor"],
            remarks=by_kind["remark"],
            images=kept.table(path / "pretrained_on.parquet", ("patient_key",)),
            samples=kept.arrays(path / "samples.safetensors"),
            finished=runs.is_finished(path),
        )

    @property
    def epochs(self) -> float:
        """Epochs taken so far."""
        return float(self.steps[-1]["epoch"] + 1) if self.steps else 0.0

    def epoch_at(self, step: float) -> float:
        """Return the epoch, with its fraction, after a step."""
        last = self.steps[-1]["step"] if self.steps else 0
        return step * self.epochs / last if last else 0.0


def context(path: Path) -> dict[str, Any]:
    """Return everything the template `run.html.j2` asks for."""
    run = Run.read(path)
    names = {name: str(run.settings.get(name, "unknown")) for name in _NEEDED}
    return {
        "run": run,
        "names": names,
        "title": f"{method_title(names['method'])} on {_of_modality(run)}",
        "synthetic": bool(run.provenance.get("synthetic")),
        "state": "finished" if run.finished else "unfinished",
        "headline": headline(run),
        "tiles": tiles(run),
        "samples": samples(run),
        "samples_missing": _samples_missing(run),
        "reconstruction": _of_method(names["method"], "RECONSTRUCTION", ""),
        "loss": curves.loss(_losses(run)) if run.steps else None,
        "monitors": monitors(run),
        "remarks": remarks(run),
        "choices": choices(run),
        "chain": chain(run),
        "command": command(run),
    }


def method_title(name: str) -> str:
    """Return the title of a method, or its name where this installation does not have it."""
    return _of_method(name, "TITLE", name)


def _of_method(name: str, constant: str, otherwise: str) -> str:
    module = discovery.load("methods", name) if name in discovery.names("methods") else None
    return str(getattr(module, constant, otherwise))


def _of_modality(run: Run) -> str:
    return modality_title(str(run.settings.get("modality", "unknown")), run.settings.get("own_modality"))


def modality_title(name: str, own: Mapping[str, Any] | None = None) -> str:
    """Return the title of a modality, or its name where this installation does not have it."""
    if own and own.get("title"):
        return str(own["title"])
    known_here = name in discovery.names("modalities")
    return str(discovery.load("modalities", name).MODALITY.title) if known_here else f"{name} images"


def headline(run: Run) -> str:
    """Say in one or two sentences how the run went."""
    if not run.steps:
        return "No step has been logged yet."
    planned = (run.settings.get("train") or {}).get("epochs")
    span = plural(int(run.epochs), "epoch")
    if not run.finished and known(planned):
        span = f"{int(run.epochs)} of {count(planned)} epochs"
    losses = curves.smoothed(np.array([value for _, value in _losses(run)]))
    if not len(losses):
        return f"After {span} no loss has been logged."
    first, last = losses[0], losses[-1]
    verb = "fell" if last < first else "rose"
    return f"Over {span} the loss {verb} from {significant(first)} to {significant(last)}. {_neighbours(run)}"


def _neighbours(run: Run) -> str:
    scored = [line for line in run.monitors if known(line.get("knn_auroc"))]
    if not scored:
        return "Whether the features separate the classes was not watched, because no labels were given."
    last, start = scored[-1], scored[0]
    when = "at the end" if run.finished else "so far"
    text = f"Nearest neighbours in the frozen features reach an AUROC of {number(last['knn_auroc'])} {when}"
    text += f", on {plural(last.get('knn_n'), 'labelled training image')}"
    trained = [line for line in scored if line["step"] > 0]
    if start["step"] == 0:
        text += f"; before training it was {number(start['knn_auroc'])}"
    if trained:
        best = max(trained, key=lambda line: line["knn_auroc"])
        text += f"; the best was {number(best['knn_auroc'])} in epoch {int(best['epoch']) + 1}"
    return f"{text}."


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """Return the key figures: (value, what it is, remark)."""
    manifest = run.provenance.get("manifest") or {}
    images = len(run.images) if run.images is not None else manifest.get("used")
    patients = run.images["patient_key"].nunique() if run.images is not None else None
    result = [
        (count(images), "images", f"of {count(manifest['rows'])} in the manifest" if "rows" in manifest else ""),
        (count(patients), "patients", _held_out(run) if known(patients) else "no table of images"),
        (count(run.epochs), "epochs", plural(run.steps[-1]["step"] if run.steps else 0, "step")),
    ]
    speed, wait = (_median(run.steps, key) for key in ("images_per_second", "data_wait_share"))
    if known(speed):
        share = f"{wait:.0%} of the time waiting for data".replace("%", "\u00a0%") if known(wait) else ""
        result.append((significant(speed), "images a second", share))
    if known(run.provenance.get("seconds")):
        result.append((duration(run.provenance["seconds"]), "training time", str(run.provenance.get("device", ""))))
    return result


def samples(run: Run) -> list[list[tuple[str, str]]]:
    """Return for each sample its pictures as (caption, data URI), all in the scale of display of its first one."""
    kept = [(name, run.samples[name]) for name in PICTURES if name in run.samples]
    if not kept:
        return []
    result = []
    for place in range(len(kept[0][1])):
        limits = pictures.window(kept[0][1][place])
        result.append([(PICTURES[name], pictures.png(images[place], *limits)) for name, images in kept])
    return result


def _samples_missing(run: Run) -> str:
    if not run.samples:
        later = "" if run.finished else " They are written when the run ends."
        return f"No sample images were kept in this run.{later}"
    if "reconstruction" not in run.samples:
        method = method_title(str(run.settings.get("method")))
        return f"{method} does not reconstruct images; two views of each sample, which it compares, are shown instead."
    return ""


def monitors(run: Run) -> list[dict[str, Any]]:
    """Return for each monitored value its title, what it means, and its figure or why there is none."""
    result = []
    for name, (title, meaning, chance, digits) in _WORDS.items():
        points = [(run.epoch_at(line["step"]), line[name]) for line in run.monitors if known(line.get(name))]
        figure = curves.monitor(name, title, points, chance=chance, digits=digits) if points else None
        why = "No labels were given, so it could not be computed." if name == "knn_auroc" else "It was not logged."
        result.append({"title": title, "meaning": meaning, "figure": figure, "missing": why})
    return result


def remarks(run: Run) -> list[str]:
    """Return what was said of the data and during training, each once, in order."""
    texts = [str(text) for text in run.provenance.get("remarks") or []]
    texts += [f"Step {count(line.get('step'))}: {line.get('text', '')}" for line in run.remarks]
    return list(dict.fromkeys(texts))


def chain(run: Run) -> list[str]:
    """Return the stages that the weights went through, first to last."""
    stages = [_stage(stage) for stage in run.provenance.get("stages") or []]
    return stages if run.provenance.get("parent") else ["random weights", *stages]


def _stage(stage: Any) -> str:
    if not isinstance(stage, Mapping):
        return str(stage)
    name = f"{method_title(str(stage.get('method')))} on {modality_title(str(stage.get('modality')))}"
    details = [str(stage["data"])] if stage.get("data") else []
    details += [plural(stage[key], key.removesuffix("s")) for key in ("images", "steps") if known(stage.get(key))]
    return f"{name} ({', '.join(details)})" if details else name


def command(run: Run) -> str:
    """Return the next command to type; a sweep without data takes the built-in cohort."""
    if not run.finished:
        return f"medssl pretrain --resume -o {shlex.quote(run.place)}"
    data = run.settings.get("data") or {}
    words = ["medssl sweep --arms", shlex.quote(run.place)]
    if data.get("manifest"):
        label = shlex.quote(str(data["label"])) if data.get("label") else "COLUMN"
        words += ["--data", shlex.quote(str(data["manifest"])), "--label", label]
    return " ".join(words)


def _held_out(run: Run) -> str:
    share = (run.settings.get("data") or {}).get("holdout")
    return "no patient was kept for tests" if share == 0 else "test patients are not among them"


def _median(lines: list[dict[str, Any]], key: str) -> float | None:
    values = [line[key] for line in lines if known(line.get(key))]
    return float(np.median(values)) if values else None


def _losses(run: Run) -> curves.Points:
    return [(run.epoch_at(line["step"]), line["loss"]) for line in run.steps if known(line.get("loss"))]


def choices(run: Run) -> list[tuple[str, Any, str]]:
    """Return name, value and source of what was chosen, the parts of the model first; bare defaults are left out."""
    pairs = [(name, value) for name, value in run.choices.items() if isinstance(value, list) and len(value) == _PAIR]
    chosen = [(name, value, str(source)) for name, (value, source) in pairs if value is not None]
    return sorted((row for row in chosen if not row[2].startswith(_BARE)), key=lambda row: "." in row[0])
