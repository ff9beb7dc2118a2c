"""`medssl run`: a recipe, stage by stage."""

from pathlib import Path
from typing import Any

import typer


def command(
    recipe: str = typer.Argument("", help="Name of a recipe, or a YAML file.", show_default=False),
    out: Path = typer.Option(None, "-o", "--out", help="The study's folder.  [default: studies/RECIPE]"),
    data: Path = typer.Option(None, "--data", help="Manifest of images.  [default: the built-in cohort]"),
    ood: list[str] = typer.Option([], "--ood", help="Manifests of other sites; shift:all for acquisition shifts."),
    label: str = typer.Option(None, "--label", help="Label column; needed with --data."),
    positive: list[str] = typer.Option([], "--positive", help="Words of the label that count as positive."),
    negative: list[str] = typer.Option([], "--negative", help="Words of the label that count as negative."),
    settings: list[str] = typer.Option([], "--set", help="NAME=VALUE for every pretraining stage."),
    resume: bool = typer.Option(False, "--resume", help="Go on in -o where it was, or begin there."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Check and print the stages, and end."),
) -> None:
    """Run a recipe: pretraining, sweep and report in one resumable command. Without a name: list the recipes."""
    from medssl import stages
    from medssl.cli import pretrain, sweep
    from medssl.cli.progress import Narrator, shown
    from medssl.settings import parse_overrides

    if not recipe:
        for name in stages.names():
            typer.echo(f"{name}: {stages.load(name).title}")
        return
    loaded = stages.load(recipe)
    study = stages.Study(
        loaded,
        out or Path("studies") / Path(recipe).stem,
        data=data,
        ood=ood or None,
        label=label,
        positive=positive or None,
        negative=negative or None,
        settings=parse_overrides(settings),
    )
    typer.echo(f"{loaded.title}. {loaded.summary}")
    tellers = {**pretrain.TELLERS, **sweep.TELLERS, "plan": _plan, "stage": lambda values: f"\n$ {values['command']}"}
    with shown() as display:
        narrator = Narrator(display, tellers)
        if dry_run:
            study.check(narrator)
        folders = [] if dry_run else study.run(resume=resume, progress=narrator)
    if dry_run:
        typer.echo("\n".join(study.commands()))
    for folder in folders:
        typer.echo(f"Report: {folder / 'report.html'}")


def _plan(values: dict[str, Any]) -> str:
    """Return the plan of whichever stage it is."""
    from medssl.cli import pretrain, sweep

    return (pretrain if "prepared" in values else sweep).TELLERS["plan"](values)
