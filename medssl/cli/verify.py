"""`medssl verify`: is what lies on the disk what was written?"""

from pathlib import Path

import typer


def command(
    path: Path = typer.Argument(..., metavar="STORE|MANIFEST|RUN", help="A store, a manifest, or a run folder."),
    repair: bool = typer.Option(
        False, "--repair", help="Remove damaged stores; the next pack, pretrain or sweep packs them anew."
    ),
) -> None:
    """Read every byte of packed stores (of a run: its checkpoints and backbones, too) and find every flipped bit.

    Damaged shards are named with the samples in them. Ends with exit code 65 where something is damaged, 0 where all
    is whole.
    """
    from medssl.api import verify
    from medssl.cli.progress import shown
    from medssl.errors import DataError

    with shown() as progress:
        found = verify(path, repair=repair, progress=progress)
    for one in found:
        images = f"{one.images} images, " if one.images else ""
        state = "damaged" if one.damage else "whole"
        removed = ", removed" if one.damage and not one.folder.exists() else ""
        typer.echo(f"{state}{removed}  {one.folder}  ({images}{one.bytes / 1e6:.1f} MB)")
        for said in one.damage:
            typer.echo(f"  {said}")
    left = [one for one in found if one.damage and one.folder.exists()]
    if left:
        raise DataError(
            f"{len(left)} of {len(found)} {'is' if len(left) == 1 else 'are'} damaged",
            where=left[0].folder,
            fix="Remove damaged stores with --repair, they are packed anew; of a checkpoint use another copy",
        )
