"""`medssl receive`: a DICOM node that others send to, which fills a folder."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

_EVERY = 10.0  # seconds between two lines of progress
_NONE: list[str] = []


def command(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the files go.")],
    allow: Annotated[
        list[str], typer.Option("--allow", metavar="AET[@IP]...", help="Calling AE titles that may send.")
    ] = _NONE,
    aet: Annotated[str, typer.Option("--aet", metavar="AET", help="Our AE title; others are refused.")] = "MEDSSL",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0 for a free one.")] = 11112,
    bind: Annotated[str, typer.Option("--bind", metavar="IP", help="Address to listen at.  [default: all]")] = "",
    seconds: Annotated[
        float | None, typer.Option("--for", min=0, metavar="SECONDS", help="End after so many seconds.")
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            "--until-idle", min=0, metavar="SECONDS", help="End when nothing came for so long after the first."
        ),
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Associations at a time.")] = 10,
    largest_mb: Annotated[
        float, typer.Option("--largest-mb", min=1, metavar="MB", help="Largest instance; it is held in memory.")
    ] = 4096,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="A silent association ends.")
    ] = 60,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let another instance of a UID take the place of the first.")
    ] = False,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="PEM", help="With --certificate: senders need one of this authority.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="PEM", help="Encrypt, with this certificate.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="PEM", help="The certificate's key.")] = None,
) -> None:
    """Take what a PACS or a device sends, until Ctrl-C or a limit, and keep each instance whole or not at all.

    Only the named AE titles may send. An instance that is there already is not written again; a different one of the
    same UID is refused. On a full disk the sender is told so, instance by instance.
    """
    from medssl.data.pacs import receiving
    from medssl.data.pacs.association import Tls, check_aet
    from medssl.data.pacs.folder import held
    from medssl.data.pacs.landing import Landing
    from medssl.errors import SettingsError, StorageError
    from medssl.training.stopping import StopSignals

    if certificate is None and (ca or key):
        raise SettingsError("Encryption needs our certificate", fix="Add --certificate PEM")
    receiver = receiving.Receiver(
        check_aet(aet, "--aet"), port, [receiving.parse_allowed(text) for text in allow], bind=bind, most=most,
        largest_mb=largest_mb, timeout=timeout, tell=_log, tls=Tls(ca, certificate, key) if certificate else None,
    )  # fmt: skip
    with StopSignals() as signals, held(output, replace=replace) as folder:
        landing = Landing(folder)
        with receiver.lands(landing) as taker, receiver:
            _log(f"listening as {receiver.aet} at {bind or 'all addresses'}, port {receiver.port}")
            why = receiving.serve(
                receiver, seconds=seconds, idle=idle, stop=lambda: signals.asked is not None, tick=_Ticker(landing)
            )
    counts = landing.counts
    typer.echo(f"ended: {why}")
    typer.echo(
        f"received {counts.new} instances, {counts.bytes / 1e6:.1f} MB; {counts.there} were there already, "
        f"{counts.differs} differed from the one here, {receiver.refused} associations were refused"
    )
    if taker.failed:
        raise StorageError(
            f"{taker.failed} instances were not written; their senders were told so",
            where=output,
            fix="See the lines above, and have them sent again",
        )
    if counts.new:
        typer.echo(f"wrote {output}")
        typer.echo(f"next: medssl scan {output} -o manifest.parquet")


class _Ticker:
    """Says every few seconds how much has come, where that changed."""

    def __init__(self, landing: "object") -> None:
        self._counts, self._said, self._when = landing.counts, 0, time.monotonic()  # type: ignore[attr-defined]

    def __call__(self) -> None:
        if self._counts.new != self._said and time.monotonic() - self._when >= _EVERY:
            self._said, self._when = self._counts.new, time.monotonic()
            _log(f"received {self._said} instances, {self._counts.bytes / 1e6:.1f} MB")


def _log(text: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)
