"""`medssl show-augment`: look at the views that pretraining would be shown."""

from pathlib import Path

import typer

from medssl import discovery

_MODALITIES = ", ".join(discovery.names("modalities"))


def command(
    data: Path = typer.Argument(..., metavar="DATA", help="A manifest, a folder of images or an image file."),
    modality: str = typer.Option(
        ..., "--modality", help=f"Kind of image: {_MODALITIES}; or a file of values, my.yaml."
    ),
    strength: str = typer.Option("strong", "--strength", help="weak: masked methods; strong: contrastive ones."),
    views: int = typer.Option(16, "--views", min=1, max=100, help="How many views are drawn."),
    seed: int = typer.Option(0, "--seed", min=0, help="As train.seed of a run."),
    row: str | None = typer.Option(
        None, "--row", metavar="SAMPLE_ID", help="The image. [default: the first that can be used]"
    ),
    assignments: list[str] = typer.Option(
        [], "--set", help="As in pretrain: augment.blur.probability=1 or data.image_size=64; may be repeated."
    ),
    out: Path = typer.Option(..., "-o", "--out", metavar="FILE.png", help="Where the picture goes."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a file of that name."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Print the drawn parameters of every view."),
) -> None:
    """Draw one image as it is stored, and views of it as pretraining makes them, in one PNG.

    All are drawn in the grey scale of the original, after standardisation; of volumes the middle slice is shown.
    """
    from medssl.cli.progress import shown
    from medssl.report import augmentations, sheet
    from medssl.settings import parse_overrides

    sheet.check_place(out, overwrite=overwrite, inputs=[data])
    with shown() as progress:
        made = augmentations.show(
            data,
            modality,
            strength=strength,
            views=views,
            seed=seed,
            row=row,
            settings=parse_overrides(assignments),
            progress=progress,
        )
    sheet.write(out, made.cells())
    if verbose:
        for line in made.drawn():
            typer.echo(line)
    if made.passed:
        typer.echo(f"passed over: {made.passed} before it cannot be used as {modality}")
    typer.echo(f"image of row {made.row} (sample {made.sample_id}), {len(made.views)} {strength} views, seed {seed}")
    typer.echo(f"wrote {out}")
