"""What `medssl embed` and `medssl attend` do, as functions: features with what is known of their images, and attention.

Example:
    found = medssl.embed("runs/first", "manifest.parquet", labels=["disease"])
    found.features                                            # (images, width), float32
    found.table.groupby("disease")["sample_id"].count()       # a row an image, in the same order
    seen = medssl.attend("runs/first@5", ["scan.png"]).images[0].heads  # (heads, *grid)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl import files
from medssl.data import builtin
from medssl.errors import SettingsError, StorageError
from medssl.evaluation import attending, embedded
from medssl.evaluation.attending import SHARE, Seen
from medssl.evaluation.cohort import Progress
from medssl.evaluation.projecting import umap_module
from medssl.training.device import open_device

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Embedding:
    """Features of the images of a manifest.

    Attributes:
        features: (N, D), float32.
        table: One row an image, in the same order: ids as the manifest has them, site, device, split, and the labels.
        remarks: Sentences on what was left out or has to be known.
        path: The Parquet file, None where none was asked for.
        page: The page of maps, None where none was asked for.
    """

    features: "np.ndarray"
    table: "pd.DataFrame"
    remarks: tuple[str, ...]
    path: Path | None = None
    page: Path | None = None


@dataclass(frozen=True)
class Attention:
    """Where the heads of a vision transformer look.

    Attributes:
        images: Each with its name, as it was shown (C, *spatial), and `heads`, (heads, *grid), each summing to 1.
        query: Which tokens were asked: "class" or "patches".
        remarks: Sentences on what was left out.
        page: The page of pictures, None where none was asked for.
    """

    images: tuple[Seen, ...]
    query: str
    remarks: tuple[str, ...]
    page: Path | None = None


def embed(
    run: str | Path,
    data: str | Path,
    *,
    labels: Sequence[str] = (),
    baseline: str | None = None,
    checkpoint: str = "last",
    where: str | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    maps: bool = False,
    umap: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Embedding:
    """Return the frozen features of a run for every usable image of a manifest.

    Args:
        run: The folder of a finished run, `RUN@N` for the weights that it kept after epoch N (`train.keep_epochs`).
        data: The manifest.
        labels: Its columns that go with the features; the one that the run watched, where it is there, if none.
        baseline: In place of the run's features "random" (weights), "pixels" or "shortcut".
        checkpoint: "last", or "best" by the online kNN.
        where: A condition on the manifest's columns: `"site == 'A'"`.
        seed: Of random weights, t-SNE and UMAP, 0 or more.
        device: "auto", "cpu" or "cuda".
        out: The Parquet file to write; None writes none.
        maps: Write a page of maps beside it, `FILE.html`; it needs `out`.
        umap: Draw UMAP on that page, too, which needs the extra `embed`; it implies `maps`.
        overwrite: Replace files of these names.
        progress: Told how far it is: "pack", "map", "kept" with `done` and `total`.

    Returns:
        Features, (N, D), and a table of N rows in the same order.

    Raises:
        SettingsError: A name, column or condition is wrong, or maps are asked for without `out`.
        DataError: The run has no such weights, or the run or the manifest cannot be used.
        StorageError: A file is there already, or cannot be written.
    """
    maps = maps or umap
    path = _parquet(out, Path(data), maps=maps, overwrite=overwrite)
    if umap:
        umap_module()
    target = open_device(device).target
    images = embedded.open_images(
        Path(run), Path(data), labels=labels, checkpoint=checkpoint, where=where, progress=progress
    )
    source = embedded.source_of(images, baseline, seed)
    if maps:
        from medssl.report import embedded as report  # matplotlib, which features alone do not need

        report.check_labels(images)
        if baseline is None:  # the page shows training, and a damaged epoch is refused before features are written
            embedded.snapshots(images.run)
    features = images.features(source, target)
    page = None
    if path is not None:
        embedded.save(images, features, baseline, path)
    if path is not None and maps:
        asked = report.Asked(Path(data), baseline, umap=umap, seed=seed)
        page = report.write(path.with_suffix(".html"), images, features, asked, target, progress)
    return Embedding(features, embedded.known(images), images.remarks, path, page)


def attend(
    run: str | Path,
    images: Sequence[str | Path],
    *,
    rows: Sequence[str] = (),
    where: str | None = None,
    most: int = 8,
    keep: float = 100 * SHARE,
    query: str = "pooled",
    size: int | None = None,
    checkpoint: str = "last",
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Attention:
    """Return how each head of the last block of a run's ViT spreads its attention over the patches of images.

    Args:
        run: The folder of a finished run of a ViT, `RUN@N` for the weights that it kept after epoch N.
        images: Image files, folders of images or manifests.
        rows: Of a manifest: these sample ids only.
        where: Of a manifest: a condition on its columns.
        most: Images at most, evenly spaced among those that there are, 1 or more.
        keep: Per cent of the attention that the segmentation on the page keeps, in (0, 100].
        query: "class" (token), "patches", or "pooled" for whichever makes the feature.
        size: Side of the image, the run's own if None; a larger one shows finer maps.
        checkpoint: "last", or "best" by the online kNN.
        out: A new folder for a page and a PNG an image; None writes none.
        progress: Told how far it is: "read" with `done` and `total`.

    Returns:
        The images with their maps, (heads, *grid) each.

    Raises:
        SettingsError: The backbone has no attention, or a value is wrong.
        DataError: The run has no such weights, there is no image, or none can be used.
        StorageError: The folder is there already, or cannot be written.
    """
    if isinstance(images, str | Path):
        raise SettingsError(f"Expected a list of images, but got '{images}'", fix=f"Write ['{images}']")
    if not 0 < keep <= 100 or most < 1:
        raise SettingsError(f"Expected keep in (0, 100] and most of 1 or more, but got {keep} and {most}")
    if out is not None and Path(out).exists():
        raise StorageError("There is a file or folder of that name already", where=out, fix="Choose another -o")
    paths = [Path(path) for path in images]
    looker = attending.open_looker(Path(run), checkpoint=checkpoint, query=query, size=size)
    seen, remarks = attending.look(looker, paths, rows=rows, where=where, most=most, progress=progress)
    page = None
    if out is not None:
        from medssl.report import attended  # matplotlib, which maps alone do not need

        with files.atomic_folder(Path(out), listed=False) as folder:
            synthetic = all(builtin.is_builtin(path) for path in paths)
            attended.write(folder, looker, seen, keep / 100, remarks, synthetic=synthetic)
        page = Path(out) / attended.NAME
    return Attention(tuple(seen), looker.query, tuple(remarks), page)


def _parquet(out: str | Path | None, data: Path, *, maps: bool, overwrite: bool) -> Path | None:
    """Return where features go, after a look whether they may go there."""
    if out is None:
        if maps:
            raise SettingsError("Maps are written beside the features, and no file is named", fix="Set out too")
        return None
    path = Path(out)
    if path.suffix.lower() != ".parquet":
        raise SettingsError(f"Features are written as .parquet, but got '{path}'")
    for file in [path] + [path.with_suffix(".html")] * maps:
        files.refuse_existing(file, overwrite=overwrite)
    if path.resolve() == data.resolve():
        raise SettingsError(f"The features would replace '{path}', which they are made of", fix="Choose another -o")
    return path
