"""`medssl phantom`: write a built-in synthetic cohort to a folder."""

from pathlib import Path
from typing import Any

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
    from medssl.discovery import load

    cohort = load("data.phantom", name).generate(out, patients=patients, seed=seed, progress=_quarters())
    for site, folder in cohort.sites.items():
        typer.echo(f"{site}: {folder} (synthetic, labels in {cohort.labels[site].name})")
    first = next(iter(cohort.sites))
    typer.echo(f"Next: medssl scan {cohort.sites[first]} --labels {cohort.labels[first]} -o {first}.parquet")


def _quarters() -> Any:
    """Return a progress callback that says on standard error when another quarter is done."""
    said = {"quarter": 0}

    def tell(_kind: str, event: dict[str, Any]) -> None:
        quarter = 4 * event["done"] // event["total"]
        if quarter > said["quarter"]:
            said["quarter"] = quarter
            typer.echo(f"{event['done']} of {event['total']} patients", err=True)

    return tell
