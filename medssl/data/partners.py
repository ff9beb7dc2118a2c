"""Positive pairs of two images: of one patient or study, or neighbours in a volume; and who is nobody's negative.

Pairs of images of one patient are MICLe of Azizi et al., "Big self-supervised models advance medical image
classification", ICCV 2021 (https://arxiv.org/abs/2101.05224), which REMEDIS kept (Nature Biomedical Engineering 2023).
The partner of an image is f(seed, epoch, content hash), among the images that are trained on; one that is alone
pairs with itself.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from medssl.chance import Chance, key
from medssl.counting import counted_of
from medssl.data.splits import known_patient_keys
from medssl.errors import DataError

SLICE = "slice_number"
"""The column of a label table that numbers the slices of a series whose slices are files of their own."""

_SETS = ("medmnist", "numpy_array")  # their frames are images of a set, not of a volume
_GROUPS = {
    "patient": ("of one patient", "patient_id", "Scan with a label table that has patient_id"),
    "study": ("of one study", "study_id", "Scan with a label table that has study_id"),
    "neighbours": (
        "that are neighbours in a volume",
        "frame in a file of a volume",
        f"Scan with a label table that has series_id and {SLICE}",
    ),
}


@dataclass(frozen=True)
class Partners:
    """Who may be whose positive.

    Attributes:
        kin: (N,) int64, a number an image of the table; images of equal numbers are never each other's negatives.
        ranked: (M,) the places of the images that are trained on, so ordered that possible partners stand together.
        rank: (N,) where each stands in `ranked`.
        first: (N,) where its possible partners begin there, itself among them.
        count: (N,) how many these are, without itself.
    """

    kin: np.ndarray
    ranked: np.ndarray
    rank: np.ndarray
    first: np.ndarray
    count: np.ndarray

    @property
    def remark(self) -> str | None:
        """A sentence on the images that pair with themselves, None where there are none."""
        alone = int((self.count[self.ranked] == 0).sum())
        verbs = "has no partner and pairs with itself", "have no partner and pair with themselves"
        return counted_of(alone, len(self.ranked), "image", *verbs) if alone else None

    def of(self, rows: np.ndarray, contents: list[str], seed: int, epoch: int) -> np.ndarray:
        """Return the partner of each image in an epoch, (B,) places; itself where it is alone.

        Args:
            rows: Places of the images, (B,).
            contents: Their content hashes.
            seed: The run's seed.
            epoch: From 0.
        """
        drawn = Chance([key(seed, epoch, content, "partner") for content in contents]).uniform()
        places = self.first[rows] + (drawn * self.count[rows]).astype(np.int64)
        places += (places >= self.rank[rows]) & (self.count[rows] > 0)  # the one place that is its own is stepped over
        return np.where(self.count[rows] > 0, self.ranked[places], rows)


def find(table: pd.DataFrame, rows: np.ndarray, kind: str, distance: int = 1, where: str | None = None) -> Partners:
    """Return the possible partners among some images.

    Of one patient (or study) are images with that id, at one site; neighbours are frames of one file, or slices of one
    series that are numbered by the column `slice_number`, whose numbers differ by at most `distance`. Kin are all
    images of a patient, where the patient is known, else of the study or volume.

    Args:
        table: A manifest's columns; the column `content`, where there is one, else `sample_id`, decides the order.
        rows: Places of the images that are trained on, (M,) integers.
        kind: "patient", "study" or "neighbours".
        distance: Of neighbours, at least 1.
        where: Said in messages.

    Raises:
        DataError: The table does not say what belongs together, or no two images do.
    """
    table = table.reset_index(drop=True)
    groups, numbers = _groups(table, kind)
    known = np.array([group is not None for group in groups], dtype=bool)
    said, column, fix = _GROUPS[kind]
    if not known[rows].any():
        raise DataError(
            f"Positives are images {said}, but none of the {len(rows)} images has a {column}",
            where=where,
            fix=f"{fix}, or choose the same image with positives=image",
        )
    names = table["content" if "content" in table else "sample_id"].to_numpy(dtype=object)
    own = [group if group is not None else f"alone/{name}" for group, name in zip(groups, names)]
    codes = pd.factorize(np.array(own, dtype=object))[0]
    ranked = rows[np.lexsort((names[rows].astype(str), numbers[rows], codes[rows]))]
    first, last = _reach(codes[ranked], numbers[ranked], distance)
    result = Partners(_kin(table, own), ranked, *(_spread(len(table), ranked, v) for v in _ranges(first, last)))
    if not result.count[rows].any():
        raise DataError(
            f"Positives are images {said}, and no two of the {len(rows)} images are such",
            where=where,
            fix="Choose the same image with positives=image",
        )
    return result


def _groups(table: pd.DataFrame, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what each image belongs to, None where that is unknown, and its number there (0 but for neighbours)."""
    patients = known_patient_keys(table)
    nothing = np.zeros(len(table))
    if kind == "patient":
        return patients, nothing
    if kind == "study":
        return _joined(table, patients, ["study_id"], table["study_id"].notna()), nothing
    volumes = table["frame"].notna() & ~table["format"].isin(_SETS)
    frames = _joined(table, patients, ["path", "study_id", "series_id", "laterality"], volumes)
    numbers = table["frame"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    if SLICE in table:
        slices = pd.to_numeric(table[SLICE], errors="coerce").astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        numbered = np.isfinite(slices) & table["series_id"].notna().to_numpy(dtype=bool) & ~volumes.to_numpy(dtype=bool)
        frames = np.where(numbered, _joined(table, patients, ["series_id", "laterality"], numbered), frames)
        numbers = np.where(numbered, slices, numbers)
    return frames, np.nan_to_num(numbers)


def _joined(
    table: pd.DataFrame, patients: np.ndarray, columns: list[str], known: "pd.Series | np.ndarray"
) -> np.ndarray:
    """Return one text an image from patient and columns, None where it is not known."""
    parts = [table[name].fillna("").astype(str) for name in columns]
    texts = ["\x1f".join((patient or "", *values)) for patient, *values in zip(patients, *parts)]
    return np.array([text if one else None for text, one in zip(texts, known)], dtype=object)


def _kin(table: pd.DataFrame, own: list[str]) -> np.ndarray:
    patients = known_patient_keys(table)
    whole = [f"patient/{patient}" if patient is not None else group for patient, group in zip(patients, own)]
    return pd.factorize(np.array(whole, dtype=object))[0].astype(np.int64)


def _reach(codes: np.ndarray, numbers: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of the ordered images the first and the one after the last that are near it in its group."""
    first, last = np.empty(len(codes), np.int64), np.empty(len(codes), np.int64)
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1), len(codes)]
    for start, stop in pairwise(edges):
        inside = numbers[start:stop]
        first[start:stop] = start + np.searchsorted(inside, inside - distance, "left")
        last[start:stop] = start + np.searchsorted(inside, inside + distance, "right")
    return first, last


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.arange(len(first)), first, last - first - 1


def _spread(total: int, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    result = np.zeros(total, np.int64)
    result[places] = values
    return result
