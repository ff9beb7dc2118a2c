"""`medssl pretrain`: learn features from images without labels."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from medssl import discovery
from medssl.counting import counted

if TYPE_CHECKING:
    from medssl.training.pretraining import Prepared

_MODALITIES, _METHODS = (", ".join(discovery.names(kind)) for kind in ("modalities", "methods"))


def command(
    modality: str | None = typer.Option(
        None, "--modality", help=f"Kind of image: {_MODALITIES}; or a file of values, my.yaml."
    ),
    method: str | None = typer.Option(None, "--method", help=f"Self-supervised method: {_METHODS}."),
    data: Path | None = typer.Option(
        None, "--data", help="Manifest or folder of images. Without it: the built-in synthetic cohort."
    ),
    backbone: str | None = typer.Option(None, "--backbone", help="Such as vit_nano, vit_small, resnet50."),
    purpose: str | None = typer.Option(
        None, "--for", help="classification or segmentation: chooses the method, and says why, where none is named."
    ),
    label: str | None = typer.Option(None, "--label", help="Column that is watched (online kNN), never trained on."),
    positive: list[str] = typer.Option([], "--positive", help="Words of the label that count as positive."),
    negative: list[str] = typer.Option([], "--negative", help="Words of the label that count as negative."),
    where: str | None = typer.Option(
        None, "--where", metavar="QUERY", help="Use images that meet a condition only: \"site == 'A'\"."
    ),
    preset: str = typer.Option("auto", "--preset", help="auto: chosen for device, memory and data; none: defaults."),
    assignments: list[str] = typer.Option([], "--set", help="A setting, such as train.epochs=20; may be repeated."),
    base: Path | None = typer.Option(None, "--from", help="Repeat the settings.yaml of another run."),
    out: Path | None = typer.Option(None, "-o", "--out", help="Run folder. [default: runs/MODALITY-METHOD-...]"),
    resume: bool = typer.Option(
        False, "--resume", help="Go on in -o (or begin there), or in the newest unfinished run like this."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would be done, and write no run."),
) -> None:
    """Pretrain a backbone without labels, and keep everything in a run folder.

    What is not set is chosen for the device, its memory and the amount of data; the choices are printed with their
    sources. Test patients are left out, so that a later sweep over the same manifest is honest. Ctrl-C saves the
    state and ends with exit code 75; --resume goes on.
    """
    from medssl.api import pretrain
    from medssl.cli.progress import Narrator, shown
    from medssl.settings import parse_overrides, united

    watched = {"label": label, "positive": positive or None, "negative": negative or None, "where": where}
    flags = {"data": {name: value for name, value in watched.items() if value is not None}}
    with shown() as display:
        run = pretrain(
            modality,
            method,
            data=data,
            backbone=backbone,
            purpose=purpose,
            preset=preset,
            settings=united(parse_overrides(assignments), flags if flags["data"] else {}),
            base=base,
            out=out,
            resume=resume,
            dry_run=dry_run,
            progress=Narrator(display, TELLERS),
        )
    if not dry_run:
        typer.echo(closing(run.folder))


def plan(prepared: "Prepared", folder: str) -> str:
    """Return the choices with their sources, the images, and the estimate."""
    source = prepared.source
    plain = ("default of", "size of")
    shown = {n: c for n, c in prepared.choices.items() if not c.source.startswith(plain) and c.value is not None}
    width = max(len(name) for name in shown)
    lines = [f"  {name:{width}}  {_short(choice.value):12}  {choice.source}" for name, choice in sorted(shown.items())]
    peak = prepared.peak_learning_rate
    lines += [f"  {'peak learning rate':{width}}  {peak:<12.3g}  base_learning_rate x batch / 256, or as set"]
    label = f"; watching '{source.label}' (positive: {source.positive})" if source.label else ""
    lines += [f"note: {text}" for text in source.remarks]
    lines += [
        f"{counted(source.images, 'image')} of {source.manifest.name}{label}",
        f"{prepared.estimate}",
        f"run folder: {folder}",
    ]
    return "\n".join(["Chosen:", *lines])


def closing(folder: Path) -> str:
    """Return where the run is, how it ended, and the next command."""
    from medssl.api import Run

    run = Run(folder)
    settings, record = run.settings, run.provenance
    lines = [f"Done: {folder}"]
    if record.get("synthetic"):
        lines.append("The images were synthetic: this shows that everything works, nothing about patients.")
    report = folder / "report.html"
    if report.exists():
        lines.append(f"Report: {report}")
    data = settings["data"]
    words = ["medssl", "sweep", "--arms", str(folder)]
    words += ["--data", data["manifest"], "--label", data["label"] or "COLUMN"] if data["manifest"] else []
    return "\n".join([*lines, f"Next: {shlex.join(words)}"])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


TELLERS = {
    "plan": lambda values: plan(values["prepared"], values["folder"]),
    "finished": lambda values: f"The run is finished already: {values['folder']}",
}
"""What is said at once of an event, as text."""
