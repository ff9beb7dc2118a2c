"""One manifest of several, so that a network can be pretrained on the images of more than one place."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medssl.data.columns import TEXT, typed
from medssl.data.manifest import Manifest, absolute, sample_id
from medssl.data.splits import held_out, patient_keys, with_patients_known
from medssl.errors import DataError, SettingsError


def join(manifests: Sequence[Manifest]) -> Manifest:
    """Return the rows of several manifests, with the test part of each written into the column `split`.

    The test part of a place is the one that its manifest gives, or else the patients that every command holds out of
    it (`splits.held_out`): what is pretrained on the joined manifest can be tested on each of its places.

    Args:
        manifests: At least two.

    Raises:
        SettingsError: There is one manifest only.
        DataError: An image is in two of them, patients are unknown, or equal patient numbers could be other people.
    """
    if len(manifests) < 2:
        raise SettingsError("There is nothing to join: one manifest was given", fix="Give two or more")
    parts = [manifest.with_table(_with_split(manifest)) for manifest in manifests]
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


def _with_split(manifest: Manifest) -> pd.DataFrame:
    """Return the rows with their test part marked: the given one, or the patients that are held out by their hash."""
    table, usable = manifest.table, manifest.usable()
    if not usable.table["patient_id"].notna().any():
        raise DataError(
            "No image has a patient_id, so no test part can be set aside",
            where=manifest.name,
            fix="Scan again with a label table that has patient_id",
        )
    if (table["split"] == "test").any():
        return table
    known = with_patients_known(usable)[0].table
    held = set(known["sample_id"][held_out(manifest.with_table(known))])
    others = table["split"].fillna(table["sample_id"].map(dict.fromkeys(known["sample_id"], "train")))
    return table.assign(split=others.where(~table["sample_id"].isin(held), "test").astype(TEXT))


def _check_patients(parts: Sequence[Manifest]) -> None:
    """Refuse equal patient keys without a site: they could be other people, or the same in training and test."""
    seen: dict[str, str] = {}
    for part in parts:
        known = part.table[part.table["patient_id"].notna()]
        unplaced = set(patient_keys(known[known["site"].isna()]))
        common = sorted(unplaced & seen.keys())
        if common:
            raise DataError(
                f"Patient {common[0]} is in '{seen[common[0]]}' and in '{_called(part)}', and no site says if it is "
                "one person",
                where=part.name,
                fix="Scan both again with --site NAME, one name a place",
            )
        seen |= dict.fromkeys(unplaced, _called(part))


def _check_files(tables: Sequence[pd.DataFrame], parts: Sequence[Manifest]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for table, part in zip(tables, parts, strict=True):
        real = [os.path.realpath(path) for path in table["path"]]  # the same file under a link is the same image
        places = list(zip(real, table["frame"].fillna(-1).astype(int), strict=True))
        twice = next((place for place in places if place in seen), None)
        if twice is not None:
            raise DataError(
                f"The file is listed in '{seen[twice]}' and in '{_called(part)}'",
                where=twice[0],
                fix="Give each place once",
            )
        seen |= dict.fromkeys(places, _called(part))


def _called(manifest: Manifest) -> str:
    """Return folder and name: two places may have one name."""
    return f"{manifest.folder.name}/{manifest.name}"
