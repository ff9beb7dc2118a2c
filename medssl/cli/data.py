"""`medssl data`: dataset cards, and turning a copy of a public dataset into a manifest."""

from pathlib import Path

import typer

app = typer.Typer(help="Public datasets: list what is known, show one, adopt a copy you have.", no_args_is_help=True)


@app.command("list")
def list_cards() -> None:
    """List the datasets that medssl knows, one a line."""
    from medssl.data import cards

    known = {name: cards.load(name) for name in cards.names()}
    width = max(map(len, known))
    for name, card in known.items():
        typer.echo(f"{name:{width}}  {card.modality:6}  {card.title}")


@app.command("show")
def show(name: str = typer.Argument(..., help="Name of the dataset, as `medssl data list` gives it.")) -> None:
    """Show where a dataset lives, its licence, citation, labels, partner and traps."""
    from medssl.data import cards
    from medssl.settings import dump_yaml

    card = cards.load(name)
    typer.echo(dump_yaml(card.model_dump(exclude_defaults=True)).rstrip())


@app.command("adopt")
def adopt(
    name: str = typer.Argument(..., help="Name of the dataset, as `medssl data list` gives it."),
    folder: Path = typer.Argument(..., help="The copy that you have; it is only read."),
    out: Path = typer.Option(None, "-o", "--out", help="The manifest, .parquet or .csv.  [default: NAME.parquet]"),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a manifest of that name."),
) -> None:
    """Turn a copy of a public dataset into a manifest: labels, patients, sites and remarks as its card says."""
    from medssl import discovery, files
    from medssl.cli.progress import shown
    from medssl.data import cards
    from medssl.data.summary import summary

    target = out or Path(f"{name}.parquet")
    files.refuse_existing(target, overwrite=overwrite)
    with shown() as progress:
        manifest = cards.adopt(name, folder, progress=progress)
    manifest.save(target)
    for line in summary(manifest):
        typer.echo(line)
    typer.echo(f"wrote {target}")
    modality = cards.load(name).modality
    if modality in discovery.names("modalities"):
        typer.echo(f"next: medssl pretrain --modality {modality} --method mae --data {target}")
