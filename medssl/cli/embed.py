"""`medssl embed`: the features of every image of a manifest, and a map of them."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run; RUN@N takes the weights that it kept after epoch N.")
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The manifest whose images are looked at.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE.parquet", help="Where the features go.")],
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="COLUMN ...", help="Columns that go with them. [default: what the run watched]"
        ),
    ] = None,
    map_: Annotated[
        bool, typer.Option("--map", help="Draw maps (PCA, t-SNE) by label, site and device: FILE.html beside them.")
    ] = False,
    umap: Annotated[bool, typer.Option("--umap", help="Draw UMAP on it, too; needs the extra 'embed'.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="Instead of the run's features: random (weights), pixels or shortcut."),
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="The run's weights: last or best.")] = "last",
    where: Annotated[
        str | None, typer.Option("--where", metavar="QUERY", help="Images that meet a condition only.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of random weights, t-SNE and UMAP.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names.")] = False,
) -> None:
    """Write the frozen features of a run for every image of a manifest as Parquet, and draw maps of them.

    A row holds sample_id, the ids as the manifest has them, site, device, split, the label columns, and `features`, a
    list of numbers. The page of --map also tells how well label, site and device can be read from the features, and
    shows how training moved them, epoch by epoch, where the run kept weights on the way (train.keep_epochs).
    """
    from medssl import looking
    from medssl.cli.progress import shown
    from medssl.counting import counted

    with shown() as progress:
        found = looking.embed(
            run,
            data,
            labels=label or (),
            baseline=baseline,
            checkpoint=checkpoint,
            where=where,
            seed=seed,
            device=device,
            out=out,
            maps=map_,
            umap=umap,
            overwrite=overwrite,
            progress=progress,
        )
    images, width = found.features.shape
    typer.echo(f"{counted(images, 'image')}, {counted(width, 'feature')} each")
    for text in found.remarks:
        typer.echo(f"note: {text}")
    typer.echo(f"wrote {found.path}")
    if found.page:
        typer.echo(f"Report: {found.page}")
