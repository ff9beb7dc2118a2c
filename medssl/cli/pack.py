"""`medssl pack`: prepare all images once, ahead of training."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from medssl import discovery

if TYPE_CHECKING:
    from medssl.data.store import Store

_MODALITIES = ", ".join(discovery.names("modalities"))
_NAMED = 10


def command(
    data: Path = typer.Argument(..., metavar="MANIFEST|FOLDER", help="A manifest, or a folder of images."),
    modality: str = typer.Option(..., "--modality", help=f"Kind of image: {_MODALITIES}."),
    cache: Path | None = typer.Option(
        None,
        "-o",
        "--cache",
        metavar="FOLDER",
        help="Where stores lie. [default: MEDSSL_CACHE_DIR, or beside MANIFEST]",
    ),
    assignments: list[str] = typer.Option(
        [], "--set", help="As in pretrain: data.image_size=96, data.where=..., data.transforms=[...]; may be repeated."
    ),
    drop_unused: float | None = typer.Option(
        None, "--drop-unused", metavar="DAYS", min=0, help="Then remove other stores there, not opened for so long."
    ),
) -> None:
    """Prepare every image of a manifest once, into a store that pretrain and sweep then read.

    They would do it themselves; this does it ahead, on a machine without a GPU for example. The size is that which
    pretrain chooses on this machine unless --set data.image_size says otherwise. Interrupted, it leaves nothing half
    done; two at a time make one store.
    """
    from medssl.api import pack
    from medssl.cli import facts
    from medssl.cli.progress import shown
    from medssl.data import verify
    from medssl.settings import parse_overrides

    with shown() as display:
        made: list[int] = []

        def progress(kind: str, values: dict[str, object]) -> None:
            made.extend([1] if kind == "pack" else [])
            display(kind, values)

        store = pack(data, modality, settings=parse_overrides(assignments), cache=cache, progress=progress)
    facts.say(_facts(store, new=bool(made)))
    if drop_unused is not None:
        for gone in verify.remove_unused(store.folder.parent, drop_unused, but=store.folder):
            typer.echo(f"removed {gone}")
    words = ["medssl", "pretrain", "--modality", modality, "--method", "mae", "--data", str(data)]
    for assignment in [f"data.image_size={store.images.shape[-1]}", *assignments]:
        words += ["--set", assignment] if assignment not in words else []
    place = f"MEDSSL_CACHE_DIR={shlex.quote(str(cache.absolute()))} " if cache else ""
    typer.echo(f"next: {place}{shlex.join(words)}")


def _facts(store: "Store", *, new: bool) -> list[tuple[str, str]]:
    images, left_out = store.images, store.left_out
    channels, *sides = images.shape[1:]
    total = len(images) + len(left_out)
    told = [
        ("images", f"{len(images)} of {total}, {'packed now' if new else 'packed before'}"),
        ("each", f"{' x '.join(map(str, sides))}, {channels} channel{'s' if channels > 1 else ''}, {images.dtype}"),
        (
            "on disk",
            f"{images.nbytes / 1e6:.1f} MB in {len(images.shards)} shard{'s' if len(images.shards) > 1 else ''}",
        ),
        ("store", str(store.folder)),
    ]
    told += [("left out", f"sample {sample}: {reason}") for sample, reason in left_out[:_NAMED]]
    if len(left_out) > _NAMED:
        told.append(("", f"and {len(left_out) - _NAMED} more, all in {store.folder / 'store.json'}"))
    return told
