"""`medssl data`: dataset cards, and turning a copy of a public dataset into a manifest."""

from pathlib import Path

import typer

app = typer.Typer(
    help="Public datasets: list what is known, show one, fetch one, adopt a copy you have.", no_args_is_help=True
)


@app.command("list")
def list_cards() -> None:
    """List the datasets that medssl knows, one a line: modality, access, and what medssl can do with it."""
    from medssl.data import cards

    rows = [("dataset", "modality", "access", "medssl can")]
    for name in cards.names():
        card = cards.load(name)
        can = ["fetch"] * bool(card.files) + ["adopt"] * (not card.not_adoptable)
        rows.append((name, card.modality, card.access, ", ".join(can) or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command("show")
def show(name: str = typer.Argument(..., help="Name of the dataset, as `medssl data list` gives it.")) -> None:
    """Show where a dataset lives, its licence, citation, labels, partner and traps."""
    from medssl.data import cards
    from medssl.settings import dump_yaml

    card = cards.load(name)
    typer.echo(dump_yaml(card.model_dump(exclude_defaults=True)).rstrip())


@app.command("fetch")
def fetch(
    name: str = typer.Argument(..., help="Name of the dataset, as `medssl data list` gives it."),
    out: Path = typer.Option(None, "-o", "--out", help="The folder that the files go to.  [default: NAME]"),
    file: str = typer.Option(None, "--file", help="Fetch this file of the set only, as `medssl data show` names it."),
) -> None:
    """Download a public dataset that needs no login, check it, and unpack it; repeat the command to go on."""
    from medssl.cli.progress import shown
    from medssl.data import cards
    from medssl.data.fetch import fetch as fetched

    folder = out or Path(name)
    with shown() as progress:
        made = fetched(name, folder, only=file, progress=progress)
    for path in made:
        typer.echo(f"wrote {path}{', the archive beside it may be deleted' if path.is_dir() else ''}")
    card = cards.load(name)
    typer.echo(f"licence: {card.licence}")
    typer.echo(f"cite: {card.citation}")
    if card.not_adoptable:
        typer.echo(f"note: {card.not_adoptable}")
    else:
        typer.echo(f"next: medssl data adopt {name} {folder}")


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
