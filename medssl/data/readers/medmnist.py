"""Data sets as MedMNIST publishes them: one `.npz` with train_images, val_images, test_images and their labels.

Images are (N, rows, columns), (N, rows, columns, 3) in colour, or (N, slices, rows, columns): each of the N is an image
of its own, numbered through all parts in the order train, val, test. Labels are numbers whose words stand elsewhere, so
`medssl data adopt` gives them, not a scan. Spacing and orientation are unknown. Nothing is unpickled.

A part is packed as one stream. It is read forwards, image by image, and kept open for the next one, so that a set
larger than memory is unpacked once.
"""

import atexit
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from medssl.data.image import Image
from medssl.data.readers.parts.npy import array_header, trusted
from medssl.data.readers.parts.values import as_values
from medssl.errors import DataError

PARTS = ("train", "val", "test")
_WHAT = ("images", "labels")
_COLOURS = 3
_MOST_CLASSES = 1000
_AT_ONCE = 2**22  # bytes that are unpacked and dropped at a time, on the way to an image


class Part(NamedTuple):
    """The images of a part: its name, how many they are, and the shape and type of one."""

    name: str
    images: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of one image."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def colour(self) -> bool:
        """Whether the last axis are colours."""
        return len(self.shape) == 3 and self.shape[-1] == _COLOURS


