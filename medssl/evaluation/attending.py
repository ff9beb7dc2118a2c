"""Where the last block of a vision transformer looks: its attention over the patches, and the part that holds most.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin, "Emerging properties in self-supervised vision
transformers", ICCV 2021 (https://arxiv.org/abs/2104.14294), figures 1 and 4.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from torch import nn

from medssl.backbones.parts.patches import grid_of
from medssl.backbones.weights import load_backbone
from medssl.batch import Batch
from medssl.data.manifest import Manifest
from medssl.data.masking import Names
from medssl.data.readers import read_image
from medssl.data.scan import keep, scan
from medssl.errors import DataError, SettingsError
from medssl.evaluation.arms import Pretrained, check_checkpoint, open_run
from medssl.evaluation.cohort import Progress, modality_of
from medssl.training.views import plain_view

QUERIES = {
    "pooled": "what the pooled feature is made of asks",
    "class": "the class token asks",
    "patches": "the patches ask, on average",
}
SHARE = 0.6
"""Of the attention that the segmentation keeps, as in the paper's figure 4."""


@dataclass(frozen=True)
class Looker:
    """A run's backbone, and which of its tokens are asked where they look.

    Attributes:
        run: The run.
        backbone: In eval mode.
        query: "class" or "patches".
        size: Side of the image that it is shown, in pixels or voxels.
    """

    run: Pretrained
    backbone: nn.Module
    query: str
    size: int

    def attention(self, view: torch.Tensor) -> np.ndarray:
        """Return how each head of the last block spreads over the patches: (B, C, *spatial) -> (B, heads, *grid).

        Each map sums to 1: what goes to tokens that are no patches is left out. Where the class token makes the
        feature its row is taken, as in the paper; where the mean of the patches does, the mean of their rows.
        """
        with torch.inference_mode():
            maps = self.backbone.attention_maps(view).float()  # type: ignore[operator]  # (B, heads, P + N, P + N)
        first: int = self.backbone.prefix_tokens  # type: ignore[assignment]
        rows = maps[:, :, 0, first:] if self.query == "class" else maps[:, :, first:, first:].mean(dim=2)
        rows = rows / rows.sum(dim=2, keepdim=True)
        grid = grid_of(view.shape[2:], self.backbone.patch)  # type: ignore[arg-type]
        return rows.unflatten(2, grid).cpu().numpy()


@dataclass(frozen=True)
class Seen:
    """An image, and where each head looked.

    Attributes:
        name: Its nickname.
        image: As the backbone was shown it, (C, *spatial).
        heads: (heads, *grid), each summing to 1.
    """

    name: str
    image: np.ndarray
    heads: np.ndarray


def open_looker(run: Path, *, checkpoint: str = "last", query: str = "pooled", size: int | None = None) -> Looker:
    """Return the backbone of a finished run, ready to be asked.

    Args:
        run: Its folder, `RUN@N` for the weights that it kept after epoch N.
        checkpoint: "last" or "best".
        query: "class", "patches", or "pooled" for the one that makes the feature.
        size: Side of the image, the run's own if None; positions are interpolated.

    Raises:
        SettingsError: The backbone has no attention or no such token, or its patch does not divide the size.
        DataError: The run cannot be used.
    """
    check_checkpoint(checkpoint)
    opened = open_run(run, checkpoint)
    if query not in QUERIES:
        raise SettingsError(f"Expected --query {', '.join(QUERIES)}, but got '{query}'")
    backbone: Any = load_backbone(opened.backbone)
    if not hasattr(backbone, "attention_maps"):
        raise SettingsError(
            f"The backbone '{backbone.name}' of this run has no attention maps of the whole image: only a ViT has",
            where=run,
            fix="Give a run of a ViT, such as --backbone vit_small",
        )
    if query == "pooled":
        query = "class" if getattr(backbone.settings, "pooling", "mean") == "class" else "patches"
    if query == "class" and not getattr(backbone.settings, "class_token", False):
        raise SettingsError("The backbone of this run has no class token", where=run, fix="Use --query patches")
    side = size or opened.recipe.image_size
    if any(side % edge for edge in backbone.patch):
        raise SettingsError(f"Expected --size to be a multiple of the patch {backbone.patch}, but got {side}")
    _check_memory(backbone, side)
    return Looker(opened, backbone, query, side)


