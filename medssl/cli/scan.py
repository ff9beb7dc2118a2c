"""`medssl scan`: from folders of images to a manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medssl.data.keys import Key
    from medssl.data.manifest import Manifest
    from medssl.data.update import Choices


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
        bool | None,
        typer.Option(
            "--stack/--slices", help="Make the slices of a DICOM series one volume (default), or images each."
        ),
    ] = None,
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
        str | None,
        typer.Option(
            "--burned-in", metavar="skip|keep", help="Images that may show a name in their pixels; skip by default."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest of that name.")] = False,
    update: Annotated[
        bool,
        typer.Option("--update", help="Bring a manifest of that name up to date: read new and changed files only."),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="K/N", help="Read a part of the files only; a scan without it joins the parts."
        ),
    ] = None,
    slurm: Annotated[
        int | None,
        typer.Option("--slurm", metavar="N", min=1, help="Read in N jobs of a SLURM array, and wait for them."),
    ] = None,
    slurm_set: Annotated[
        list[str] | None,
        typer.Option("--slurm-set", metavar="KEY=VALUE", help="An option of sbatch, such as partition=cpu."),
    ] = None,
) -> None:
    """List every image below some folders in one table, with what is known of it, and what could not be read.

    DICOM is recognised by content, single- and multi-frame; NIfTI, PNG, JPEG, TIFF and BMP too. Only headers are
    read. Slices of CT, MR and PET become volumes where they step evenly. A file that cannot be used gets a row with
    the reason. Identifiers of patients, studies, series and images become pseudonyms; paths stay, since files must be
    found. Given a manifest and --labels, the table is joined to it. A scan that was stopped goes on when it is
    started again. --update repeats the options that made the manifest, where none are given, and keeps labels and
    splits that were added to it.
    """
    from medssl import files
    from medssl.data.update import Choices
    from medssl.errors import SettingsError

    if output.suffix.lower() not in (".parquet", ".csv"):
        raise SettingsError(f"A manifest is .parquet or .csv, but got '{output}'")
    files.refuse_existing(output, overwrite=overwrite or update or shard is not None)
    if any(output.resolve() == given.resolve() for given in (*folders, *([labels] if labels else []))):
        raise SettingsError(f"The manifest would replace '{output}', which it is made of", fix="Choose another -o")
    absolute = str(labels.absolute()) if labels is not None else None
    secret = str(key.absolute()) if key is not None else None
    choices = Choices(
        absolute, site, where, image_is_patient or None, stack, secret, shift_dates or None, keep_institution or None,
        burned_in,
    )  # fmt: skip
    choices = choices.or_as_before(output) if update else choices
    if choices.key is None and (shard is not None or slurm is not None):
        raise SettingsError("Parts of a scan need one key for all", fix="Give --key FILE")
    if shard is not None:
        _part(folders, output, choices, _numbers(shard))
        return
    if slurm is not None:
        from medssl.data.jobs import read_in_jobs

        _key(choices)  # made here, so that all jobs have the same

        read_in_jobs(folders, output, choices, slurm, _pairs(slurm_set))
    _whole(folders, output, choices, update=update)


def _pairs(given: list[str] | None) -> dict[str, str]:
    """Return {"partition": "cpu"} for ["partition=cpu"]."""
    from medssl.errors import SettingsError

    for text in given or []:
        if "=" not in text.strip("="):
            raise SettingsError(f"Expected KEY=VALUE for --slurm-set, but got '{text}'")
    return {name: value for name, _, value in (text.partition("=") for text in given or [])}


def _whole(folders: list[Path], output: Path, choices: "Choices", *, update: bool) -> None:
    """Scan, write the manifest, and say what is in it."""
    from medssl.cli.progress import shown
    from medssl.data.earlier import Earlier
    from medssl.data.manifest import Manifest
    from medssl.data.scan import keep, scan
    from medssl.data.summary import summary
    from medssl.data.update import refuse_another_key, with_added
    from medssl.errors import MedsslError

    earlier = Earlier(output, update=update, choices=choices.as_dict())
    before = Manifest.load(output) if update and output.exists() else None
    hide = choices.hiding(_key(choices) or earlier.key())
    if before is not None:
        refuse_another_key(before, hide, output)
    try:
        with shown() as progress:
            manifest = scan(
                folders,
                labels=Path(choices.labels) if choices.labels is not None else None,
                site=choices.site,
                image_is_patient=bool(choices.image_is_patient),
                stack=choices.stack is not False,
                hide=hide,
                earlier=earlier,
                progress=progress,
            )
        if before is not None:
            manifest = with_added(manifest, before)
        manifest = keep(manifest, choices.where)
    except MedsslError:
        earlier.forget()
        raise
    except KeyboardInterrupt:
        typer.echo("what was read is kept: the same command goes on from there", err=True)
        raise
    manifest.save(output)
    earlier.finish()
    for line in (*earlier.said, *summary(manifest)):
        typer.echo(line)
    typer.echo(f"wrote {output}")
    typer.echo(f"next: medssl pretrain --modality {_modality(manifest)} --method mae --data {output}")


def _part(folders: list[Path], output: Path, choices: "Choices", shard: tuple[int, int]) -> None:
    """Read a part of the files, and say so."""
    from medssl.cli.progress import shown
    from medssl.data.earlier import Earlier
    from medssl.data.scan import scan_part

    labels = Path(choices.labels) if choices.labels is not None else None
    hide = choices.hiding(_key(choices))
    with shown() as progress:
        count = scan_part(folders, Earlier(output, shard=shard), labels=labels, hide=hide, progress=progress)
    typer.echo(f"part {shard[0]} of {shard[1]}: {count} files read; the scan without --shard joins the parts")


def _key(choices: "Choices") -> "Key | None":
    """Return the key that was named, and say where it is new."""
    from medssl.data.keys import kept

    if choices.key is None:
        return None
    secret, made = kept(Path(choices.key))
    if made:
        said = "keep it, and keep it secret. With it a scan gives the same pseudonyms again."
        typer.echo(f"made the key {choices.key}: {said}")
    return secret


def _numbers(shard: str) -> tuple[int, int]:
    """Return (3, 8) for "3/8"."""
    from medssl.errors import SettingsError

    first, _, second = shard.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise SettingsError(f"Expected a part such as 3/8 for --shard, but got '{shard}'")
    return int(first), int(second)


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
