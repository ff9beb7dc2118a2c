"""The store: every image of a manifest prepared once, in shards on disk that are mapped into memory.

    STORE/KEY/
      images-00000.npy ...   (n, C, *S) uint8, or uint16 where any of its sources has more than 8 bits
      index.parquet          one row a stored image: id, hash of the source pixels, hash of the stored bytes, spacing
      store.json             what the key was made of, and what was left out and why
      MANIFEST.json          sizes and hashes of these files, written last
    STORE/KEY.lock           held while it is built; its time says when the store was last opened

The key names everything that decides the pixels: the rows of the manifest and the state (size and time of change) of
all their files, the modality's preparation and the version of this code. Labels are not part of it and are taken from
the manifest at every opening, so that correcting a label packs nothing anew. Nothing in a store is executed when it
is read.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from medssl import files
from medssl.counting import counted
from medssl.data import packing
from medssl.data.image import Image
from medssl.data.manifest import Manifest
from medssl.data.shards import Images
from medssl.errors import DataError, StorageError

VERSION = 3
_LOOKED_AT, _TOLD = 100, 20
INDEX, ABOUT = "index.parquet", "store.json"
_HEADERS = (".mhd", ".nhdr", ".hdr")  # formats that keep their pixels in another file of the same stem
REPAIR = "Delete the folder; it is packed anew from the manifest"
Progress = Callable[[str, dict[str, Any]], None]


class LeftOut(NamedTuple):
    """An image that is not in the store, and why."""

    sample_id: str
    reason: str


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
        folder: Where it lies.
        key: Its name, from everything that decides the pixels.
        images: (N, C, *S) uint8 or uint16, mapped read-only.
        index: N rows: `sample_id`, `pixel_hash` (decoded source pixels), `stored_hash` (stored bytes), `content`
            (pixel hash, made unique among repeated images), `spacing_mm` (of stored pixels, along each axis, NaN
            where unknown), `occupied` (the part that is more than padding, see `packing.occupied`), and every column
            of the manifest, labels included.
        left_out: Images that could not be prepared.
        remarks: Sentences on how images were prepared, each with their number.
    """

    folder: Path
    key: str
    images: Images
    index: pd.DataFrame
    left_out: list[LeftOut]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def levels(self) -> int:
        """The stored value of full intensity: 255 or 65535."""
        return int(np.iinfo(self.images.dtype).max)

    def verify(self) -> None:
        """Compare every stored image and file with its hash.

        Raises:
            DataError: Something differs; the sample or file is named.
        """
        changed = changed_rows(self.images, self.index, range(len(self)))
        if changed:
            sample = self.index["sample_id"].iloc[changed[0]]
            raise DataError("A stored image is damaged", where=f"sample {sample} in {self.folder}", fix=REPAIR)
        found = files.damage(self.folder)
        if found:
            name, said = next(iter(found.items()))
            raise DataError(f"A file of the store {said}", where=self.folder / name, fix=REPAIR)


