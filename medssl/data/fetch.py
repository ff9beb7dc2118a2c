"""Fetching of a public dataset that may be had without a login, by its card."""

from pathlib import Path

from medssl import files
from medssl.data import archives, cards
from medssl.data.cards import Card, Download
from medssl.data.download import Progress, download
from medssl.errors import DataError, unknown_name

_HOW = {
    "open": "it is open, but has no address here from which it can be fetched",
    "registration": "it is given after registration",
    "request": "it is given on request, after an agreement",
}


def fetch(name: str, folder: Path, only: str | None = None, progress: Progress | None = None) -> list[Path]:
    """Download a dataset's files, check them, and unpack its archives.

    Args:
        name: Name of the card.
        folder: Where the files go; an interrupted fetch goes on there.
        only: The one file to fetch; None fetches all but the optional ones.
        progress: Called with events of kind "download" and "unpack".

    Returns:
        The files, and for archives the folders that they were unpacked to.

    Raises:
        SettingsError: There is no such card, or no such file in it.
        DataError: The set is not to be had without a login, or what came is not what was published.
        StorageError: The network or the disk fails, or the folder holds something else.
    """
    card = cards.load(name)
    chosen = _chosen(name, card, only)
    marks = [entry for file in card.files for entry in (file, f"{file}.part", f"{file}.wrong", archives.stem(file))]
    with files.claimed(folder, resume=True, marks=[mark for mark in marks if mark]):
        return [_one(folder / file, entry, progress) for file, entry in chosen.items()]


def _chosen(name: str, card: Card, only: str | None) -> dict[str, Download]:
    if not card.files:
        raise DataError(f"'{name}' cannot be fetched: {_HOW[card.access]}", fix=f"See {card.homepage}")
    if only is not None and only not in card.files:
        raise unknown_name(f"file of '{name}'", only, card.files)
    return {file: entry for file, entry in card.files.items() if (not entry.optional if only is None else file == only)}


def _one(target: Path, entry: Download, progress: Progress | None) -> Path:
    stem = archives.stem(target.name)
    unpacked = target.with_name(stem) if stem else None
    if unpacked and unpacked.is_dir():
        return unpacked
    download(entry.url, target, md5=entry.md5, progress=progress)
    if unpacked is None:
        return target
    archives.unpack(target, unpacked, progress=progress)
    return unpacked
