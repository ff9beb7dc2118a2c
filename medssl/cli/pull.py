"""`medssl pull`: from a hospital's picture archive (PACS) to a folder of DICOM files."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medssl.data.pacs.pulling import Manners, Result, Source
    from medssl.data.pacs.wanted import Series

_NONE: list[str] = []


def command(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="AET@host:port of a PACS, or the https address of its DICOMweb.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Where the files go; repeat to go on.")
    ] = None,
    patient: Annotated[
        list[str], typer.Option("--patient", metavar="ID...", help="Patient IDs; * and ? stand for anything.")
    ] = _NONE,
    patients: Annotated[
        Path | None, typer.Option("--patients", metavar="FILE", help="A text file of patient IDs, one a line.")
    ] = None,
    study_date: Annotated[
        str | None, typer.Option("--study-date", metavar="DAYS", help="20240131, 20240101-20241231 or 20240101-.")
    ] = None,
    modality: Annotated[list[str], typer.Option("--modality", metavar="NAME...", help="CT, MR, DX, OPT, ...")] = _NONE,
    study: Annotated[list[str], typer.Option("--study", metavar="UID...", help="Study Instance UIDs.")] = _NONE,
    accession: Annotated[
        list[str], typer.Option("--accession", metavar="NUMBER...", help="Accession numbers.")
    ] = _NONE,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="QUERY",
            help="Keep series by patient_id, study_date, modality, study_description, series_description, body_part, "
            "accession or instances: \"body_part == 'CHEST' and instances >= 40\".",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Ask for all the PACS has.")] = False,
    count: Annotated[bool, typer.Option("--count", "--dry-run", help="Only say how much there is.")] = False,
    aet: Annotated[str, typer.Option("--aet", metavar="AET", help="Our AE title.")] = "MEDSSL",
    move: Annotated[
        int | None, typer.Option("--move", metavar="PORT", help="Use C-MOVE, listening at this port, not C-GET.")
    ] = None,
    sender: Annotated[
        list[str], typer.Option("--allow", metavar="AET[@IP]", help="With --move: who may send.  [default: the PACS]")
    ] = _NONE,
    bind: Annotated[str, typer.Option("--bind", metavar="IP", help="With --move: address to listen at.")] = "",
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="For every answer.")] = 60,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Tries again after trouble that may pass.")] = 4,
    instances_per_second: Annotated[
        float | None, typer.Option("--instances-per-second", metavar="N", help="At most so many.")
    ] = None,
    mb_per_second: Annotated[
        float | None, typer.Option("--mb-per-second", metavar="MB", help="At most so many.")
    ] = None,
    between: Annotated[
        str | None, typer.Option("--between", metavar="HH:MM-HH:MM", help="Only at this time of the day: 22:00-06:00.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt DIMSE; https is always encrypted.")] = False,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="PEM", help="The hospital's certificate authority.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="PEM", help="With --tls: our certificate.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="PEM", help="With --tls: its key.")] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Allow http, unencrypted, to another machine.")
    ] = False,
) -> None:
    """Fetch images from a PACS into a folder, gently: one association or request at a time, within limits.

    Repeat the command to go on: what is there is not fetched again. Files are named by hashes, and nothing printed
    names a patient. The password of a DICOMweb service comes from MEDSSL_PACS_USER and MEDSSL_PACS_PASSWORD, or
    MEDSSL_PACS_TOKEN, or ~/.netrc. See docs/pacs.md for what a PACS administrator wants to know.
    """
    from medssl.cli.progress import shown
    from medssl.data.pacs import association, pulling, window
    from medssl.data.pacs.receiving import Receiver, parse_allowed
    from medssl.data.pacs.wanted import Wanted, parse_dates
    from medssl.errors import SettingsError
    from medssl.training.stopping import StopSignals

    wanted = Wanted(
        patients=(*patient, *_listed(patients)), dates=parse_dates(study_date), modalities=tuple(modality),
        studies=tuple(study), accessions=tuple(accession), where=where,
    )  # fmt: skip
    if wanted.everything and not everything:
        fix = "Name --patient, --study-date, --modality or another condition, or add --everything"
        raise SettingsError("This would fetch all that the PACS has", fix=fix)
    if output is None and not count:
        raise SettingsError("There is no folder to write to", fix="Add -o FOLDER, or --count to see how much there is")
    encryption = association.Tls(ca, certificate, key) if tls else None
    aet = association.check_aet(aet, "--aet")
    with StopSignals() as signals, shown() as progress:
        manners = pulling.Manners(
            retries=retries, instances=instances_per_second, megabytes=mb_per_second,
            between=window.parse_window(between) if between else None,
            stop=lambda: f"Stopped by {signals.asked}" if signals.asked else None,
        )  # fmt: skip
        peer = association.parse_peer(source)
        receiver = None
        if peer is not None and move is not None and not count:
            allowed = [parse_allowed(text) for text in sender] or [parse_allowed(peer.aet)]
            receiver = Receiver(
                aet, move, allowed, bind=bind, tls=encryption, timeout=timeout,
                tell=lambda text: progress("remark", {"text": text}),
            )  # fmt: skip
        with receiver if receiver is not None else nullcontext():
            archive = _archive(source, aet, timeout, encryption, ca, receiver, plain=plain_http)
            found = pulling.find(archive, wanted, manners, progress)
            result = _fetch(archive, found, output, manners, progress) if output and not count else None
    _say(found, result, output)


def _listed(path: Path | None) -> list[str]:
    from medssl.errors import DataError

    if path is None:
        return []
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The patient IDs cannot be read: {error}", where=path) from error
    if not any(lines):
        raise DataError("There are no patient IDs in the file", where=path)
    return [line for line in lines if line]


def _archive(
    source: str, aet: str, timeout: float, tls: Any, ca: Path | None, receiver: Any, *, plain: bool
) -> "Source":
    from medssl.data.pacs.association import parse_peer
    from medssl.errors import SettingsError

    peer = parse_peer(source)
    if peer is not None:
        from medssl.data.pacs.dimse import Dimse

        return Dimse(peer, aet, timeout=timeout, tls=tls, move_to=receiver)
    if source.lower().startswith(("http://", "https://")):
        from medssl.data.pacs.dicomweb import DicomWeb
        from medssl.data.pacs.session import check_url

        return DicomWeb(check_url(source, plain=plain), timeout=timeout, ca=ca)
    fix = "Give AET@host:port, or the address of a DICOMweb service such as https://pacs.hospital/dicom-web"
    raise SettingsError(f"'{source}' is no PACS", fix=fix)


def _fetch(archive: "Source", found: "list[Series]", output: Path, manners: "Manners", progress: Any) -> "Result":
    from medssl.data.pacs import folder, pulling

    with folder.held(output) as place:
        return pulling.pull(archive, found, place, manners, progress)


def _say(found: "list[Series]", result: "Result | None", output: Path | None) -> None:
    from medssl.data.pacs.pulling import complete

    patients, studies = {one.patient_id for one in found}, {one.study for one in found}
    unknown = sum(one.instances is None for one in found)
    instances = f"{sum(one.instances or 0 for one in found)} instances"
    if unknown:
        instances = f"at least {instances} ({unknown} series do not say how many)"
    typer.echo(f"the PACS has {len(patients)} patients, {len(studies)} studies, {len(found)} series, {instances}")
    if result is None:
        return
    counts = result.counts
    typer.echo(f"fetched {counts.new} instances, {counts.bytes / 1e6:.1f} MB; {result.already} were there already")
    complete(result)
    typer.echo(f"wrote {output}")
    typer.echo(f"next: medssl scan {output} -o manifest.parquet")
