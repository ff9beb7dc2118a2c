"""`medssl phantom`: write a built-in synthetic cohort to a folder."""

from pathlib import Path

import typer


def command(
    name: str = typer.Argument(help="The phantom: oct."),
    out: Path = typer.Argument(help="The folder to write; one folder a device is made in it."),
    patients: int | None = typer.Option(None, help="Patients of the in-distribution device.  [default: 210]"),
    seed: int = typer.Option(0, help="Another seed is another cohort."),
) -> None:
    """Write a built-in synthetic cohort: DICOM files and a label table a device. No patient in it is real.

    A folder that holds this very cohort already is left as it is.
    """
    from medssl.cli.progress import shown
    from medssl.discovery import load

    phantom = load("data.phantom", name)
    with shown() as progress:
        cohort = phantom.generate(out, patients=patients, seed=seed, progress=progress)
    for site, folder in cohort.sites.items():
        typer.echo(f"{site}: {folder} (synthetic, labels in {cohort.labels[site].name})")
    first = next(iter(cohort.sites))
    typer.echo(f"Next: medssl scan {cohort.sites[first]} --labels {cohort.labels[first]} -o {first}.parquet")
