"""Splits by patient, each a function of patient keys and a seed: no file to keep, no row order to depend on.

A patient's place in an order is a hash of their key, so adding or leaving out images of others moves nobody.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medssl.chance import key
from medssl.counting import counted, counted_of
from medssl.data.manifest import Manifest
from medssl.errors import DataError

_HOLDOUT = "medssl held out"
LEAKING = "The given split has"
ONE_PATIENT = 0.5
"""Patients that a fraction of a class must come to, to be rounded up to one."""


def patient_keys(table: pd.DataFrame, where: str | None = None) -> np.ndarray:
    """Return one key a row: "site/patient" where the site is known, else "patient".

    Numbers like 12 name other people at another hospital, so the site is part of the key.

    Raises:
        DataError: A row has no patient; the first ones are named, with `where` they are from.
    """
    unknown = table["patient_id"].isna().to_numpy(dtype=bool)
    if unknown.any():
        first = ", ".join(table.loc[unknown, "path"].astype(str).iloc[:3])
        raise DataError(
            f"{counted_of(int(unknown.sum()), len(table), 'image', 'has', 'have')} no patient_id, for example {first}",
            where=where,
            fix="Add a patient_id column to the label table, or scan with --image-is-patient if no two images are of "
            "the same person",
        )
    patient = table["patient_id"].to_numpy(dtype=object)
    site = table["site"].fillna("").to_numpy(dtype=object)
    return np.array([f"{s}/{p}" if s else str(p) for s, p in zip(site, patient)], dtype=object)


def known_patient_keys(table: pd.DataFrame) -> np.ndarray:
    """Return one key a row as `patient_keys` does, None where the patient is unknown."""
    known = table["patient_id"].notna().to_numpy(dtype=bool)
    result = np.full(len(table), None, dtype=object)
    result[known] = patient_keys(table[known])
    return result


def with_patients_known(manifest: Manifest, *, keep: np.ndarray | None = None) -> tuple[Manifest, list[str]]:
    """Leave out images that could be of any patient, where others have one; where none has, nothing is changed.

    Args:
        manifest: The images.
        keep: A boolean a row: these stay, patient or not.

    Returns:
        The rest, and a remark with their number if there are any.
    """
    table = manifest.table
    unknown = table["patient_id"].isna().to_numpy(dtype=bool)
    out = unknown if keep is None else unknown & ~keep
    if unknown.all() or not out.any():
        return manifest, []
    told = (
        f"{out.sum()} of {len(table)} images of '{manifest.name}' have no patient_id and are left out: they could be "
        "of a test patient"
    )
    return manifest.with_table(table[~out]), [told]


def held_out(manifest: Manifest, fraction: float = 0.3) -> np.ndarray:
    """Return a boolean a row: is it in the part that pretraining, probing and choosing settings never see?

    Where the `split` column says 'test', those rows are. Otherwise a patient is held out when the hash of their key
    is below `fraction`, so that every command agrees without a file; of two or more patients at least one is held
    out and one is not.

    Args:
        manifest: The images.
        fraction: Expected share of patients, in [0, 1); 0 holds out nobody.

    Raises:
        DataError: A patient is unknown or in several given parts, or there is only one patient.
    """
    table = manifest.table
    if (table["split"] == "test").any():
        check_given_split(table)
        return (table["split"] == "test").to_numpy(dtype=bool)
    if not fraction or not len(table):
        return np.zeros(len(table), dtype=bool)
    keys = patient_keys(table)
    place = {patient: key(_HOLDOUT, patient) / 2**64 for patient in set(keys)}
    if len(place) < 2:
        raise DataError(
            f"Cannot hold out a share of 1 patient ({keys[0]})",
            where=manifest.name,
            fix="Scan more patients, or set data.holdout=0 to pretrain without a test part",
        )
    order = sorted(place, key=place.__getitem__)
    count = min(max(sum(place[p] < fraction for p in order), 1), len(order) - 1)
    return np.isin(keys, np.array(order[:count], dtype=object))


def check_given_split(table: pd.DataFrame) -> None:
    """Check that no patient is in more than one part of the given split.

    Raises:
        DataError: One is; patients and parts are named.
    """
    given = table[table["split"].notna()]
    parts = pd.Series(given["split"].to_numpy(dtype=object)).groupby(patient_keys(given)).agg(lambda s: sorted(set(s)))
    shared = parts[parts.map(len) > 1]
    if len(shared):
        named = "; ".join(f"{patient} in {' and '.join(names)}" for patient, names in shared.iloc[:5].items())
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise DataError(
            f"{LEAKING} {count_of_patients(len(shared))} in more than one part: {named}{more}",
            fix="Keep the published test part with --drop-overlap train, or leave the split column out to let the "
            "program split by patient",
        )


@dataclass(frozen=True)
class Overlap:
    """What two parts share: patient keys, and hashes of pixels."""

    patients: list[str]
    pixels: list[str]

    def __bool__(self) -> bool:
        return bool(self.patients or self.pixels)

    def __str__(self) -> str:
        """Return a phrase with the counts and the first patients."""
        named = ", ".join(self.patients[:5]) + (", ..." if len(self.patients) > 5 else "")
        patients = f"{count_of_patients(len(self.patients))} ({named})" if self.patients else "no patients"
        return f"{patients} and {counted(len(self.pixels), 'image')} with equal pixels"


def overlap(
    train_keys: Iterable[str], test_keys: Iterable[str], train_hashes: Iterable[str], test_hashes: Iterable[str]
) -> Overlap:
    """Return the patients and pixel hashes that are in both parts; empty, and false, when there are none."""
    return Overlap(sorted(set(train_keys) & set(test_keys)), sorted(set(train_hashes) & set(test_hashes)))


def grouped_folds(
    labels: Sequence | np.ndarray, patients: Sequence | np.ndarray, k: int, seed: int
) -> list[np.ndarray]:
    """Return the row numbers of k folds that share no patient and all have every class.

    A patient counts as the rarest class they have. Each class's patients are dealt out in a random order that
    depends on seed and patient key only.

    Args:
        labels: One class a row, numbers or words; none missing.
        patients: One patient key a row.
        k: Number of folds, at least 2.
        seed: Another seed, another deal.

    Raises:
        DataError: There are fewer patients than folds, in all or with one of the classes.
    """
    labels, patients = np.asarray(labels), np.asarray(patients, dtype=object)
    groups = patients_by_class(labels, patients)
    total = len(set(patients))
    if total < k:
        raise DataError(f"{k} folds need at least {k} patients, but there are {total}", fix="Use fewer folds")
    fold, dealt = {}, 0
    for members in groups.values():
        for patient in sorted(members, key=lambda p: key("fold", seed, p)):
            fold[patient] = dealt % k
            dealt += 1
    number = np.array([fold[p] for p in patients])
    for name in np.unique(labels):
        having = len(set(patients[labels == name]))
        if having < k or len(set(number[labels == name])) < k:
            raise DataError(
                f"Class '{_word(name)}' is known of {count_of_patients(having)}, too few to be in each of {k} parts",
                fix="Use fewer folds, or leave this class out",
            )
    return [np.flatnonzero(number == f) for f in range(k)]


def nested_fractions(
    labels: np.ndarray, patients: np.ndarray, fractions: Sequence[float], draw: int, seed: int
) -> dict[float, np.ndarray]:
    """Return the row numbers of each label fraction: nested, stratified, whole patients.

    Patients with a positive image and those without are each put in an order that depends on (seed, draw, key); a
    fraction is the beginning of both orders, so a smaller one is inside every larger one.

    Args:
        labels: (n,) 0 or 1, NaN where unknown (such rows are in no fraction).
        patients: (n,) patient keys.
        fractions: Per cent of patients, in (0, 100].
        draw: Number of the draw.
        seed: Seed of all draws.

    Raises:
        DataError: A fraction is less than one patient of a class, or there is one class only; with both numbers.
    """
    labels, patients = np.asarray(labels, dtype=float), np.asarray(patients, dtype=object)
    known = ~np.isnan(labels)
    positive = set(patients[labels == 1])
    orders = {
        name: sorted(members, key=lambda p: key("fraction", seed, draw, p))
        for name, members in (("positive", positive), ("negative", set(patients[known]) - positive))
    }
    result = {}
    for fraction in fractions:
        chosen = [p for name, order in orders.items() for p in order[: _count(name, len(order), fraction)]]
        rows = np.flatnonzero(known & np.isin(patients, np.array(chosen, dtype=object)))
        if len(set(labels[rows])) < 2:
            raise DataError(
                f"{fraction:g} % of {len(positive)} positive and {len(orders['negative'])} negative patients has one "
                "class only",
                fix="Use a larger fraction, or a label with both classes",
            )
        result[fraction] = rows
    return result


def dealt(groups: Mapping[object, set[str]], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Return the part of each patient: every group is cut into the same shares, the rest of it is 'train'.

    A group's patients stand in an order that depends on seed and patient only. What rounding gives one group too many
    the next gets less, and every part gets at least one patient of a group that has enough for all.

    Args:
        groups: Patients by class, each patient in one.
        shares: Share in (0, 1) by part; parts of share 0 get nobody.
        seed: Another seed, another deal.

    Raises:
        DataError: A part would be empty; with both numbers.
    """
    shares = {part: share for part, share in shares.items() if share}
    over, result = dict.fromkeys(shares, 0.0), dict[str, str]()
    for members in groups.values():
        order = sorted(members, key=lambda patient: key("part", seed, patient))
        enough, start = len(order) > len(shares), 0
        for place, (part, share) in enumerate(shares.items()):
            wished = share * len(order) + over[part]
            left = len(order) - start - (len(shares) - place if enough else 0)
            count = min(max(int(wished + 0.5), 1 if enough else 0), max(left, 0))
            over[part] = wished - count
            result |= dict.fromkeys(order[start : start + count], part)
            start += count
        result |= dict.fromkeys(order[start:], "train")
    missing = next((part for part in (*shares, "train") if part not in result.values()), None)
    if missing is not None:
        raise DataError(
            f"{count_of_patients(len(result))} are too few for {len(shares) + 1} parts: nobody is left for '{missing}'",
            fix="Split off fewer parts or larger shares",
        )
    return result


def _count(name: str, patients: int, fraction: float) -> int:
    if not 0 < fraction <= 100:
        raise DataError(f"A label fraction is in (0, 100] per cent, but got {fraction:g}")
    exact = patients * fraction / 100
    if patients and exact < ONE_PATIENT:
        raise DataError(
            f"{fraction:g} % of {patients} {name} patients is {exact:.2g}, less than one patient",
            fix=f"Use fractions of {np.ceil(500 / patients) / 10:g} % or more",
        )
    return int(exact + 0.5)


def patients_by_class(labels: np.ndarray, patients: np.ndarray) -> dict[object, set[str]]:
    """Return the patients of each class, rarest class first; a patient is in the first class they have."""
    having = {name: set(patients[labels == name]) for name in np.unique(labels)}
    result: dict[object, set[str]] = {}
    placed: set[str] = set()
    for name in sorted(having, key=lambda n: (len(having[n]), str(n))):
        result[name] = having[name] - placed
        placed |= having[name]
    return result


def count_of_patients(number: int) -> str:
    """Return a number of patients in words."""
    return counted(number, "patient")


def _word(name: object) -> str:
    return f"{name:g}" if isinstance(name, float) else str(name)
