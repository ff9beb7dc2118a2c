"""What the page of attention maps shows: each image, where every head looks, and the part that holds most of it."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from medssl.evaluation.attending import Looker, Seen, spread, top_mass
from medssl.report import page, pictures, sheet
from medssl.report.run import method_title, modality_title
from medssl.report.sheet import Cell
from medssl.report.words import percent, plural

_AXES = ("slices", "rows", "columns")
_HEAT, _MASK = 0.55, 0.45  # share of the colour over the image
_COLOUR = np.array([255.0, 176.0, 0.0])
_LEAST = 224
_RGB = 3
NAME = "report.html"
Row = dict[str, Any]


def write(
    folder: Path, looker: Looker, seen: Sequence[Seen], share: float, remarks: Sequence[str], *, synthetic: bool = False
) -> list[Path]:
    """Write the page and one PNG an image into a folder, and return their paths.

    Args:
        folder: An existing folder.
        looker: The backbone.
        seen: Images and where its heads looked.
        share: Of the attention that the segmentation keeps, in (0, 1].
        remarks: Sentences on what was left out.
        synthetic: Whether all images are of a built-in cohort.
    """
    images = [_image(place, one, share) for place, one in enumerate(seen, start=1)]
    written = []
    for image in images:
        written.append(folder / f"{image['file']}.png")
        sheet.write(written[-1], [cell for row in image["rows"] for cell in row["cells"]])
    return [
        page.write(
            folder / NAME,
            page.render("attend.html.j2", {**_context(looker, images, share, remarks), "synthetic": synthetic}),
        ),
        *written,
    ]


def _context(looker: Looker, images: Sequence[Row], share: float, remarks: Sequence[str]) -> Row:
    settings = looker.run.settings
    backbone: Any = looker.backbone
    return {
        "title": f"Where {method_title(settings['method'])} looks",
        "of": modality_title(settings["modality"], settings.get("own_modality")),
        "name": looker.run.name,
        "query": looker.query,
        "share": percent(100 * share),
        "patch": " x ".join(map(str, backbone.patch)),
        "size": looker.size,
        "images": [{**image, "rows": [_drawn(row) for row in image["rows"]]} for image in images],
        "remarks": list(remarks),
        "about": {"run": looker.run.name, "backbone": backbone.name, "weights": looker.run.weights_hash},
        "counted": plural(len(images), "image"),
    }


def _drawn(row: Row) -> Row:
    cells = [(cell.caption, uri(cell.picture)) for cell in row["cells"] if cell.picture is not None]
    half = len(cells) // 2 + 1  # the picture and the attention, then what is kept of it
    return {"name": row["name"], "parts": [cells[:half], cells[half:]]}


def _image(place: int, one: Seen, share: float) -> Row:
    """Return the rows of pictures of an image: one, or one a plane of a volume."""
    heads = {"all heads": one.heads.mean(axis=0)}
    heads |= {f"head {k}": head for k, head in enumerate(one.heads, start=1)}
    rows = [
        {"name": name, "cells": _cells(_picture(one.image, axis), heads, axis, share)}
        for axis, name in _planes(one.image.ndim - 1)
    ]
    return {"title": f"Image {place}", "who": one.name, "file": f"image-{place}", "rows": rows}


def _cells(picture: np.ndarray, heads: dict[str, np.ndarray], axis: int | None, share: float) -> list[Cell]:
    """Return the picture, the attention of all heads and of each over it, then what each segmentation keeps."""
    hot = [
        Cell(f"{name}, spread {_told(spread(head))}", _hot(picture, _cut(head / head.max(), axis)))
        for name, head in heads.items()
    ]
    masks = {name: top_mass(head, share) for name, head in heads.items()}
    kept = [
        Cell(f"{name}, kept {_told(mask.mean())}", _marked(picture, _cut(mask, axis))) for name, mask in masks.items()
    ]
    return [Cell("image", picture), *hot, *kept]


def _told(share: float) -> str:
    return f"{100 * share:.0f} %"


def _planes(spatial_dims: int) -> list[tuple[int | None, str]]:
    """Return the axes that a picture is cut across, with their names: none for an image, each of a volume."""
    if spatial_dims == 2:
        return [(None, "")]
    return [(axis, f"middle of the {name}") for axis, name in enumerate(_AXES)]


def _cut(values: np.ndarray, axis: int | None) -> np.ndarray:
    """Return the middle plane of (*grid) across an axis; all of it where there are two axes."""
    return values if axis is None else np.take(values, values.shape[axis] // 2, axis=axis)


def _picture(image: np.ndarray, axis: int | None) -> np.ndarray:
    """Return an image or its middle plane as it is drawn, (C, *spatial) -> (H, W, 3) uint8, enlarged where small."""
    plane = np.stack([_cut(channel, axis) for channel in image])
    shown = pictures.levels(plane, *pictures.window(image), colour=len(plane) == _RGB)
    shown = shown if shown.ndim == _RGB else np.repeat(shown[..., None], 3, axis=2)
    times = max(1, -(-_LEAST // max(shown.shape[:2])))
    return shown.repeat(times, axis=0).repeat(times, axis=1)


def _hot(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a picture under colours for values in [0, 1], each over its patch."""
    colours = mpl.colormaps["inferno"](_over(values, picture))[..., :3] * 255
    return (picture * (1 - _HEAT) + colours * _HEAT).round().astype(np.uint8)


def _marked(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a picture with a mask over it in one colour."""
    over = _over(mask, picture)[..., None]
    return np.where(over, picture * (1 - _MASK) + _COLOUR * _MASK, picture).round().astype(np.uint8)


def _over(values: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return values of patches at every pixel of a picture: nothing is smoothed that the network did not see."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(picture.shape, values.shape, strict=False))
    return values[np.ix_(rows, columns)]


def uri(picture: np.ndarray) -> str:
    """Return a PNG data URI of (H, W, 3) uint8."""
    data = io.BytesIO()
    Image.fromarray(picture).quantize(128).save(data, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
