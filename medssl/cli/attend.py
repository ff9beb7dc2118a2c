"""`medssl attend`: where a vision transformer looks."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run of a ViT; RUN@N takes the weights kept after epoch N.")
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, folders of images, or a manifest.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="A new folder for page and pictures.")],
    row: Annotated[
        list[str] | None, typer.Option("--row", metavar="SAMPLE_ID ...", help="Of a manifest: these images.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="QUERY", help="Of a manifest: images that meet a condition.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=100, help="Images at most, evenly spaced.")] = 8,
    keep: Annotated[
        float, typer.Option("--keep", min=1, max=100, help="Per cent of the attention that the segmentation keeps.")
    ] = 60,
    query: Annotated[
        str, typer.Option("--query", help="Who asks: class (token), patches, or pooled: whichever makes the feature.")
    ] = "pooled",
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="Side of the image; larger than the run's shows finer maps.")
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="The run's weights: last or best.")] = "last",
) -> None:
    """Draw the attention of the last block of a run's ViT over images, head by head, and what holds most of it.

    The segmentation is that of DINO: the fewest patches that hold --keep per cent of the attention, without any label.
    Of volumes the middle planes of the three axes are shown. Names of files are written as nicknames; names burned
    into pixels are drawn as they are.
    """
    from medssl import looking
    from medssl.cli.progress import shown
    from medssl.counting import counted

    with shown() as progress:
        found = looking.attend(
            run,
            images,
            rows=row or (),
            where=where,
            most=most,
            keep=keep,
            query=query,
            size=size,
            checkpoint=checkpoint,
            out=out,
            progress=progress,
        )
    for text in found.remarks:
        typer.echo(f"note: {text}")
    for place, one in enumerate(found.images, start=1):
        typer.echo(f"image {place}: {one.name}")
    typer.echo(f"wrote {counted(len(found.images), 'picture')} to {out}")
    typer.echo(f"Report: {found.page}")