def _check_memory(backbone: Any, side: int) -> None:
    """Refuse images whose attention, which grows with the square of the patches, takes half of the free memory."""
    tokens = math.prod(side // edge for edge in backbone.patch)
    needed = 3 * 4 * backbone.settings.heads * tokens**2  # logits, softmax and a copy, in single precision
    free = psutil.virtual_memory().available
    if needed > free / 2:
        raise SettingsError(
            f"Images of {side} a side have {tokens:,} patches, whose attention needs {needed / 1e9:.0f} GB of memory",
            where="--size",
            fix="Take a smaller one",
        )


def top_mass(attention: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Return the fewest patches that together hold a share of the attention, as booleans of the same shape.

    Patches are taken from the one with most attention on, as in the authors' `visualize_attention.py`: those with the
    least, which together hold less than 1 - share, are left out.

    Args:
        attention: (*grid), not negative, summing to 1.
        share: In (0, 1].

    Example:
        >>> top_mass(np.array([0.1, 0.5, 0.3, 0.1]), 0.6)
        array([False,  True,  True, False])
    """
    flat = attention.ravel().astype(np.float64)
    order = np.argsort(-flat, kind="stable")
    before = np.cumsum(flat[order]) - flat[order]  # what those with more attention hold together
    kept = np.zeros(flat.shape, dtype=bool)
    kept[order] = before < share * flat.sum() - 1e-9
    return kept.reshape(attention.shape)


def spread(attention: np.ndarray) -> float:
    """Return over which share of the patches attention spreads: exp(entropy) / N; 1 where all have the same."""
    held = attention[attention > 0].astype(np.float64)
    return float(np.exp(-(held * np.log(held)).sum()) / attention.size)


def look(
    looker: Looker,
    paths: Sequence[Path],
    *,
    rows: Sequence[str] = (),
    where: str | None = None,
    most: int = 8,
    progress: Progress | None = None,
) -> tuple[list[Seen], list[str]]:
    """Return where the heads look in images, and sentences on those that were left out.

    Args:
        looker: The backbone.
        paths: Image files, folders of images or manifests.
        rows: Sample ids: these images only.
        where: A condition on the columns.
        most: Images at most, evenly spaced among those that there are.
        progress: Told how far it is.

    Raises:
        SettingsError: A sample id or the condition is wrong.
        DataError: There is no image, or none can be used.
    """
    if not paths:
        raise DataError("There is no image to look at", fix="Give image files, folders of images or a manifest")
    found = [(manifest, place) for path in paths for manifest, place in _places(path, rows, where, progress)]
    if rows and len(found) < len(rows):
        raise SettingsError(
            f"Of {len(rows)} sample ids {len(found)} are there", where="--row", fix="See the column sample_id"
        )
    chosen = [
        found[place] for place in np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    ]
    seen, remarks, problem = [], [], None
    for done, (manifest, place) in enumerate(chosen, start=1):
        try:
            seen.append(_seen(looker, manifest, place))
        except DataError as error:
            problem = problem or error
            remarks.append(f"an image cannot be used: {Names(shown=False, table=manifest.table).text(error.what)}")
        if progress:
            progress("read", {"done": done, "total": len(chosen)})
    if problem is not None and not seen:
        raise problem
    if len(chosen) < len(found):
        remarks.append(f"{len(chosen)} of {len(found)} images are shown, evenly spaced")
    return seen, remarks


def _places(
    path: Path, rows: Sequence[str], where: str | None, progress: Progress | None
) -> Iterator[tuple[Manifest, int]]:
    manifest = keep(scan([path], progress=progress), where)
    table = manifest.table
    usable = table["status"] == "ok"
    if not usable.any():
        reasons = table["reason"].dropna()
        first = f"; the first: {reasons.iloc[0]}" if len(reasons) else ""
        raise DataError(f"None of the {len(table)} rows is an image that can be read{first}", where=path)
    chosen = usable & table["sample_id"].isin(rows) if rows else usable
    yield from ((manifest, int(place)) for place in np.flatnonzero(chosen.to_numpy(dtype=bool)))


def _seen(looker: Looker, manifest: Manifest, place: int) -> Seen:
    row = manifest.table.iloc[place]
    kind = modality_of(looker.run.recipe)
    image = read_image(manifest, row)
    stored = kind.prepare(kind.before(image), looker.size)
    batch = Batch(torch.tensor(stored)[None], [""], [None], [""])
    view = plain_view(batch, kind)
    said = Names(shown=False).of("path", row["path"].rpartition("/")[2])
    frame = "" if pd.isna(row["frame"]) else f", frame {int(row['frame']) + 1}"
    return Seen(f"{said}{frame}", view[0].numpy(), looker.attention(view)[0])
