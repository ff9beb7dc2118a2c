"""Dataset cards: what a public dataset is, where it lives, and how a copy of it becomes a manifest.

A card is one YAML file in `datasets_manifest/`, installed as the package `medssl_datasets`. `adopt` scans a copy that
the user already has; nothing is downloaded and the copy is not changed.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, field_validator

from medssl.data import array_labels
from medssl.data.columns import TEXT, typed
from medssl.data.keys import AS_THEY_ARE
from medssl.data.label_matching import posix
from medssl.data.labels import join_table
from medssl.data.manifest import Manifest, absolute
from medssl.data.remarks import with_patients
from medssl.data.scan import scan
from medssl.data.tables import read_text_table
from medssl.errors import DataError, unknown_name
from medssl.settings import Settings, load_yaml, validate

WITHOUT_MODALITY = {
    "microscopy": "no modality of its own: give --modality a YAML file that starts from a like one",
    "mixed": "images of several modalities: choose those of one",
}
"""What a card says in place of a modality, and what that means for whoever trains on the set."""

_NAMED_ALIKE = 0.5  # share of a set's files whose names must tell what its card says that they tell


class LabelFile(Settings):
    """The table of labels inside a copy.

    Attributes:
        file: Its name, relative to the copy.
        optional: A copy without it is still understood, from the names of its files.
        suffix: What is added to each name in `file`, where the table names images without their ending.
        columns: Other names for its columns, theirs to ours.
        ignore: Columns that are left out, with the reason in the card's remarks.
        keep: If given, the only columns that are taken besides `file`.
    """

    file: str
    optional: bool = False
    suffix: str = ""
    columns: dict[str, str] = {}
    ignore: list[str] = []
    keep: list[str] = []


class Derived(Settings):
    """A label made from another column.

    Attributes:
        column: The column it is made from.
        words: The label for each exact word.
        contains: The label for a word that stands anywhere in the cell; looked at after `words`.
        others: The label for every other word; None leaves it unknown.
    """

    column: str
    words: dict[str, str] = {}
    contains: dict[str, str] = {}
    others: str | None = None

    def of(self, cell: str) -> str | None:
        """Return the label of a cell."""
        if cell in self.words:
            return self.words[cell]
        return next((label for part, label in self.contains.items() if part in cell), self.others)


class Download(Settings):
    """A file that may be had without a login.

    Attributes:
        url: Where it is.
        md5: Its published checksum.
        optional: It is fetched only when it is named.
    """

    url: str
    md5: str | None = None
    optional: bool = False


class Card(Settings):
    """What is known of a dataset.

    Attributes:
        title: One line.
        modality: The modality, or a word of `WITHOUT_MODALITY`.
        homepage: Where it lives.
        licence: Its licence as stated by its makers, or what is known of it.
        citation: How it is cited.
        access: "open", "registration" or "request".
        site: The site that its rows get where the label table has none.
        only: Regular expression, searched in the path below the copy; other files are not part of the set.
        path_pattern: Regular expression whose named groups become columns.
        arrays: Whether it is one `.npz` with the images, labels and parts of MedMNIST; the words of `classes` become
            the column `label`, or columns of 0 and 1 where an image has several.
        labels: The label table.
        derived: Labels made from other columns.
        files: Downloads, by file name.
        classes: What the label numbers of its makers mean.
        ood_partner: The card that is its out-of-distribution partner.
        not_adoptable: Why `adopt` cannot read it, if it cannot.
        remarks: What a user should know; copied into the manifest.
    """

    title: str
    modality: str
    homepage: str
    licence: str
    citation: str
    access: Literal["open", "registration", "request"]
    site: str | None = None
    only: str | None = None
    path_pattern: str | None = None
    arrays: bool = False
    labels: LabelFile | None = None
    derived: dict[str, Derived] = {}
    files: dict[str, Download] = Field(default_factory=dict)
    classes: dict[str, str] = {}
    ood_partner: str | None = None
    not_adoptable: str | None = None
    remarks: list[str] = []

    @field_validator("only", "path_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        re.compile(pattern or "")
        return pattern


def names() -> list[str]:
    """Return the names of all cards."""
    folder = package_files("medssl_datasets")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(name: str) -> Card:
    """Return a card by name.

    Raises:
        SettingsError: There is none of that name, or it breaks the schema.
    """
    if name not in names():
        raise unknown_name("dataset", name, names())
    path = Path(str(package_files("medssl_datasets") / f"{name}.yaml"))
    return validate(Card, load_yaml(path), where=path.name)


def adopt(
    name: str,
    folder: Path,
    progress: Callable[[str, dict], None] | None = None,
    image_is_patient: bool = False,
) -> Manifest:
    """Return the manifest of a copy of the dataset that the user has; ids stay as its makers published them.

    Args:
        name: Name of the card.
        folder: The copy; a file of it where the set is one file that may be there in several sizes.
        progress: Called with ("file", {...}) as the scan goes on.
        image_is_patient: Take every image without a patient as a patient of its own.

    Raises:
        SettingsError: There is no such card.
        DataError: The folder is no copy of this set, or the card says that it cannot be read.
    """
    card, folder = load(name), absolute(folder)
    if card.not_adoptable:
        raise DataError(f"'{name}' cannot be adopted: {card.not_adoptable}", where=folder)
    public = scan([folder], key=AS_THEY_ARE, burned_in="keep", progress=progress)
    scanned = replace(public, remarks=())
    part = scanned.table["path"]
    chosen = part.str.contains(_plain(card.only or ""), regex=True).to_numpy(dtype=bool)
    if not chosen.any():
        raise DataError(
            f"No file here belongs to '{name}'",
            where=folder,
            fix=f"Point at the folder of the set; see {card.homepage}",
        )
    named = part[chosen].map(re.compile(card.path_pattern or "").search).notna()
    if named.mean() < _NAMED_ALIKE:
        raise DataError(
            f"This looks like another set: {named.sum()} of {len(named)} files are named as those of '{name}'",
            where=folder,
            fix=f"Point at the folder of the set; see {card.homepage}",
        )
    others = int((~chosen).sum())
    manifest = scanned.with_table(_with_path_columns(scanned.table[chosen], part[chosen], card))
    manifest = array_labels.joined(manifest, card.classes) if card.arrays else manifest
    manifest = _with_labels(manifest, card, folder, set(part[~chosen]))
    manifest = manifest.with_table(_with_derived(_with_site(manifest.table, card), card))
    left = [f"{others} of {len(chosen)} files in the folder are not part of the set"] if others else []
    return with_patients(manifest, image_is_patient).with_remarks(*card.remarks, *left)


def _plain(pattern: str) -> str:
    """Return a pattern without capturing groups, which pandas warns of when it only searches."""
    return re.sub(r"\((?!\?)", "(?:", pattern)


def _with_path_columns(table: pd.DataFrame, below: pd.Series, card: Card) -> pd.DataFrame:
    if not card.path_pattern:
        return table
    named = below.str.extract(card.path_pattern)
    named = named[[c for c in named.columns if isinstance(c, str)]].astype(TEXT)
    return typed(table.assign(**{str(column): named[column] for column in named}))


def _with_labels(manifest: Manifest, card: Card, folder: Path, others: set[str]) -> Manifest:
    if card.labels is None:
        return manifest
    file = folder / card.labels.file
    if not file.is_file():
        if card.labels.optional:
            return manifest
        raise DataError("The label table of the set is not there", where=file)
    table = read_text_table(file).rename(columns=card.labels.columns)
    table["file"] = table["file"] + card.labels.suffix
    foreign = [name for name in table["file"].dropna() if posix(name) in others]
    if foreign:
        raise DataError(
            f"This looks like another set: its label table names {len(foreign)} files here that are not part "
            f"of this one, such as {foreign[0]}",
            where=file,
            fix=f"Point at the folder of the set; see {card.homepage}",
        )
    keep = card.labels.keep or [c for c in table.columns if c != "file"]
    table = table[["file", *(c for c in keep if c not in card.labels.ignore)]]
    return join_table(manifest, table, where=file)


def _with_site(table: pd.DataFrame, card: Card) -> pd.DataFrame:
    if card.site is None:
        return table
    return table.assign(site=table["site"].fillna(card.site).astype(TEXT))


def _with_derived(table: pd.DataFrame, card: Card) -> pd.DataFrame:
    made = {
        name: table[rule.column].map(rule.of, na_action="ignore").astype(TEXT)
        for name, rule in card.derived.items()
        if rule.column in table
    }
    return typed(table.assign(**made))
