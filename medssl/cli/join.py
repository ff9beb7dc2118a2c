"""`medssl join`: one manifest of several places, for pretraining on all of them."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="One a place, two or more.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The joined manifest, .parquet or .csv.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest of that name.")] = False,
) -> None:
    """Join the manifests of several places, with the test patients of each marked in the column `split`.

    A network pretrained on the joined manifest has seen no test patient of any place, so that `medssl sweep --data A
    --ood B --ood-labels` can test it at both.
    """
    from medssl import files
    from medssl.data.joining import join
    from medssl.data.manifest import Manifest
    from medssl.data.summary import summary
    from medssl.errors import SettingsError

    if output.suffix.lower() not in (".parquet", ".csv"):
        raise SettingsError(f"A manifest is .parquet or .csv, but got '{output}'")
    files.refuse_existing(output, overwrite=overwrite)
    if any(output.resolve() == given.resolve() for given in manifests):
        raise SettingsError(f"The manifest would replace '{output}', which it is made of", fix="Choose another -o")
    joined = join([Manifest.load(path) for path in manifests])
    joined.save(output)
    for line in summary(Manifest.load(output)):
        typer.echo(line)
    typer.echo(f"wrote {output}")
