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
    shows how training moved them where the run kept weights on the way (train.keep_epochs).
    """
    from medssl import files
    from medssl.cli.progress import shown
    from medssl.errors import SettingsError
    from medssl.evaluation import embedded
    from medssl.evaluation.projecting import umap_module
    from medssl.report import embedded as report
    from medssl.training.device import open_device

    if out.suffix.lower() != ".parquet":
        raise SettingsError(f"Features are written as .parquet, but got '{out}'")
    page = out.with_suffix(".html")
    for path in [out] + [page] * (map_ or umap):
        files.refuse_existing(path, overwrite=overwrite)
    if out.resolve() == data.resolve():
        raise SettingsError(f"The features would replace '{out}', which they are made of", fix="Choose another -o")
    if umap:
        umap_module()
    target = open_device(device).target
    with shown() as progress:
        images = embedded.open_images(
            run, data, labels=label or (), checkpoint=checkpoint, where=where, progress=progress
        )
        source = embedded.source_of(images, baseline, seed)
        if map_ or umap:
            report.check_labels(images)
        features = images.features(source, target)
        embedded.save(images, features, baseline, out)
        typer.echo(f"{len(features)} images, {features.shape[1]} features each")
        for text in images.remarks:
            typer.echo(f"note: {text}")
        typer.echo(f"wrote {out}")
        if map_ or umap:
            asked = report.Asked(data, baseline, umap=umap, seed=seed)
            report.write(page, images, features, asked, target, progress)
            typer.echo(f"Report: {page}")
