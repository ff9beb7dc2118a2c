"""`medssl report`: decide what a folder is and write its page."""

from pathlib import Path

from medssl.errors import DataError, SettingsError
from medssl.report import page, run, sweep

NAME = "report.html"


def report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run or sweep folder.

    Args:
        folder: What `medssl pretrain` or `medssl sweep` wrote.
        out: Where the page goes; `report.html` in the folder by default.

    Returns:
        The path of the page.

    Raises:
        SettingsError: The page's name does not end in .html.
        DataError: The folder is neither, or its files are damaged.
        StorageError: The page could not be written.
    """
    folder = Path(folder)
    if out is not None and Path(out).suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"A report is an HTML page, but got '{out}'", fix="Give a name that ends in .html")
    return (sweep_report if is_sweep(folder) else run_report)(folder, out)


def run_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a pretraining run, which may be unfinished and is then marked so."""
    folder = Path(folder)
    _existing(folder)
    if not (folder / "settings.yaml").is_file():
        raise _unknown(folder)
    return page.write(out or folder / NAME, page.render("run.html.j2", run.context(folder)))


def sweep_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a finished sweep."""
    folder = Path(folder)
    _existing(folder)
    if not (folder / "results.json").is_file():
        if not (folder / "cells").is_dir():
            raise _unknown(folder)
        done = len(list((folder / "cells").glob("*.parquet")))
        raise DataError(
            f"The sweep has no results yet (cells done so far: {done})",
            where=folder,
            fix=f"Finish it by repeating its command with -o {folder} --resume",
        )
    return page.write(out or folder / NAME, page.render("sweep.html.j2", sweep.context(folder)))


def is_sweep(folder: Path) -> bool:
    """Return whether a folder was written by a sweep."""
    return (folder / "results.json").is_file() or (folder / "cells").is_dir()


def _existing(folder: Path) -> None:
    if not folder.is_dir():
        what = "A run or sweep is a folder, but this is a file" if folder.exists() else "There is no such folder"
        raise DataError(what, where=folder, fix="Give the folder of a run or of a sweep")


def _unknown(folder: Path) -> DataError:
    return DataError(
        "This is neither a run nor a sweep: it holds no settings.yaml, results.json or cells/",
        where=folder,
        fix="Give the folder that medssl pretrain or medssl sweep named",
    )