def sniff(path: Path, head: bytes) -> bool:
    """Return whether the file is an archive of arrays that begins with one of a part."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("ascii", "replace")
    if not head.startswith(b"PK\x03\x04") or name not in {f"{p}_{what}.npy" for p in PARTS for what in _WHAT}:
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{part}_images.npy" for part in PARTS} & set(archive.namelist()) != set()
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return False


def describe(path: Path) -> list[dict[str, Any]]:
    """Return a row an image, from the headers of the arrays alone.

    Raises:
        DataError: A part is no array of images, or not all of it is there.
    """
    with _archive(path) as archive:
        found = _parts(path, archive)
    split = [(part, part.name) for part in found for _ in range(part.images)]
    return [{**_row(part), "frame": frame, "split": name} for frame, (part, name) in enumerate(split)]


def read(path: Path, frame: int | None = None) -> Image:
    """Return one image, (C, rows, columns) or (1, slices, rows, columns).

    Raises:
        DataError: It cannot be read, there is no such image, or none was asked for.
    """
    if frame is None or frame < 0:
        raise DataError("This is a set of images", where=path, fix="Ask for one of them by its number, from 0")
    data, part = _stream(path).image(frame)
    values = as_values(np.frombuffer(data, part.dtype).reshape(part.shape), path)
    values = np.moveaxis(values, -1, 0) if part.colour else values[None]
    provenance = {"path": str(path), "frame": frame, "inverted": False}
    return Image(np.array(values, order="C"), provenance=provenance, remarks=_remarks(part))


def labels(path: Path) -> np.ndarray:
    """Return the labels of all images, (N, K) integers in the order of their frames; K is 1 for one class an image.

    Raises:
        DataError: A part has none, or they do not fit its images.
    """
    with _archive(path) as archive:
        return np.concatenate([_labels(path, archive, part) for part in _parts(path, archive)])


def _labels(path: Path, archive: zipfile.ZipFile, part: Part) -> np.ndarray:
    name = f"{part.name}_labels.npy"
    with _member(path, archive, name) as (handle, shape, dtype):
        if (
            shape[0] != part.images
            or len(shape) > 2
            or math.prod(shape[1:]) > _MOST_CLASSES
            or dtype.kind not in "biuf"
        ):
            raise DataError(f"{name} has the shape {shape} and does not fit {part.images} images", where=path)
        data = handle.read(math.prod(shape) * dtype.itemsize)
    values = np.frombuffer(data, dtype).reshape(part.images, -1)
    if not np.array_equal(values, values.astype(np.int64)):
        raise DataError(f"{name} holds values that are no whole numbers", where=path)
    return values.astype(np.int64)


def _row(part: Part) -> dict[str, Any]:
    space = part.shape[:2] if part.colour else part.shape
    return {
        "status": "ok",
        "ndim": len(space),
        "channels": _COLOURS if part.colour else 1,
        "rows": space[-2],
        "columns": space[-1],
        "slices": space[0] if len(space) == 3 else None,
        "bits": part.dtype.itemsize * 8,
        "remarks": _remarks(part),
    }


def _remarks(part: Part) -> list[str]:
    if len(part.shape) == 2:
        return []
    return ["the last of three axes is 3 long: read as colours" if part.colour else "three axes: read as a volume"]


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataError:
        raise
    except Exception as error:  # foreign bytes raise anything
        raise DataError(f"Cannot read the archive of arrays ({type(error).__name__})", where=path) from error


@contextmanager
def _member(
    path: Path, archive: zipfile.ZipFile, name: str
) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """Open an array at its first value."""
    member = next((one for one in archive.infolist() if one.filename == name), None)
    if member is None:
        raise DataError(f"The set has no {name.removesuffix('.npy')}", where=path)
    with archive.open(member) as handle:
        shape, order, dtype = array_header(path, handle, member.file_size, trusted(path, member), axes=(1, 2, 3, 4))
        if order == "F" and len(shape) > 1:
            raise DataError(f"{name} is stored column by column, which is not read", where=path)
        yield handle, shape, dtype


def _parts(path: Path, archive: zipfile.ZipFile) -> list[Part]:
    there = [name for name in PARTS if f"{name}_images.npy" in archive.namelist()]
    found = []
    for name in there:
        with _member(path, archive, f"{name}_images.npy") as (_, shape, dtype):
            if len(shape) < 3 or dtype.kind not in "biuf":
                raise DataError(f"{name}_images has the shape {shape}, expected (images, rows, columns)", where=path)
            found.append(Part(name, shape[0], tuple(shape[1:]), dtype))
    if not found:
        raise DataError("The set has no images", where=path)
    return found


class _Stream:
    """An archive of parts, read forwards."""

    def __init__(self, path: Path, state: tuple[Any, ...]) -> None:
        self.path, self.state = path, state
        self.archive: zipfile.ZipFile | None = None
        self.handle: IO[bytes] | None = None
        self.part, self.next = "", 0
        with _archive(path) as archive:
            self.parts = _parts(path, archive)

    def image(self, frame: int) -> tuple[bytes, Part]:
        """Return the bytes of an image and its part."""
        number = frame
        for part in self.parts:
            if number < part.images:
                return self._bytes(part, number), part
            number -= part.images
        total = sum(part.images for part in self.parts)
        raise DataError(f"There is no image {frame}: the set has {total}, counted from 0", where=self.path)

    def _bytes(self, part: Part, number: int) -> bytes:
        try:
            handle = self._at(part, number)
            ahead = (number - self.next) * part.size
            while ahead > 0:
                ahead -= len(handle.read(min(ahead, _AT_ONCE))) or ahead
            data = handle.read(part.size)
        except DataError:
            raise
        except Exception as error:  # foreign bytes raise anything
            self.close()
            raise DataError(f"Cannot read the image ({type(error).__name__})", where=self.path) from error
        self.next = number + 1
        if len(data) < part.size:
            self.close()
            raise DataError(f"{part.name}_images is truncated at image {number}", where=self.path)
        return data

    def _at(self, part: Part, number: int) -> IO[bytes]:
        """Return the part opened at an image or before it."""
        if self.handle is not None and self.part == part.name and number >= self.next:
            return self.handle
        self.close()
        name = f"{part.name}_images.npy"
        self.archive = zipfile.ZipFile(self.path)
        handle, member = self.archive.open(name), self.archive.getinfo(name)
        array_header(self.path, handle, member.file_size, trusted(self.path, member), axes=(3, 4))
        self.handle, self.part, self.next = handle, part.name, 0
        return handle

    def close(self) -> None:
        """Let go of the file."""
        for one in (self.handle, self.archive):
            if one is not None:
                with suppress(Exception):
                    one.close()
        self.handle = self.archive = None


_kept: list[_Stream] = []


def _stream(path: Path) -> _Stream:
    """Return the open stream of a file: the one of the last call if it is of this file as it is now."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    state = (str(path), status.st_mtime_ns, status.st_size, status.st_ino)
    if not _kept or _kept[0].state != state:
        _let_go()
        _kept.append(_Stream(path, state))
    return _kept[0]


@atexit.register
def _let_go() -> None:
    while _kept:
        _kept.pop().close()
