"""Splits that are frozen in the manifest: made once, written into the column `split`, with how they were made.

A patient is in one part, always. Patients are put in an order by a hash of (seed, patient key), so the same seed gives
the same parts whatever the order of the rows. The three rules:

    random   every class of a label is cut into the same shares of patients (or all patients, without a label)
    sites    images of the named sites are the test part, the others are cut into training and validation
    time     patients with an image on or after a day are the test part as a whole, their earlier images too, so that
             nothing that is trained on is from after that day
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from medssl.data import timeline
from medssl.data.columns import TEXT, typed
from medssl.data.labels import refuse_spellings
from medssl.data.manifest import Manifest
from medssl.data.split_rule import Rule
from medssl.data.splits import LEAKING, count_of_patients, dealt, patient_keys, patients_by_class
from medssl.errors import DataError, unknown_name

MADE = "split by patient:"


def freeze(
    manifest: Manifest, rule: Rule, *, again: bool = False, together: Sequence[tuple[str, str]] = ()
) -> Manifest:
    """Return the manifest with the column `split` filled and a remark on how.

    Images without a patient stay out of every part (no command uses them where others have a patient) and are
    counted; a manifest without any patient is refused.

    Args:
        manifest: The images.
        rule: How to split.
        again: Whether a split that is there may be replaced.
        together: Pairs of samples whose patients must not be parted, such as those of `medssl.data.duplicates`.

    Raises:
        SettingsError: The rule contradicts itself, or names a label or site that is not there.
        DataError: There is a split already, patients, sites or dates are unknown, or a part or class is too small; with
            both numbers.
    """
    rule = rule.checked()
    _refuse_split(manifest, again=again)
    usable = (manifest.table["status"] == "ok").to_numpy(dtype=bool)
    known = usable & manifest.table["patient_id"].notna().to_numpy(dtype=bool)
    table = manifest.table[known if known.any() else usable]
    patients = people(table, shared_ids=rule.shared_ids, where=manifest.name)
    patients, joined = _joined(table, patients, together)
    deal = {"random": _by_chance, "sites": _by_site, "time": _by_time}[rule.kind]
    parts, told = deal(manifest, table, patients, rule)
    split = pd.Series(pd.NA, index=manifest.table.index, dtype=TEXT)
    split[table.index] = [parts[patient] for patient in patients]
    told += (
        [f"{joined} patients with images that look alike are kept together and count as one each group"]
        if joined
        else []
    )
    without = int(usable.sum() - known.sum())
    told += [f"{without} images without a patient_id are in no part"] if without else []
    kept = tuple(remark for remark in manifest.remarks if not remark.startswith((MADE, LEAKING)))
    frozen = replace(manifest, remarks=kept).with_table(typed(manifest.table.assign(split=split)))
    return frozen.with_remarks("; ".join([f"{MADE} {rule}", _counts(patients, parts), *told]))


def people(table: pd.DataFrame, *, shared_ids: bool, where: str | None = None) -> np.ndarray:
    """Return one key a row for the person: the patient's number alone where it means one person at every site."""
    keys = patient_keys(table, where)
    return table["patient_id"].to_numpy(dtype=object) if shared_ids else keys


def _joined(table: pd.DataFrame, patients: np.ndarray, together: Sequence[tuple[str, str]]) -> tuple[np.ndarray, int]:
    """Return the keys with patients that are linked by pairs of samples under the first one's, and how many are."""
    of = dict(zip(table["sample_id"], patients, strict=True))
    root = {patient: patient for patient in of.values()}

    def top(patient: str) -> str:
        while root[patient] != patient:
            patient = root[patient]
        return patient

    for first, second in together:
        if first in of and second in of:
            a, b = sorted((top(of[first]), top(of[second])))
            root[b] = a
    groups = pd.Series({patient: top(patient) for patient in root})
    sizes = groups.value_counts()
    return np.array([groups[patient] for patient in patients], dtype=object), int(sizes[sizes > 1].sum())


def _by_chance(
    manifest: Manifest, table: pd.DataFrame, patients: np.ndarray, rule: Rule
) -> tuple[dict[str, str], list[str]]:
    shares = {"test": rule.test or 0.0, "val": rule.val}
    parts = dealt(_strata(manifest, table, patients, rule.stratify), shares, rule.seed)
    if rule.stratify:
        _check_classes(manifest, table, patients, parts, rule.stratify)
    return parts, []


