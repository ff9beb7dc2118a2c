"""DICOM, recognised by content: single frames, multi-frame images and volumes, bare data sets."""

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from medssl.data.image import Image
from medssl.data.readers.parts import dicom_alike, dicom_rows, imagecodecs_plugin
from medssl.data.readers.parts.dicom_frames import layout
from medssl.data.readers.parts.dicom_header import looks_like_dicom
from medssl.data.readers.parts.dicom_pixels import header_of, read_plane, read_stack, read_volume

imagecodecs_plugin.register()
T = TypeVar("T")
P = ParamSpec("P")


def _quiet(function: Callable[P, T]) -> Callable[P, T]:
    """Silence what pydicom warns of: it quotes values as they are read, and a person's name may be one."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return run


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are DICOM; the name does not matter."""
    return looks_like_dicom(head)


@_quiet
def describe(path: Path) -> list[dict[str, Any]]:
    """Return the manifest rows of a file from its header: one a plane or volume, or one a frame.

    Raises:
        DataError: The header cannot be parsed.
    """
    return dicom_rows.describe(path)


def glance(path: Path | str, handle: int, head: bytes, size: int) -> list[dict[str, Any]] | None:
    """Return what `describe` returns, many times as fast, or None where only that can tell.

    Args:
        path: The file.
        handle: The file, open.
        head: Its first bytes.
        size: Of the file, in bytes.
    """
    return dicom_alike.rows(path, handle, head, size)


@_quiet
def read(path: Path, frame: int | None = None) -> Image:
    """Return a plane (C, rows, columns) or a volume (1, slices, rows, columns) in real units.

    Args:
        path: The file.
        frame: Number of the frame, from 0; None for the whole file.

    Raises:
        DataError: It cannot be decoded, or `frame` is None and the frames are no volume.
    """
    if frame is None and layout(header_of(path)).kind != "image":
        return read_volume(path)
    return read_plane(path, frame)


@_quiet
def read_slices(paths: Sequence[Path]) -> Image:
    """Return single-frame files, in the order of slices, as one volume (1, slices, rows, columns) in real units.

    Raises:
        DataError: One cannot be decoded, or they are no regular stack.
    """
    return read_stack(paths)
