"""`medssl sweep`: how few labels an arm needs, here and elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from medssl.evaluation.sweep import Sweep


def command(
    arms: list[str] = typer.Option(..., "--arms", metavar="RUN ...", help="Run folders, or NAME=RUN,RUN for seeds."),
    data: Path | None = typer.Option(None, "--data", metavar="MANIFEST", help="In distribution. [default: the run's]"),
    label: str | None = typer.Option(None, "--label", metavar="COLUMN", help="Label column. [default: the run's]"),
    positive: list[str] = typer.Option([], "--positive", metavar="WORD ...", help="Words that count as positive."),
    negative: list[str] = typer.Option([], "--negative", metavar="WORD ...", help="Words that count as negative."),
    ood: list[str] = typer.Option(
        [],
        "--ood",
        metavar="MANIFEST ...",
        help="Images of other places, tested only; shift:all for acquisition shifts.",
    ),
    ood_labels: bool = typer.Option(
        False, "--ood-labels", help="Also learn from labels of the --ood places; test them on their held-out patients."
    ),
    fractions: list[float] = typer.Option(
        [1, 5, 10, 33, 100], "--fractions", metavar="PERCENT ...", help="Labelled share of the training patients."
    ),
    draws: int = typer.Option(5, "--draws", min=1, help="Label draws a fraction."),
    mode: str = typer.Option("probe", "--mode", help="probe: frozen features; finetune: the whole network."),
    where: str | None = typer.Option(
        None, "--where", metavar="QUERY", help="Use images that meet a condition only: \"site == 'A'\"."
    ),
    drop_overlap: str | None = typer.Option(
        None, "--drop-overlap", metavar="train", help="Leave out training images of test patients, and count them."
    ),
    checkpoint: str = typer.Option("last", "--checkpoint", help="last, or best by the online kNN."),
    margin: float = typer.Option(0.02, "--margin", help="The smallest AUROC difference that matters."),
    primary: str | None = typer.Option(None, "--primary", metavar="ARM", help="Judged first. [default: the first arm]"),
    seed: int = typer.Option(0, "--seed", min=0, help="Of label draws, folds, initial weights and resamples."),
    budget: list[str] = typer.Option(
        [], "--budget", metavar="NAME=VALUE ...", help="What training may cost, such as steps=800 batch_size=32."
    ),
    device: str = typer.Option("auto", "--device", help="auto, cpu or cuda."),
    out: Path | None = typer.Option(None, "-o", "--out", metavar="SWEEP", help="Sweep folder. [default: sweeps/...]"),
    resume: bool = typer.Option(False, "--resume", help="Go on in -o (or begin there), or in the newest like this."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the plan, and write nothing."),
) -> None:
    """Compare pretrained arms over label fractions, in and out of distribution, and write a report.

    Four arms are always there: scratch (trained end to end), random (frozen, untrained), pixels (16 x 16) and
    shortcut (brightness, border, size, device, ...). All get the same labels and the same budget for choosing
    settings, inside each fraction. Ctrl-C keeps the finished cells and ends with exit code 75; --resume goes on.
    """
    from medssl.api import sweep
    from medssl.cli.progress import Narrator, shown
    from medssl.settings import parse_overrides

    with shown() as display:
        done = sweep(
            arms,
            data=data,
            label=label,
            ood=ood or None,
            ood_labels=ood_labels,
            positive=positive,
            negative=negative,
            fractions=fractions,
            draws=draws,
            mode=mode,
            drop_overlap=drop_overlap,
            where=where,
            checkpoint=checkpoint,
            margin=margin,
            primary=primary,
            seed=seed,
            budget=parse_overrides(budget, "--budget"),
            device=device,
            out=out,
            resume=resume,
            dry_run=dry_run,
            progress=Narrator(display, TELLERS),
        )
    if not dry_run:
        typer.echo(closing(done))


def plan(values: dict[str, Any]) -> str:
    """Return what will be compared, and what was fixed before the run."""
    settings, primary = values["settings"], values["settings"]["primary"]
    arms = [f"{name} ({len(runs)} run{'s' if len(runs) > 1 else ''})" for name, runs in settings["arms"].items()]
    fractions = ", ".join(f"{fraction:g} %" for fraction in settings["fractions"])
    own = [f"{name} with its own labels" for name in settings["ood"] if settings["ood_labels"]]
    where = ", ".join(["in distribution", *settings["ood"], *own, *(f"shift:{name}" for name in settings["shifts"])])
    return "\n".join(
        [
            f"Arms: {', '.join(arms)}, scratch, random, pixels, shortcut",
            f"Label '{settings['label']}' of {settings['data']}; tested: {where}",
            f"{fractions} of the training patients, {settings['draws']} draws, {settings['mode']}: "
            f"{'at most ' if own else ''}{values['cells']} cells",
            f"Primary comparison, fixed now: {primary['a']} against {primary['b']} at {primary['fraction']:g} %, "
            f"in distribution; the smallest gain that matters is {settings['margin']:g}",
            f"sweep folder: {values['folder']}",
        ]
    )


def closing(done: "Sweep") -> str:
    """Return the verdict on the primary comparison, what a reader must know, and where everything is."""
    lines = [f"note: {text}" for text in done.results["remarks"]]
    lines += [verdict["sentence"] for verdict in done.results["verdicts"] if verdict["primary"]]
    return "\n".join([*lines, f"Done: {done.folder}", f"Report: {done.folder / 'report.html'}"])


TELLERS = {
    "plan": plan,
    "statistics": lambda _: "All cells are there; resampling patients, draws and seeds.",
}
"""What is said at once of an event, as text."""