def _by_site(
    manifest: Manifest, table: pd.DataFrame, patients: np.ndarray, rule: Rule
) -> tuple[dict[str, str], list[str]]:
    sites = table["site"].to_numpy(dtype=object)
    unknown = table["site"].isna().to_numpy(dtype=bool)
    if unknown.any():
        raise DataError(
            f"{unknown.sum()} of {len(table)} images have no site and could be of a held-out one",
            where=manifest.name,
            fix="Scan again with --site, join a table with a column site, or leave them out with --where "
            '"site.notna()"',
        )
    for name in rule.sites:
        if name not in set(sites):
            raise unknown_name("site", name, set(sites), where=manifest.name)
    held = np.isin(sites, list(rule.sites))
    outside = set(patients[~held]) - set(patients[held])
    if not outside:
        raise DataError(
            f"{rule.place} have all {count_of_patients(len(set(patients)))}: nothing is left to train on",
            where=manifest.name,
            fix="Hold out fewer sites",
        )
    rest = np.isin(patients, np.array(list(outside), dtype=object))
    parts = dict.fromkeys(patients[held], "test")
    others = dealt(_strata(manifest, table[rest], patients[rest], rule.stratify), {"val": rule.val}, rule.seed)
    if rule.stratify:
        _check_classes(manifest, table[rest], patients[rest], others, rule.stratify)
    parts |= others
    return parts, _at_both(table, patients, held, rule)


def _at_both(table: pd.DataFrame, patients: np.ndarray, held: np.ndarray, rule: Rule) -> list[str]:
    """Return remarks on patients, or their numbers, that are at a held-out site and elsewhere."""
    moved = ~held & np.isin(patients, np.array(list(set(patients[held])), dtype=object))
    if moved.any():
        who = count_of_patients(len(set(patients[moved])))
        return [f"{who} of {rule.place} also have {moved.sum()} images elsewhere: these are in the test part too"]
    numbers = table["patient_id"].to_numpy(dtype=object)
    both = set(numbers[held]) & set(numbers[~held])
    if not both or rule.shared_ids:
        return []
    return [
        f"{len(both)} patient numbers, such as {min(both)}, occur at {rule.place} and elsewhere and are taken as "
        "different people; with --shared-ids as the same"
    ]


def _by_time(
    manifest: Manifest, table: pd.DataFrame, patients: np.ndarray, rule: Rule
) -> tuple[dict[str, str], list[str]]:
    last = timeline.last_days(manifest, table, patients)
    days = timeline.first_days(last, rule.test or 0.0, rule.val, rule.test_from, rule.val_from)
    parts = {patient: next((p for p in ("test", "val") if p in days and day >= days[p]), "train")
             for patient, day in last.items()}  # fmt: skip
    for part in [*days, "train"]:
        if part not in parts.values():
            span = f"{min(last.values())} to {max(last.values())}"
            raise DataError(
                f"No patient of {len(last)} is in the part '{part}': their last images are from {span}",
                where=manifest.name,
                fix="Choose another first day or share",
            )
    begins = ", ".join(f"{part} from {day} on" for part, day in sorted(days.items()))
    return parts, [f"the parts by time are {begins}", *timeline.straddling(table, patients, parts, days)]


def _strata(
    manifest: Manifest, table: pd.DataFrame, patients: np.ndarray, column: str | None
) -> dict[object, set[str]]:
    """Return the patients of each class, a patient with the rarest class they have; None are those without a label."""
    if column is None:
        return {None: set(patients)}
    if column not in table.columns:
        raise unknown_name("label column", column, manifest.label_names or list(table.columns), where=manifest.name)
    words = table[column].to_numpy(dtype=object)
    known = ~pd.isna(words)
    if not known.any():
        raise DataError(f"No image has a label in the column '{column}'", where=manifest.name)
    refuse_spellings(sorted(set(words[known])), f"column '{column}' of {manifest.name}")
    return patients_by_class(words[known].astype(str), patients[known]) | {None: set(patients) - set(patients[known])}


def _check_classes(
    manifest: Manifest, table: pd.DataFrame, patients: np.ndarray, parts: dict[str, str], column: str
) -> None:
    """Refuse a deal in which a class is missing from a part."""
    words = table[column].to_numpy(dtype=object)
    expected = sorted(set(parts.values()))
    for name in sorted(set(words[~pd.isna(words)])):
        having = set(patients[words == name])
        if len({parts[patient] for patient in having}) < len(expected):
            raise DataError(
                f"Class '{name}' is known of {count_of_patients(len(having))}, too few to be in each of "
                f"{len(expected)} parts ({', '.join(expected)})",
                where=f"column '{column}' of {manifest.name}",
                fix="Split off fewer parts, join the class with another one, or leave out --stratify",
            )


def _refuse_split(manifest: Manifest, *, again: bool) -> None:
    counts = manifest.table["split"].value_counts()
    if len(counts) and not again:
        shown = ", ".join(f"{number} {name}" for name, number in counts.items())
        raise DataError(
            f"The manifest has a split already ({shown})", where=manifest.name, fix="Replace it with --again"
        )


def _counts(patients: np.ndarray, parts: dict[str, str]) -> str:
    of = pd.Series(patients).map(parts)
    who = pd.Series(parts).value_counts()
    return ", ".join(
        f"{part} {count_of_patients(int(who[part]))} with {int((of == part).sum())} images"
        for part in ("train", "val", "test")
        if part in who
    )
