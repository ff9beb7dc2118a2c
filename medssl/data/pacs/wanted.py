"""What is wanted from a PACS: conditions that it is asked with, and that its answers are held against.

An archive may ignore a key that it does not support and answer with everything, so no answer is trusted to meet what
was asked.
"""

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import pandas as pd

from medssl.data.pacs.header import is_uid
from medssl.data.query import choose
from medssl.errors import SettingsError


@dataclass(frozen=True)
class Series:
    """A series as the PACS describes it; empty text and None where it does not say."""

    study: str
    series: str
    patient_id: str = ""
    study_date: str = ""
    modality: str = ""
    study_description: str = ""
    series_description: str = ""
    body_part: str = ""
    accession: str = ""
    instances: int | None = None


@dataclass(frozen=True)
class Wanted:
    """Conditions on series; an empty one is none.

    Attributes:
        patients: Patient IDs, `*` and `?` standing for anything.
        dates: First and last study date as YYYYMMDD; either may be empty.
        modalities: DICOM modalities of series, such as CT.
        studies: Study Instance UIDs.
        accessions: Accession numbers.
        where: A condition on the columns of `Series`, in the language of `--where`.
    """

    patients: tuple[str, ...] = ()
    dates: tuple[str, str] = ("", "")
    modalities: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    accessions: tuple[str, ...] = ()
    where: str | None = None

    def __post_init__(self) -> None:
        """Refuse what a PACS would take for something else.

        Raises:
            SettingsError: A value cannot be one of its kind.
        """
        for text in (*self.patients, *self.accessions):
            if not text.strip() or "\\" in text or not text.isprintable():
                raise SettingsError(f"A patient ID or accession number cannot be '{text}'")
        for text in self.modalities:
            if not re.fullmatch(r"[A-Z0-9_]{1,16}", text):
                raise SettingsError(f"Expected a modality like CT or OPT, but got '{text}'", where="--modality")
        for text in self.studies:
            if not is_uid(text):
                raise SettingsError(f"Expected a Study Instance UID, but got '{text}'", where="--study")
        if self.where is not None:
            self.chosen([])

    @property
    def everything(self) -> bool:
        """Tell whether nothing narrows the question that the PACS is asked."""
        return not (self.patients or any(self.dates) or self.modalities or self.studies or self.accessions)

    def questions(self) -> Iterator[dict[str, str]]:
        """Yield the keys of one question after another at the level of studies; together they ask for all."""
        lists = {"PatientID": self.patients, "ModalitiesInStudy": self.modalities, "StudyInstanceUID": self.studies,
                 "AccessionNumber": self.accessions}  # fmt: skip
        for values in product(*(texts or ("",) for texts in lists.values())):
            keys = {name: value for name, value in zip(lists, values, strict=True) if value}
            if any(self.dates):
                keys["StudyDate"] = "-".join(self.dates)
            yield keys

    def meets(self, series: Series) -> bool:
        """Tell whether a series is wanted, as far as the PACS says what it is."""
        first, last = self.dates
        date = series.study_date
        return (
            (not self.patients or any(_like(series.patient_id, text) for text in self.patients))
            and (not self.modalities or series.modality in self.modalities)
            and (not self.studies or series.study in self.studies)
            and (not self.accessions or any(_like(series.accession, text) for text in self.accessions))
            and (not any(self.dates) or (bool(date) and (first or date) <= date <= (last or date)))
        )

    def chosen(self, series: list[Series]) -> list[Series]:
        """Return the series that `where` keeps.

        Raises:
            SettingsError: The condition cannot be used.
        """
        if self.where is None:
            return series
        names = [name for name in Series.__dataclass_fields__ if name not in ("study", "series")]
        table = pd.DataFrame([[getattr(one, name) for name in names] for one in series], columns=names)
        table = table.astype({name: "Int64" if name == "instances" else "str" for name in names})
        kept = choose(table.assign(position=range(len(series))), self.where)
        return [series[k] for k in kept["position"]]


def parse_dates(text: str | None) -> tuple[str, str]:
    """Return first and last day of `20240131`, `2024-01-31`, or two of them with `-` or `..` between.

    Either side of a range may be missing: `20240101-`.

    Raises:
        SettingsError: It is no such text, or the range is backwards.

    Example:
        >>> parse_dates("2024-01-31..2024-02-29")
        ('20240131', '20240229')
    """
    if text is None:
        return "", ""
    plain = re.sub(r"(\d{4})-(\d{2})-(\d{2})", r"\1\2\3", text.strip()).replace("..", "-")
    found = re.fullmatch(r"(\d{8})?(-)?(\d{8})?", plain)
    first, dash, last = (found.groups() if found else (None, None, None)) if plain else (None, None, None)
    ends = (first or "", (last or "") if dash else first or "")
    try:
        for day in filter(None, ends):
            datetime.strptime(day, "%Y%m%d")
    except ValueError:
        ends = "", ""
    if not any(ends) or (all(ends) and ends[0] > ends[1]):
        raise SettingsError(f"Expected days like 20240101-20241231, but got '{text}'", where="--study-date")
    return ends


def _like(value: str, pattern: str) -> bool:
    """Match as a PACS does: case may not count, `[` is no wildcard."""
    return fnmatch.fnmatchcase(value.strip().casefold(), pattern.strip().casefold().replace("[", "[[]"))
