"""DICOM, recognised by content: single frames, multi-frame images and volumes, bare data sets."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medssl.data.image import Image
from medssl.data.readers.parts import dicom_rows, imagecodecs_plugin
from medssl.data.readers.parts.dicom_frames import layout
from medssl.data.readers.parts.dicom_header import looks_like_dicom, open_header
from medssl.data.readers.parts.dicom_pixels import read_plane, read_stack, read_volume

imagecodecs_plugin.register()


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are DICOM; the name does not matter."""
    return looks_like_dicom(head)


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the manifest rows of a file from its header: one a plane or volume, or one a frame.

    Raises:
        DataError: The header cannot be parsed.
    """
    with _quietly():
        return dicom_rows.describe(path)


def read(path: Path, frame: int | None = None) -> Image:
    """Return a plane (C, rows, columns) or a volume (1, slices, rows, columns) in real units.

    Args:
        path: The file.
        frame: Number of the frame, from 0; None for the whole file.

    Raises:
        DataError: It cannot be decoded, or `frame` is None and the frames are no volume.
    """
    with _quietly():
        if frame is None and layout(open_header(path).dataset).kind != "image":
            return read_volume(path)
        return read_plane(path, frame)


def read_slices(paths: Sequence[Path]) -> Image:
    """Return single-frame files, in the order of slices, as one volume (1, slices, rows, columns) in real units.

    Raises:
        DataError: One cannot be decoded, or they are no regular stack.
    """
    with _quietly():
        return read_stack(paths)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep to ourselves what pydicom thinks of values that break the standard; the manifest counts them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