def pack(
    manifest: Manifest,
    prepare: Callable[[Image], np.ndarray],
    key_parts: dict[str, Any],
    *,
    spacing: Callable[[Image, np.ndarray], tuple[float, ...]] = packing.stretched,
    before: Callable[[Image], Image] = lambda image: image,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Store:
    """Return the store of a manifest's usable images, packing it if it is not there.

    Two processes that ask for the same store pack it once: the second waits for the first.

    Args:
        manifest: The images.
        prepare: Turns an image into (C, *S) uint8 or uint16, always of one shape; raises a `DataError` for an image
            that cannot be used, and appends to its `remarks` what a person should know of how it was taken.
        key_parts: What `prepare` depends on, as plain values.
        spacing: The spacing of what was prepared from an image.
        before: What is done to an image first; `prepare` and `spacing` get its result.
        cache: Where stores lie; MEDSSL_CACHE_DIR or `.medssl-store` beside the manifest when None.
        progress: Called with "pack" and `done`, `total`, `left_out`.

    Raises:
        DataError: No image could be prepared, or an existing store is damaged.
        StorageError: The place cannot be written, or the disk is full.
    """
    usable = _in_file_order(manifest.usable())
    write = partial(packing.write_images, prepare=prepare, spacing=spacing, before=before)
    key = _key(usable, key_parts)
    folder = place(manifest.folder, cache) / key
    if not folder.is_dir():
        with _locked(folder):
            if not folder.is_dir():
                _build(folder, usable, write, key_parts, progress)
    return open_store(folder, usable)


def open_store(folder: Path, manifest: Manifest) -> Store:
    """Open a store that was packed from these rows; labels are read from the manifest.

    Raises:
        DataError: It is damaged; shards are checked by size and a hundred images by hash here, all in `Store.verify`.
    """
    _check_sizes(folder)
    with suppress(OSError):  # a store that may only be read is as good
        folder.with_name(f"{folder.name}.lock").touch()
    about = files.read_json(folder / ABOUT)
    images, stored = read(folder)
    stored["content"] = unique_content(stored["pixel_hash"].tolist(), stored["sample_id"].tolist())
    _check_some(folder, images, stored)
    suffixes = ("", "_in_manifest")
    index = stored.merge(manifest.table, on="sample_id", how="left", validate="one_to_one", suffixes=suffixes)
    return Store(folder, folder.name, images, index, [LeftOut(*entry) for entry in about["left_out"]], _counted(about))


def _counted(about: dict[str, Any]) -> tuple[str, ...]:
    counts = about.get("remarks") or {}
    return tuple(f"{counted(count, 'image')}: {text}" for text, count in counts.items())


def read(folder: Path) -> tuple[Images, pd.DataFrame]:
    """Return the images of a store, mapped, and its own index.

    Raises:
        DataError: They are damaged.
    """
    try:
        stored = pq.read_table(folder / INDEX).to_pandas()
        images = Images.open(folder)
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        raise _damaged(folder, str(error)) from error
    if len(images) != len(stored):
        raise _damaged(folder, f"{len(images)} images, but {len(stored)} rows in the index")
    return images, stored


def _check_some(folder: Path, images: Images, stored: pd.DataFrame) -> None:
    """Compare a hundred images, evenly spread, with their hashes: enough to see that a file was written over."""
    spread = np.linspace(0, len(images) - 1, min(_LOOKED_AT, len(images))).astype(int)
    changed = changed_rows(images, stored, spread)
    if changed:
        raise _damaged(folder, f"sample {stored['sample_id'].iloc[changed[0]]} is not what was packed")


def changed_rows(images: Images, stored: pd.DataFrame, rows: Iterable[int]) -> list[int]:
    """Return which of some images differ from their hashes."""
    hashes = stored["stored_hash"].to_numpy(dtype=object)
    return [int(row) for row in rows if packing.stored_hash(images.stored(int(row))) != hashes[row]]


def unique_content(pixel_hashes: list[str], sample_ids: list[str]) -> list[str]:
    """Return the hashes with `#1`, `#2`, ... on repeats, counted in the order of the ids whatever that of the rows."""
    result, seen = list(pixel_hashes), dict.fromkeys(pixel_hashes, 0)
    for row in sorted(range(len(result)), key=lambda row: sample_ids[row]):
        repeat = seen[pixel_hashes[row]]
        seen[pixel_hashes[row]] += 1
        result[row] = f"{pixel_hashes[row]}#{repeat}" if repeat else pixel_hashes[row]
    return result


def _in_file_order(manifest: Manifest) -> Manifest:
    """Sort by file and frame: the same store for any order of the rows, and frames of a file are read together."""
    return manifest.with_table(manifest.table.sort_values(["path", "frame", "sample_id"], kind="stable"))


def _key(usable: Manifest, key_parts: dict[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps([VERSION, key_parts], sort_keys=True).encode(), digest_size=12)
    known: dict[str, str] = {}
    rows = usable.table[["sample_id", "path", "frame", "planes"]].itertuples(index=False, name=None)
    for sample_id, path, frame, planes in rows:
        if path not in known:
            known[path] = _states(usable, {"path": path, "planes": planes})
        digest.update(f"{sample_id}\x1f{frame}\x1f{known[path]}\n".encode())
    return digest.hexdigest()


def _states(manifest: Manifest, row: dict[str, Any]) -> str:
    """Return the state of all files of a row: its slices, or a header and what lies beside it under its stem."""
    path = manifest.path_of(row)
    slices = manifest.slices_of(row)
    if slices is not None:
        return "\x1e".join(f"{one.name}\x1f{_state(one)}" for one in slices)
    if path.suffix.lower() in _HEADERS and path.parent.is_dir():
        beside = sorted(other for other in path.parent.iterdir() if other.name.startswith(f"{path.stem}."))
        return "\x1e".join(map(_state, beside))
    return _state(path)


def _state(path: Path) -> str:
    """Return size and time of change of a file, so that a replaced file packs anew."""
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def place(folder: Path, cache: Path | None = None) -> Path:
    """Return where the stores of a manifest in that folder lie, made where it is not there.

    Raises:
        StorageError: It cannot be written.
    """
    found = where(folder, cache)
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            "The store of prepared images cannot be written here", where=found, fix="Set MEDSSL_CACHE_DIR to a folder"
        ) from error
    if not os.access(found, os.W_OK):
        raise StorageError("This folder cannot be written", where=found, fix="Set MEDSSL_CACHE_DIR to another one")
    return found


def where(folder: Path, cache: Path | None = None) -> Path:
    """Return where the stores of a manifest in that folder lie: as given, MEDSSL_CACHE_DIR, or beside it."""
    given = cache or os.environ.get("MEDSSL_CACHE_DIR")
    return Path(given) if given else folder / files.STORES


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the right to build this store; what a killed builder left behind is removed."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    with files.storage_errors(folder):
        lock.acquire()
    try:
        for leftover in folder.parent.glob(f".{folder.name}.*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _build(
    folder: Path,
    usable: Manifest,
    write: Callable[..., packing.Packed],
    key_parts: dict[str, Any],
    progress: Progress | None,
) -> None:
    with files.atomic_folder(folder) as temporary:
        packed = write(temporary, usable, progress=progress)
        if not packed.rows:
            first = packed.left_out[0][1] if packed.left_out else "it has no usable rows"
            raise DataError(
                f"None of the {len(usable)} images of '{usable.name}' could be prepared; the first: {first}",
                where=usable.folder,
                fix="Look at the columns `status` and `reason` of the manifest",
            )
        pq.write_table(pa.Table.from_pylist(packed.rows, schema=packing.SCHEMA), temporary / INDEX)
        told = dict(packed.remarks.most_common(_TOLD))
        about = {"version": VERSION, "key_parts": key_parts, "left_out": packed.left_out, "remarks": told}
        files.write_json(temporary / ABOUT, about)


def _check_sizes(folder: Path) -> None:
    try:
        entries = files.entries(folder)
    except DataError as error:
        raise _damaged(folder, error.what) from error
    for name, (size, digest) in entries.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            raise _damaged(folder, f"{name} is missing or has another size")
        if name in (INDEX, ABOUT) and files.sha256(file) != digest:
            raise _damaged(folder, f"{name} is not what was written")


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"The store of prepared images is damaged: {what}", where=folder, fix=REPAIR)
