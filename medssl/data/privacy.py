"""What of a header may be in a manifest: an allow-list of columns, identifiers as pseudonyms, burned-in text left out.

DICOM PS3.15 Annex E lists what identifies a person; `docs/manifest.md` says of every column where it stands there.
Nothing is carried because it is harmless: what is not a column here is dropped. The issuer of a patient id is no part
of the pseudonym: one patient's files often have it and lack it by turns, and two pseudonyms of one person could be
in training and test; a remark counts ids with several issuers.
"""

import re
import string
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from medssl.data.columns import KNOWN
from medssl.data.keys import Key
from medssl.errors import SettingsError

Row = dict[str, Any]
IDS = {"patient_id": "patient", "study_id": "study", "series_id": "series", "instance_id": "instance"}
"""Columns that hold pseudonyms, and the kind of what they stand for."""
_IDS_AND_SITE = IDS | {"site": "site"}
_CARRIED = frozenset({*KNOWN, "plane", "data_file", "remarks"})  # the last three for the scan alone
LOOKED_AT = ("patient_name", "issuer_of_patient_id")  # what a reader tells of a row for the remarks alone
_SHIFTED = "+dates"
_MOST_DAYS = 365
_SPLIT = re.compile(r"[\W_]+")
_SEPARATORS = str.maketrans("", "", string.punctuation + string.whitespace)
_LEAST_LETTERS = 3  # of a name or number that stands in a path on its own
_LEAST_WITHIN = 5  # of one that is part of a longer word


@dataclass(frozen=True)
class Hiding:
    """How the rows of one scan are made safe; called with a row as its reader describes it.

    Attributes:
        key: What pseudonyms are made with.
        shift_dates: Move the dates of a patient by one number of days, which follows from the key.
        keep_institution: Keep the name of the institution as site (PS3.15's Retain Institution Identity Option).
        burned_in: "skip" images that may show text in their pixels, or "keep" them.
    """

    key: Key
    shift_dates: bool = False
    keep_institution: bool = False
    burned_in: Literal["skip", "keep"] = "skip"

    def __post_init__(self) -> None:
        """Check that there is a key to shift dates by.

        Raises:
            SettingsError: There is none, or `burned_in` is another word.
        """
        if self.shift_dates and self.key.secret is None:
            raise SettingsError("Dates are shifted by a key, and there is none", fix="Give key=, or leave dates be")
        if self.burned_in not in ("skip", "keep"):
            raise SettingsError(f"Expected 'skip' or 'keep' for burned-in text, but got '{self.burned_in}'")

    def __call__(self, row: Row) -> Row:
        """Return the row with pseudonyms and nothing that is no column.

        Args:
            row: As a reader describes it, with `path`. `patient_name` and `issuer_of_patient_id` are looked at and
                dropped.
        """
        safe = {name: value for name, value in row.items() if name in _CARRIED}
        for name, kind in (IDS if self.keep_institution else _IDS_AND_SITE).items():
            if safe.get(name) is not None:
                safe[name] = self.key.pseudonym(kind, str(safe[name]))
        if safe.get("plane") is not None:  # only compared with others: image type and frame of reference as one word
            safe["plane"] = safe["plane"]._replace(kind=_kind(self.key, safe["plane"].kind))
        if safe.get("study_date") is not None:
            safe["study_date"] = self.date(safe["study_date"], safe.get("patient_id"))
        safe["names_patient"] = _names_patient(row)
        if row.get("issuer_of_patient_id") is not None:
            safe["issuer"] = self.key.pseudonym("issuer", str(row["issuer_of_patient_id"]))
        return self._without_burned_in(safe)

    @property
    def mark(self) -> str | None:
        """What the column `id_key` says: the key's fingerprint, and whether dates are shifted."""
        fingerprint = self.key.fingerprint
        return fingerprint + _SHIFTED if fingerprint and self.shift_dates else fingerprint

    @property
    def fingerprint(self) -> str:
        """What tells rows apart that were hidden otherwise."""
        return f"{self.mark} {self.keep_institution} {self.burned_in}"

    def date(self, day: str, patient: str | None) -> str | None:
        """Return a date as the manifest has it; shifted dates of nobody are unknown.

        Args:
            day: YYYY-MM-DD.
            patient: The pseudonym.
        """
        return shifted(day, patient, self.key) if self.shift_dates else day

    def _without_burned_in(self, row: Row) -> Row:
        why = BURNED_IN.get(row.get("burned_in") or "")
        if why is None or row.get("status") != "ok" or self.burned_in == "keep":
            return row
        left = {name: value for name, value in row.items() if name != "plane"}  # no slice of a volume
        return left | {"status": "skipped", "reason": f"{why}: {_MAY_SHOW}"}

    def remarks(self, rows: pa.Table, *, tables: bool = True) -> list[str]:
        """Return what a person should know of these rows as a whole.

        Args:
            rows: As `medssl.data.reading` returns them.
            tables: Label tables are joined later, which may bring identifiers.
        """
        if self.key.secret is None:
            return _several_issuers(rows)
        named = tables or any(rows[name].null_count < len(rows) for name in IDS)
        sentences = [_key_used(self.key)] if named else []
        if rows["study_date"].null_count < len(rows):
            sentences.append(f"study_date is {'shifted by patient' if self.shift_dates else 'real, see --shift-dates'}")
        return [*sentences, *_counted(rows), *_several_issuers(rows)]


