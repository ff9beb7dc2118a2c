"""`medssl ablate`: which views, batch, temperature or mask ratio is best on one's own images."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.counting import counted


def command(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="augmentations, batch, temperature or mask.")],
    modality: Annotated[str, typer.Option("--modality", help="Kind of image, or a file of values, as in pretrain.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="The ablation's folder.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Manifest or folder of images.  [default: the built-in cohort]")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="Column that scores are made of, never trained on; needed with --data."),
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option("--positive", help="Words of the label that count as positive.")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option("--negative", help="Words of the label that count as negative.")
    ] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="As in pretrain.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE for every training.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--values", metavar="NAME=V,V ...", help="Other values: train.epochs=5,10 mae.mask_ratio=0.5,0.75."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings a cell, averaged.")] = 1,
    score: Annotated[str, typer.Option("--score", help="What is drawn: probe or knn; the table has both.")] = "probe",
    device: Annotated[str, typer.Option("--device", help="Where scores are computed: auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on in -o where it was, or begin there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list the trainings, and end.")] = False,
) -> None:
    """Pretrain over a grid and score the frozen features on the training patients: a heat map or a curve in a report.

    augmentations: the operations of the strong views alone and in pairs (SimCLR, figure 5). batch: batch size against
    epochs, SimCLR and BYOL (figure 9). temperature: of SimCLR. mask: the mask ratio of MAE (figure 5).
    Test patients are never looked at. Every cell is a run below FOLDER/runs.
    """
    from medssl import api
    from medssl.cli import pretrain
    from medssl.cli.progress import Narrator, shown
    from medssl.settings import parse_overrides

    with shown() as display:
        done = api.ablate(
            what,
            modality,
            out=out,
            data=data,
            label=label,
            positive=positive,
            negative=negative,
            backbone=backbone,
            settings=parse_overrides(settings or []),
            values=_values(values or []),
            seeds=seeds,
            score=score,
            device=device,
            resume=resume,
            dry_run=dry_run,
            progress=Narrator(display, {"finished": pretrain.TELLERS["finished"]}),
        )
    if dry_run:
        for cell in done.cells():
            typer.echo(cell.name)
        typer.echo(counted(len(done.cells()), "training"))
        return
    typer.echo(f"Report: {done.report}")


def _values(given: list[str]) -> dict[str, list[float]]:
    """Return {"train.epochs": [5, 10]} for ["train.epochs=5,10"]."""
    from medssl.errors import SettingsError

    result = {}
    for text in given:
        name, equals, listed = text.partition("=")
        try:
            result[name] = [float(value) for value in listed.split(",")]
        except ValueError as error:
            raise SettingsError(f"Expected NAME=V,V for --values, but got '{text}'") from error
        if not equals or not name:
            raise SettingsError(f"Expected NAME=V,V for --values, but got '{text}'")
    return result
