"""Images that are in a set twice: with equal pixels, or a copy that was flipped, resized, windowed or compressed.

Reported are those of two patients, two parts of the split or two manifests. Neighbouring slices and follow-up images
of one patient in one part look alike too and are counted only.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from medssl.data import alike, readers
from medssl.data.apart import SECONDS, Lost, each
from medssl.data.look import TURNS, look
from medssl.data.manifest import Manifest
from medssl.data.splits import patient_keys
from medssl.data.tables import read_text_table
from medssl.errors import DataError

COLUMNS = ["group", "kind", "across", "sample_a", "sample_b", "manifest_a", "manifest_b", "split_a", "split_b",
           "distance", "similarity", "turn"]  # fmt: skip
_READ = ["sample_id", "path", "frame", "planes", "format", "status", "reason", "slices"]
_EVERY = 50
Progress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Images:
    """The images of some manifests as they look.

    Attributes:
        about: A row an image: sample_id, manifest, patient (None where unknown), split (empty where none), pixel_hash.
        bits: (N, 8) uint64, see `medssl.data.look`.
        vectors: (N, 16, 16) float16.
        blank: (N,) bool, images without any structure, which are compared by their pixels only.
        lost: Images that could not be read, with the reason.
    """

    about: pd.DataFrame
    bits: np.ndarray
    vectors: np.ndarray
    blank: np.ndarray
    lost: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Duplicates:
    """What was found.

    Attributes:
        table: A row a pair that is across patients, splits or manifests, columns as in `COLUMNS`; of many images with
            equal pixels each is paired with the first.
        inside: Pairs within one patient and one part, not in the table.
        images: How many images were compared.
        blank: How many of them have no structure.
        lost: Images that could not be read, with the reason.
    """

    table: pd.DataFrame
    inside: int
    images: int
    blank: int
    lost: tuple[tuple[str, str], ...]

    def sentences(self) -> list[str]:
        """Return what was found in words, worst first."""
        told = [f"{self.images} images compared" + (f", {len(self.lost)} could not be read" if self.lost else "")]
        for across in ("splits", "patients", "manifests"):
            part = self.table[self.table["across"].str.contains(across)]
            exact = int((part["kind"] == "exact").sum())
            told += [f"across {across}: {exact} pairs with equal pixels, {len(part) - exact} that look alike"]
        told += [f"{self.inside} pairs of one patient and part are not listed"] if self.inside else []
        told += [f"{self.blank} images have no structure and were compared by pixels only"] if self.blank else []
        return told


def survey(manifests: Sequence[Manifest], progress: Progress | None = None) -> Images:
    """Read every image of some manifests in child processes and keep how it looks, about 600 bytes an image.

    Raises:
        DataError: No image could be read.
    """
    about: list[dict[str, Any]] = []
    looks: list[tuple[np.ndarray, np.ndarray] | None] = []
    lost: list[tuple[str, str]] = []
    total = sum(len(manifest.usable()) for manifest in manifests)
    done = 0
    for manifest in manifests:
        table = manifest.usable().table
        whose = _records(_whose(table))
        for known, result in zip(whose, _seen(manifest, table), strict=True):
            done += 1
            if isinstance(result, Lost):
                lost.append((known["sample_id"], result.reason))
            else:
                about.append({**known, "manifest": manifest.name, "pixel_hash": result[0]})
                looks.append(result[1])
            if progress and (done % _EVERY == 0 or done == total):
                progress("read", {"done": done, "total": total})
    if not about:
        raise DataError(f"None of {total} images can be read" + (f"; the first: {lost[0][1]}" if lost else ""))
    return _images(pd.DataFrame(about), looks, tuple(lost))


def _seen(manifest: Manifest, table: pd.DataFrame) -> Iterable[Any]:
    rows = _records(table[_READ].astype(object))

    def seen(row: dict[str, Any]) -> tuple[str, tuple[np.ndarray, np.ndarray] | None] | Lost:
        try:
            image = readers.read_image(manifest, row)
        except (DataError, OSError) as error:
            return Lost(str(error))
        found = look(image.unpadded().array)
        return image.pixel_hash(), None if found is None else (found.bits, found.vector)

    with closing(each(seen, rows, seconds=_seconds)) as results:
        yield from results


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], table.to_dict("records"))


def _seconds(row: dict[str, Any]) -> float:
    return SECONDS + (0 if pd.isna(row["slices"]) else int(row["slices"]))


def _whose(table: pd.DataFrame) -> pd.DataFrame:
    known = table["patient_id"].notna().to_numpy(dtype=bool)
    patients = np.full(len(table), None, dtype=object)
    patients[known] = patient_keys(table[known])
    return pd.DataFrame(
        {
            "sample_id": table["sample_id"].to_numpy(dtype=object),
            "patient": patients,
            "split": table["split"].fillna("").to_numpy(dtype=object),
        }
    )


def _images(
    about: pd.DataFrame, looks: Sequence[tuple[np.ndarray, np.ndarray] | None], lost: tuple[tuple[str, str], ...]
) -> Images:
    bits = np.zeros((len(looks), len(TURNS)), np.uint64)
    vectors = np.zeros((len(looks), 16, 16), np.float16)
    for place, found in enumerate(looks):
        if found is not None:
            bits[place], vectors[place] = found
    return Images(about, bits, vectors, np.array([found is None for found in looks], bool), lost)


def load(path: Path) -> list[tuple[str, str]]:
    """Return the pairs of samples in a table that `medssl data duplicates` wrote.

    Raises:
        DataError: It is no such table.
    """
    table = read_text_table(path)
    if not {"sample_a", "sample_b"} <= set(table.columns):
        raise DataError(
            "This table names no pairs: it has no columns sample_a and sample_b",
            where=path,
            fix="Make one with: medssl data duplicates MANIFEST -o FILE",
        )
    return list(zip(table["sample_a"], table["sample_b"], strict=True))


def find(
    images: Images,
    *,
    distance: int = alike.DISTANCE,
    similarity: float = alike.SIMILARITY,
    progress: Progress | None = None,
) -> Duplicates:
    """Return the pairs of images with equal pixels, and of those that look alike.

    Args:
        images: As `survey` returns them.
        distance: Most bits of 64 by which copies may differ.
        similarity: Least similarity of copies, 1 for the same look.
        progress: Called with ("compare", {"done", "total"}).

    Raises:
        DataError: So many look alike that look does not tell copies.
    """
    about = images.about
    first = about.groupby("pixel_hash", sort=False).ngroup().to_numpy()
    one_of = pd.Series(np.arange(len(about))).groupby(first).transform("first").to_numpy()
    exact = [alike.Pair(int(one), place, 0, 1.0, "as it is") for place, one in enumerate(one_of) if one != place]
    looked_at = np.flatnonzero((one_of == np.arange(len(about))) & ~images.blank)
    near = [
        pair._replace(first=int(looked_at[pair.first]), second=int(looked_at[pair.second]))
        for pair in alike.pairs(
            images.bits[looked_at], images.vectors[looked_at], distance=distance, similarity=similarity,
            progress=progress,
        )
    ]  # fmt: skip
    group = _groups(len(about), [*exact, *near])
    rows = [_row(about, pair, kind, group) for kind, some in (("exact", exact), ("near", near)) for pair in some]
    kept = [row for row in rows if row["across"]]
    table = pd.DataFrame(kept, columns=COLUMNS).sort_values(["group", "kind", "sample_a", "sample_b"])
    table["group"] = pd.factorize(table["group"])[0] + 1
    return Duplicates(
        table.reset_index(drop=True), len(rows) - len(kept), len(about), int(images.blank.sum()), images.lost
    )


def _groups(count: int, pairs: Sequence[alike.Pair]) -> list[int]:
    """Return for each image the first one that it is connected to by pairs."""
    root = list(range(count))

    def top(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for pair in pairs:
        a, b = sorted((top(pair.first), top(pair.second)))
        root[b] = a
    return [top(place) for place in range(count)]


def _row(about: pd.DataFrame, pair: alike.Pair, kind: str, group: Sequence[int]) -> dict[str, Any]:
    places = [pair.first, pair.second]
    (sample_a, sample_b), (manifest_a, manifest_b), (split_a, split_b), patients = (
        about[name].to_numpy(dtype=object)[places] for name in ("sample_id", "manifest", "split", "patient")
    )
    different = None in patients or patients[0] != patients[1]
    across = [
        name
        for name, crosses in (
            ("patients", different), ("splits", split_a != split_b), ("manifests", manifest_a != manifest_b)
        )
        if crosses
    ]  # fmt: skip
    return {
        "group": group[pair.first], "kind": kind, "across": " ".join(across), "sample_a": sample_a,
        "sample_b": sample_b, "manifest_a": manifest_a, "manifest_b": manifest_b, "split_a": split_a,
        "split_b": split_b, "distance": pair.distance, "similarity": round(pair.similarity, 4), "turn": pair.turn,
    }  # fmt: skip
