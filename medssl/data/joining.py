"""One manifest of several, so that a network can be pretrained on the images of more than one place."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.data.columns import TEXT, typed
from medssl.data.manifest import Manifest, absolute, sample_id
from medssl.data.splits import held_out, patient_keys, with_patients_known
from medssl.errors import DataError, SettingsError


def join(manifests: Sequence[Manifest], holdout: float = 0.3) -> Manifest:
    """Return the rows of several manifests, with the test part of each written into the column `split`.

    The test part of a place is the one that its manifest gives, or else the patients that every command holds out of
    it (`splits.held_out`): what is pretrained on the joined manifest can be tested on each of its places.

    Args:
        manifests: At least two.
        holdout: Share of the patients of a place without a given test part, in (0, 1).

    Raises:
        SettingsError: There is one manifest only, or the share is not in (0, 1).
        DataError: An image is in two of them, patients are unknown, or equal patient numbers could be other people.
    """
    if len(manifests) < 2:
        raise SettingsError("There is nothing to join: one manifest was given", fix="Give two or more")
    if not 0 < holdout < 1:
        raise SettingsError(f"Expected a share of patients above 0 and below 1, but got {holdout:g}", where="--holdout")
    parts = [manifest.with_table(_with_split(manifest, holdout)) for manifest in manifests]
    _check_patients(parts)
    tables = [
        part.table.assign(path=[str(absolute(part.folder / path)) for path in part.table["path"]]) for part in parts
    ]
    _check_files(tables, parts)
    ids: set[str] = set()
    for number, table in enumerate(tables):
        known = table["sample_id"].isin(ids)
        again = [sample_id(f"{number}/{name}") for name in table["sample_id"][known]]
        table.loc[known, "sample_id"] = again
        ids |= set(table["sample_id"])
    remarks = tuple(f"{part.name}: {remark}" for part in parts for remark in part.remarks)
    return Manifest(typed(pd.concat(tables, ignore_index=True)), Path.cwd(), "joined", remarks)


def _with_split(manifest: Manifest, holdout: float) -> pd.DataFrame:
    """Return the rows with their test part marked: the given one, or the patients that are held out by their hash."""
    table = manifest.table
    if (table["split"] == "test").any():
        return table
    known = with_patients_known(manifest.usable())[0]
    held = pd.Series(np.where(held_out(known, holdout), "test", "train"), index=known.table["sample_id"])
    return table.assign(split=table["split"].fillna(table["sample_id"].map(held)).astype(TEXT))


def _check_patients(parts: Sequence[Manifest]) -> None:
    """Refuse equal patient keys without a site: they could be other people, or the same in training and test."""
    seen: dict[str, str] = {}
    for part in parts:
        known = part.table[part.table["patient_id"].notna()]
        unplaced = set(patient_keys(known[known["site"].isna()]))
        common = sorted(unplaced & seen.keys())
        if common:
            raise DataError(
                f"Patient {common[0]} is in '{seen[common[0]]}' and in '{part.name}', and no site says whether that is "
                "one person",
                where=part.name,
                fix="Scan both again with --site NAME, one name a place",
            )
        seen |= dict.fromkeys(unplaced, part.name)


def _check_files(tables: Sequence[pd.DataFrame], parts: Sequence[Manifest]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for table, part in zip(tables, parts, strict=True):
        places = list(zip(table["path"], table["frame"].fillna(-1).astype(int), strict=True))
        twice = next((place for place in places if place in seen), None)
        if twice is not None:
            raise DataError(
                f"The file is listed in '{seen[twice]}' and in '{part.name}'",
                where=twice[0],
                fix="Give each place once",
            )
        seen |= dict.fromkeys(places, part.name)