BURNED_IN = {
    "yes": "the header says that text is burned in",
    "screen": "a secondary capture or screenshot",
}
"""Words of the column `burned_in` that leave an image out, and what they mean."""
_MAY_SHOW = "its pixels may show a name (--burned-in keep takes it)"


def _counted(rows: pa.Table) -> list[str]:
    """Return sentences on rows that a person should look at, those that count any."""
    words = {name: rows[name].cast(pa.string()) for name in ("status", "burned_in", "modality")}
    usable, left = pc.equal(words["status"], "ok"), pc.equal(words["status"], "skipped")
    burned = pc.is_in(words["burned_in"], pa.array(BURNED_IN))
    sound = pc.and_(usable, pc.is_in(words["modality"], pa.array(["US", "IVUS"])))
    counts = {
        "{} paths name the patient: keep this manifest like the archive": rows["names_patient"],
        "{} images are left out because text may be burned into them; --burned-in keep takes them": pc.and_(
            left, burned
        ),
        "{} images that may have text burned in are kept": pc.and_(usable, burned),
        "{} ultrasound images do not say whether text is burned in; many devices write the name above the sector: "
        "look at some with medssl inspect": pc.and_(sound, pc.is_null(words["burned_in"])),
    }
    found = {sentence: int(pc.sum(told).as_py() or 0) for sentence, told in counts.items()}
    return [sentence.format(count) for sentence, count in found.items() if count]


def shifted(day: str, patient: str | None, key: Key) -> str | None:
    """Return a date some days earlier, the same number from 1 to 365 for all dates of a patient; None of nobody.

    Args:
        day: YYYY-MM-DD.
        patient: The pseudonym.
        key: What it was made with.
    """
    if patient is None:
        return None
    days = 1 + int(key.pseudonym("days", patient), 16) % _MOST_DAYS
    try:
        return (date.fromisoformat(day) - timedelta(days=days)).isoformat()
    except (ValueError, OverflowError):
        return None


def mark_of(id_key: str) -> tuple[str, bool]:
    """Return the fingerprint in a cell of the column `id_key`, and whether dates are shifted."""
    return id_key.removesuffix(_SHIFTED), id_key.endswith(_SHIFTED)


def _key_used(key: Key) -> str:
    if key.once:
        return (
            "identifiers are pseudonyms whose key was thrown away: they match no other manifest, and labels by "
            "patient, study or series can be joined in this scan only (--key FILE keeps a key)"
        )
    return f"identifiers are pseudonyms by the key with the fingerprint {key.fingerprint}"


def _several_issuers(rows: pa.Table) -> list[str]:
    pairs = rows.select(["patient_id", "issuer"]).filter(
        pc.and_(rows["patient_id"].is_valid(), rows["issuer"].is_valid())
    )
    plain = pa.table({name: pairs[name].cast(pa.string()) for name in pairs.column_names})
    issuers = plain.group_by("patient_id").aggregate([("issuer", "count_distinct")])["issuer_count_distinct"]
    several = int(pc.sum(pc.greater(issuers, 1)).as_py() or 0)
    return [f"{several} patient ids have more than one issuer and count as one person each"] if several else []


@lru_cache(maxsize=4096, typed=True)
def _kind(key: Key, kind: tuple[Any, ...]) -> tuple[str]:
    """Return one word for what planes of a stack have alike."""
    return (key.pseudonym("plane", repr(kind)),)


def _names_patient(row: Row) -> bool:
    """Return whether a path holds the patient's id, or a part of their name."""
    path = str(row.get("path") or "").casefold()
    number, words = _called(row.get("patient_id"), row.get("patient_name"))
    if len(number) >= _LEAST_WITHIN and number in path.translate(_SEPARATORS):
        return True
    near = [word for word in words if word in path]
    return bool(near) and not set(near).isdisjoint(_SPLIT.split(path))


@lru_cache(maxsize=4096)
def _called(patient: object, name: object) -> tuple[str, tuple[str, ...]]:
    """Return the patient's id without separators, and the words long enough to be looked for in a path."""
    number = "".join(_SPLIT.split(str(patient or "").casefold()))
    words = [number, *_SPLIT.split(str(name or "").casefold())]
    return number, tuple(word for word in words if len(word) >= _LEAST_LETTERS)
