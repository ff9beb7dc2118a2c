"""PNG, JPEG, TIFF and BMP, 8 and 16 bits, upright as their EXIF says.

They carry no spacing: a resolution in dots per inch is that of a printer or a screen, so spacing stays unknown.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image as Pil
from PIL import UnidentifiedImageError

from medssl.data.image import Image
from medssl.data.readers.parts.colour import channels_first
from medssl.errors import DataError

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "PA": 3, "F": 1, "I": 1}
_ENDINGS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation: from stored to upright
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are of a picture format; the name does not matter."""
    bitmap = head[:2] == b"BM" and len(head) >= 26 and int.from_bytes(head[14:18], "little") in (12, 40, 108, 124)
    return head.startswith(_MAGIC) or bitmap


def describe(path: Path) -> list[dict[str, Any]]:
    """Return one row a picture, one a page where there are several.

    Raises:
        DataError: The header cannot be parsed, or the end of the file is missing.
    """
    with _opened(path) as picture:
        pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
        rows = []
        for page in range(pages):
            if page:
                picture.seek(page)
            rows.append(_row(path, picture, page if pages > 1 else None))
        _check_end(path, picture)
    return rows


def read(path: Path, frame: int | None = None) -> Image:
    """Return (C, rows, columns) uint8, uint16, int32 or float32; colour with equal channels becomes one channel.

    Args:
        path: The file.
        frame: Number of the page of a TIFF, from 0.

    Raises:
        DataError: It cannot be decoded, or there is no such page.
    """
    with _opened(path) as picture:
        try:
            picture.seek(frame or 0)
            array, remarks = _pixels(path, picture, frame or 0)
        except EOFError as error:
            raise DataError(f"There is no page {frame}", where=path) from error
        except Exception as error:  # decoders raise anything on foreign bytes
            raise DataError(f"Cannot decode the picture: {' '.join(str(error).split())}", where=path) from error
    array, grey = channels_first(array)
    return Image(array, provenance={"path": str(path), "frame": frame, "inverted": False}, remarks=[*remarks, *grey])


@contextmanager
def _opened(path: Path) -> Iterator[Pil.Image]:
    """Open a picture with Pillow's warnings off and its errors as ours.

    It is opened through a handle: given a name, Pillow 13.0 maps an uncompressed TIFF into memory and scrambles it
    where its orientation swaps rows and columns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            handle = path.open("rb")
        except OSError as error:
            raise DataError(f"Cannot read the picture: {error.strerror}", where=path) from error
        with handle:
            try:
                picture = Pil.open(handle, formats=_FORMATS)
            except UnidentifiedImageError as error:
                raise DataError("Cannot read the picture: its header is damaged", where=path) from error
            except (Pil.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
                raise DataError(f"Cannot read the picture: {error or type(error).__name__}", where=path) from error
            with picture:
                yield picture


def _row(path: Path, picture: Pil.Image, page: int | None) -> dict[str, Any]:
    columns, rows = picture.size
    orientation = _orientation(picture)
    if orientation in (5, 6, 7, 8) and picture.format != "TIFF":  # of a TIFF Pillow gives the upright size
        rows, columns = columns, rows
    remarks = [f"turned upright (EXIF orientation {orientation})"] if orientation in _TURNS else []
    return {
        "status": "ok",
        "frame": page,
        "ndim": 2,
        "channels": 1 if picture.mode.startswith("I;") else _CHANNELS.get(picture.mode, 3),
        "rows": rows,
        "columns": columns,
        "bits": _bits(path, picture),
        "photometric": _photometric(picture),
        "remarks": remarks,
    }


def _orientation(picture: Pil.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none; a PNG without EXIF is not decoded to search it."""
    if picture.format == "PNG" and not {"exif", "Raw profile type exif"} & set(picture.info):
        return 1
    return picture.getexif().get(_ORIENTATION, 1)


def _bits(path: Path, picture: Pil.Image) -> int:
    if picture.format == "PNG":
        with path.open("rb") as handle:
            return handle.read(25)[24]
    if picture.format == "TIFF":
        stored = picture.tag_v2.get(258, 1)  # type: ignore[attr-defined]
        return int(stored[0] if isinstance(stored, tuple) else stored)
    return 1 if picture.mode == "1" else 8


def _photometric(picture: Pil.Image) -> str:
    if picture.mode in ("P", "PA"):
        return "PALETTE COLOR"
    grey = picture.mode in ("1", "L", "LA", "I", "F") or picture.mode.startswith("I;")
    return "MONOCHROME2" if grey else "RGB"


def _check_end(path: Path, picture: Pil.Image) -> None:
    """Decode a picture whose last bytes are not those of its format: only then may it be cut off."""
    ending = _ENDINGS.get(picture.format or "")
    with path.open("rb") as handle:
        handle.seek(max(path.stat().st_size - 64, 0))
        if ending is None or ending in handle.read():
            return
    try:
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"The picture is truncated: {error}", where=path) from error


def _pixels(path: Path, picture: Pil.Image, page: int) -> tuple[np.ndarray, list[str]]:
    """Return (rows, columns[, C]) upright, and remarks on what was changed."""
    orientation = _orientation(picture)
    remarks = [f"turned upright (EXIF orientation {orientation})"] if orientation in _TURNS else []
    if _bits(path, picture) == 16 and _photometric(picture) == "RGB":
        array, mode = _sixteen_bit_colour(path, picture.format or "", page), ""
    else:
        picture.load()
        orientation, mode = _orientation(picture), picture.mode  # Pillow has turned a TIFF by now, and says so
        plain = {"P": "RGB", "PA": "RGB", "RGBA": "RGB", "RGBX": "RGB", "LA": "L", "1": "L"}
        plain |= dict.fromkeys(("CMYK", "YCbCr", "LAB", "HSV"), "RGB")
        array = np.asarray(picture.convert(plain[mode]) if mode in plain else picture)
    if (array.ndim == 3 and array.shape[2] == 4) or mode in ("RGBA", "LA", "PA"):
        remarks.append("transparency left out")
        array = array[..., :3] if array.ndim == 3 else array
    if mode in ("P", "PA"):
        remarks.append("palette applied")
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        remarks.append(f"{mode} converted to RGB")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(_TURNS.get(orientation, lambda a: a)(array)), remarks


def _sixteen_bit_colour(path: Path, kind: str, page: int) -> np.ndarray:
    """Return (rows, columns, C) uint16, which Pillow would cut to 8 bits."""
    data = path.read_bytes()
    array = imagecodecs.png_decode(data) if kind == "PNG" else imagecodecs.tiff_decode(data, index=page)
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise ValueError(f"expected 3 or 4 channels, but got shape {array.shape}")
    return array
