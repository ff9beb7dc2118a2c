"""A sheet of pictures as one PNG: equal cells in a grid, a caption above each, exact pixels.

A picture smaller than its cell is enlarged a whole number of times by repeating its pixels; a larger one is reduced
by averaging. Nothing but pixels is written: no text chunks, no time.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medssl import files
from medssl.errors import SettingsError, StorageError

CELL, CAPTION, GAP = 224, 20, 8
"""Side of a cell, height of the caption above it, and distance to the next, in pixels."""
_WIDEST, _NARROWEST = 6, 4
_PAGE, _INK, _EMPTY = (255, 255, 255), (40, 40, 40), (232, 232, 232)


@dataclass(frozen=True)
class Cell:
    """A picture with its caption.

    Attributes:
        caption: What it is, in a few words without identifiers.
        picture: (H, W) or (H, W, 3) uint8; None for an image that could not be read.
    """

    caption: str
    picture: np.ndarray | None


def check_place(path: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse a place where a sheet cannot or must not be written, before any work is done.

    Args:
        path: Where the sheet goes.
        overwrite: Whether a file of that name may be replaced.
        inputs: What the sheet is made of, never replaced.

    Raises:
        SettingsError: The name does not end in .png, or is that of an input.
        StorageError: Its folder is not there, or there is a file or folder of that name.
    """
    if path.suffix.lower() != ".png":
        raise SettingsError(f"A sheet of pictures is a PNG, but got '{path}'", fix="Give a name that ends in .png")
    if not path.parent.is_dir():
        raise StorageError("There is no such folder", where=path.parent, fix="Make it, or choose another -o")
    if path.is_dir():
        raise StorageError("There is a folder of that name", where=path, fix="Choose another -o")
    if any(path.resolve() == given.resolve() for given in inputs):
        raise SettingsError(f"The sheet would replace '{path}', which it is made of", fix="Choose another -o")
    files.refuse_existing(path, overwrite=overwrite)


def write(path: Path, cells: Sequence[Cell]) -> None:
    """Write a sheet whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    data = io.BytesIO()
    draw(cells).save(data, format="PNG", optimize=True)
    files.write_bytes(path, data.getvalue())


def draw(cells: Sequence[Cell]) -> Image.Image:
    """Return the sheet, cells in rows from left to right."""
    across = columns(len(cells))
    down = -(-len(cells) // across)
    step_x, step_y = CELL + GAP, CELL + CAPTION + GAP
    page = Image.new("RGB", (GAP + across * step_x, GAP + down * step_y), _PAGE)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for place, cell in enumerate(cells):
        x, y = GAP + place % across * step_x, GAP + place // across * step_y
        pen.text((x, y), cell.caption, fill=_INK, font=font)
        page.paste(_framed(cell.picture), (x, y + CAPTION))
    return page


def columns(cells: int) -> int:
    """Return how many cells stand in a row: 4 to 6, whatever leaves the fewest places of the last row empty.

    Example:
        >>> columns(17), columns(16), columns(24), columns(2)
        (6, 4, 6, 2)
    """
    if cells <= _NARROWEST:
        return max(cells, 1)
    return min(range(_WIDEST, _NARROWEST - 1, -1), key=lambda across: -cells % across)


def _framed(picture: np.ndarray | None) -> Image.Image:
    """Return a cell with the picture in its middle."""
    frame = Image.new("RGB", (CELL, CELL), _EMPTY)
    if picture is None:
        return frame
    drawn = Image.fromarray(picture).convert("RGB")
    width, height = drawn.size
    longest = max(width, height)
    if longest <= CELL:
        times = CELL // longest
        drawn = drawn.resize((width * times, height * times), Image.Resampling.NEAREST)
    else:
        size = (max(1, round(width * CELL / longest)), max(1, round(height * CELL / longest)))
        drawn = drawn.resize(size, Image.Resampling.BOX)
    frame.paste(drawn, ((CELL - drawn.width) // 2, (CELL - drawn.height) // 2))
    return frame
