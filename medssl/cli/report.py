"""`medssl report`: one HTML page of a run or a sweep."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN_OR_SWEEP", help="The folder of a run or of a sweep.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where the page goes; report.html in the folder if unset."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Compute a sweep's results.json anew from its predictions.parquet first.")
    ] = False,
) -> None:
    """Write one self-contained HTML page of a run or a sweep, and print its path.

    The page needs no network and runs no script: it can be mailed, archived and opened anywhere.
    """
    from medssl.report.build import report

    if anew:
        from medssl.evaluation.conclusion import rebuild

        rebuild(folder)
    typer.echo(report(folder, output))
