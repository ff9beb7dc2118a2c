"""Shards: the images of a store in plain `.npy` files of about a gigabyte, mapped into memory and read in parts.

Within a shard an image lies as it is indexed, channels first and its last axis fastest. A part of an image touches
the pages that hold its rows and no others: slices of a volume are one run, and a box is one run a plane. Bricks were
measured, too (`docs/results/data.md`): a box of wide planes touches fewer bytes of them, and takes longer to put
together.
"""

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from medssl import files
from medssl.data.readahead import ask

SHARD_BYTES = 2**30
PATTERN = "images-*.npy"


class Images:
    """The images of all shards as one array, (N, C, *S); nothing is read before it is asked for.

    `images[3]` is one image, `images[[3, 5]]` some, `images[3, :, 10:20]` a part of one. Shards of 8 bits are widened
    as they are read where another shard has 16: times 257, which keeps 0 and full intensity exactly.

    Attributes:
        shards: (n, C, *S) uint8 or uint16 each, one after the other.
    """

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        """Take the shards, alike but for their type and number of images."""
        self.shards = list(shards)
        self.dtype: np.dtype[Any] = max((shard.dtype for shard in shards), key=lambda dtype: dtype.itemsize)
        self.starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self.shape: tuple[int, ...] = (int(self.starts[-1]), *shards[0].shape[1:])

    @classmethod
    def open(cls, folder: Path) -> "Images":
        """Map every shard in a folder, read-only.

        Raises:
            ValueError: One is damaged, is of another shape, or there is none.
        """
        shards = [_mapped(path) for path in sorted(folder.glob(PATTERN))]
        if not shards or any(s.shape[1:] != shards[0].shape[1:] or s.dtype not in _TYPES for s in shards):
            raise ValueError("there are no images, or not all are alike")
        return cls(shards)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on disk, without headers."""
        return sum(shard.nbytes for shard in self.shards)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all images, copied."""
        return np.asarray(self[np.arange(len(self))], dtype=dtype)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return an image (C, *S) for a number, a part of it for a number and slices, or several for some numbers."""
        if isinstance(key, tuple):
            return self._wide(self._part(int(key[0]), key[1:]))
        if np.ndim(key) == 0 and not isinstance(key, slice):
            return self._wide(self.stored(int(key)))
        rows = np.arange(len(self))[key]
        if len(self.shards) == 1:
            return np.ascontiguousarray(self.shards[0][rows])
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows):
            result[place] = self._wide(self.stored(int(row)))
        return result

    def stored(self, row: int) -> np.ndarray:
        """Return an image in the type of its shard, mapped.

        Raises:
            IndexError: There is no such image.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"image {row} of {len(self)}")
        shard = self.shard_of(row)
        return self.shards[shard][row % len(self) - self.starts[shard]]

    def shard_of(self, row: int) -> int:
        """Return which shard an image lies in, from 0."""
        return int(np.searchsorted(self.starts, row % len(self), side="right")) - 1

    def boxes(
        self, rows: np.ndarray, corners: np.ndarray, size: Sequence[int], out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return a part of each image, all of one size; nothing else of the images is read.

        Args:
            rows: (M,) places of images, repeats allowed.
            corners: (M, D) first pixel along each spatial axis.
            size: Pixels along each spatial axis.
            out: What to fill, (M, C, *size) of the type of the images; used again for every batch it halves the time,
                since the system fills each page of new memory with zeros first.

        Returns:
            (M, C, *size) of the type of the images.

        Raises:
            IndexError: A box leaves its image.
        """
        ends = np.asarray(corners) + np.asarray(size)
        if np.any(np.asarray(corners) < 0) or np.any(ends > np.asarray(self.shape[2:])):
            raise IndexError(f"a box of {tuple(size)} leaves an image of {self.shape[2:]}")
        result = np.empty((len(rows), self.shape[1], *size), self.dtype) if out is None else out
        for box, row, corner, end in zip(result, rows, np.asarray(corners).tolist(), ends.tolist(), strict=True):
            part = self._part(int(row), (slice(None), *map(slice, corner, end)))
            box[...] = part if part.dtype == self.dtype else widened(part)
        return result

    def _part(self, row: int, key: tuple[Any, ...]) -> np.ndarray:
        part = self.stored(row)[key]
        if part.ndim > 1:
            ask(self.shards[self.shard_of(row)], part)
        return part

    def _wide(self, pixels: np.ndarray) -> np.ndarray:
        return pixels if pixels.dtype == self.dtype else widened(pixels)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a flipped bit in a header ends in any of Python's parsers
        raise ValueError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error


class ShardWriter:
    """Write images that come one by one into shards, each in the smallest type that holds its own."""

    def __init__(self, folder: Path, most: int | None = None) -> None:
        """Say where; `most` are the bytes after which a new shard begins."""
        self.folder, self.most = folder, SHARD_BYTES if most is None else most
        self.shard: _Shard | None = None
        self.handle: BinaryIO | None = None
        self.number = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.handle is None:
            return
        try:
            if kind is None and self.shard is not None:
                self.shard.finish()
        finally:
            self.handle.close()

    def append(self, pixels: np.ndarray) -> None:
        """Write (C, *S) uint8 or uint16, of the shape of all others.

        Raises:
            TypeError: It is something else.
        """
        shard = self.shard
        if shard is None or shard.handle.tell() + pixels.nbytes > self.most:
            shard = self._next(pixels)
        shard.append(pixels)

    def _next(self, pixels: np.ndarray) -> "_Shard":
        if self.handle is not None and self.shard is not None:
            if pixels.shape != self.shard.shape:
                raise TypeError(f"prepare returned {pixels.shape} after {self.shard.shape}")
            self.shard.finish()
            self.handle.close()
        self.handle = (self.folder / PATTERN.replace("*", f"{self.number:05}")).open("wb+")
        self.shard = _Shard(self.handle, pixels)
        self.number += 1
        return self.shard


class _Shard:
    """A `.npy` file of images that are appended, widened in place from uint8 to uint16 when one needs it."""

    def __init__(self, handle: BinaryIO, first: np.ndarray) -> None:
        self.handle, self.count = handle, 0
        self.dtype, self.shape = first.dtype, first.shape
        self._write_header()

    def append(self, pixels: np.ndarray) -> None:
        if pixels.shape != self.shape or pixels.dtype not in _TYPES:
            raise TypeError(f"prepare returned {pixels.dtype} {pixels.shape} after {self.dtype} {self.shape}")
        if pixels.dtype == np.uint16 and self.dtype == np.uint8:
            self._widen()
        files.write(self.handle, (pixels if pixels.dtype == self.dtype else widened(pixels)).tobytes())
        self.count += 1

    def finish(self) -> None:
        """Write the header again, now with the number of images; numpy leaves room for it to grow."""
        self._write_header()

    def _write_header(self) -> None:
        self.handle.seek(0)
        header = io.BytesIO()
        entry = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(header, entry)
        files.write(self.handle, header.getvalue())
        self.start = self.handle.tell()

    def _widen(self) -> None:
        """From the last image to the first, so that nothing is overwritten before it is read."""
        self.dtype = np.dtype(np.uint16)
        size = math.prod(self.shape)
        for place in reversed(range(self.count)):
            self.handle.seek(self.start + place * size)
            narrow = np.frombuffer(self.handle.read(size), np.uint8)
            self.handle.seek(self.start + 2 * place * size)
            files.write(self.handle, widened(narrow).tobytes())
        self.handle.seek(self.start + 2 * self.count * size)


_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


def widened(pixels: np.ndarray) -> np.ndarray:
    """Return 8-bit values as 16-bit ones of the same intensity."""
    return pixels.astype(np.uint16) * np.uint16(257)
