"""`medssl scan`: from folders of images to a manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medssl.data.manifest import Manifest


def command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of images, or a label table that names files.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="CSV", help="A table with a column file, or an id, and labels beside it."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The manifest: .parquet, or .csv to look into.")
    ] = Path("manifest.parquet"),
    site: Annotated[
        str | None, typer.Option("--site", metavar="NAME", help="Where the images were made, over what headers say.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="QUERY", help="Keep images that meet a condition: \"modality == 'OPT'\"."),
    ] = None,
    image_is_patient: Annotated[
        bool, typer.Option("--image-is-patient", help="Take every image without a patient as a patient of its own.")
    ] = False,
    stack: Annotated[
        bool, typer.Option("--stack/--slices", help="Make the slices of a DICOM series one volume, or images each.")
    ] = True,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            envvar="MEDSSL_KEY",
            help="The site's secret that ids are replaced by; made if not there. Without it: random, thrown away.",
        ),
    ] = None,
    shift_dates: Annotated[
        bool, typer.Option("--shift-dates", help="Move the dates of each patient by a number of days, by the key.")
    ] = False,
    keep_institution: Annotated[
        bool, typer.Option("--keep-institution", help="Keep the name of the institution as site.")
    ] = False,
    burned_in: Annotated[
        str, typer.Option("--burned-in", metavar="skip|keep", help="Images that may show a name in their pixels.")
    ] = "skip",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest of that name.")] = False,
) -> None:
    """List every image below some folders in one table, with what is known of it, and what could not be read.

    DICOM is recognised by content, single- and multi-frame; NIfTI, PNG, JPEG, TIFF and BMP too. Only headers are
    read. Slices of CT, MR and PET become volumes where they step evenly. A file that cannot be used gets a row with
    the reason. Identifiers of patients, studies, series and images become pseudonyms; paths stay, since files must be
    found. Given a manifest and --labels, the table is joined to it.
    """
    from medssl import files
    from medssl.cli.progress import shown
    from medssl.data.keys import kept
    from medssl.data.scan import keep, scan
    from medssl.data.summary import summary
    from medssl.errors import SettingsError

    if output.suffix.lower() not in (".parquet", ".csv"):
        raise SettingsError(f"A manifest is .parquet or .csv, but got '{output}'")
    files.refuse_existing(output, overwrite=overwrite)
    if any(output.resolve() == given.resolve() for given in (*folders, *([labels] if labels else []))):
        raise SettingsError(f"The manifest would replace '{output}', which it is made of", fix="Choose another -o")
    secret, made = kept(key) if key is not None else (None, False)
    if made:
        typer.echo(f"made the key {key}: keep it, and keep it secret. With it a scan gives the same pseudonyms again.")
    with shown() as progress:
        manifest = scan(
            folders,
            labels=labels,
            site=site,
            image_is_patient=image_is_patient,
            stack=stack,
            key=secret,
            shift_dates=shift_dates,
            keep_institution=keep_institution,
            burned_in=burned_in,  # type: ignore[arg-type]
            progress=progress,
        )
    manifest = keep(manifest, where)
    manifest.save(output)
    for line in summary(manifest):
        typer.echo(line)
    typer.echo(f"wrote {output}")
    typer.echo(f"next: medssl pretrain --modality {_modality(manifest)} --method mae --data {output}")


def _modality(manifest: "Manifest") -> str:
    """Return the modality to train with, or all names in brackets where the headers do not say."""
    from medssl import discovery

    known = discovery.names("modalities")
    images = manifest.usable().table
    words = set(zip(images["modality"], images["ndim"]))
    kinds = [discovery.load("modalities", name).MODALITY for name in known]
    named = {(word, kind.spatial_dims): kind.name for kind in kinds for word in kind.dicom}
    guesses = {named.get(word) for word in words}
    guess = next(iter(guesses), None)
    return guess if len(guesses) == 1 and guess is not None else f"[{' or '.join(known)}]"
