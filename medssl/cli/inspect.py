"""`medssl inspect`: what an image file, a manifest or a run holds."""

from pathlib import Path

import typer


def command(
    path: Path = typer.Argument(..., metavar="FILE|MANIFEST|RUN", help="An image, a manifest, or a run folder."),
    out: Path | None = typer.Option(None, "-o", "--out", metavar="SHEET.png", help="Draw a sheet of pictures, too."),
    ids: bool = typer.Option(False, "--ids", help="Show patients, studies, series, instances and paths as they are."),
    where: str | None = typer.Option(None, "--where", metavar="QUERY", help="Of a manifest: images that meet it only."),
    seed: int = typer.Option(0, "--seed", min=0, help="Which images of a manifest are drawn."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a file of that name."),
) -> None:
    """Say what is there, and draw it: slices or frames of a file, images of a manifest, pictures that a run kept.

    Identifiers are written as nicknames such as p…3f1a unless --ids is given; the sheet carries none, but its images
    are drawn as they are, names burned into their pixels included.
    """
    from medssl.cli import facts
    from medssl.cli.progress import shown
    from medssl.report import sheet
    from medssl.report.inspection import inspect

    if out is not None:
        sheet.check_place(out, overwrite=overwrite, inputs=[path])
    with shown() as progress:
        found = inspect(path, ids=ids, sheet=out is not None, seed=seed, where=where, progress=progress)
    if out is not None and found.cells:
        sheet.write(out, found.cells)
    facts.say(found.facts)
    if out is not None:
        typer.echo(f"wrote {out}" if found.cells else "no sheet: the run kept no pictures")
