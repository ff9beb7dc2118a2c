"""Days of patients: where a split by time draws its lines, and who stands on both sides of one.

A patient is placed by their last image. Placed by the first one, images from after the line would be trained on.
"""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from medssl.counting import counted_of
from medssl.data.columns import no_days
from medssl.data.manifest import Manifest
from medssl.data.splits import count_of_patients
from medssl.errors import DataError, SettingsError

_SHIFTED = re.compile(r"(dates?|days)\b.*\bshifted\b|\bshifted (dates?|days)\b", re.IGNORECASE)


def last_days(manifest: Manifest, table: pd.DataFrame, patients: np.ndarray) -> dict[str, str]:
    """Return the day of each patient's last image, YYYY-MM-DD.

    Raises:
        DataError: Days were shifted patient by patient, or an image has none.
    """
    shifted = next((remark for remark in manifest.remarks if _SHIFTED.search(remark)), None)
    if "id_key" in table.columns and table["id_key"].str.endswith("+dates").any():
        shifted = "they were shifted patient by patient (column id_key)"
    if shifted is not None:
        raise DataError(
            f"The dates do not tell who came first: {shifted}",
            where=manifest.name,
            fix="Split before dates are shifted, or by chance or site",
        )
    unknown = table["study_date"].isna().to_numpy(dtype=bool)
    if unknown.any():
        raise DataError(
            f"{counted_of(int(unknown.sum()), len(table), 'image', 'has', 'have')} no study_date, for example "
            f"{table.loc[unknown, 'path'].iloc[0]}",
            where=manifest.name,
            fix='Join a table with a column study_date, or leave them out with --where "study_date.notna()"',
        )
    last: dict[str, str] = pd.Series(table["study_date"].to_numpy(dtype=object)).groupby(patients).max().to_dict()  # type: ignore[assignment]
    return last


def first_days(
    last: Mapping[str, str], test: float, val: float, test_from: str | None, val_from: str | None
) -> dict[str, str]:
    """Return the first day of each part, later part first: as given, or where the share of patients is nearest.

    Patients of one day are never parted, so a share may be missed by as many as have their last image on that day.

    Raises:
        SettingsError: A day is none, or the validation part begins after the test part.
    """
    for name, day in (("--test-from", test_from), ("--val-from", val_from)):
        if day is not None and no_days(pd.Series([day], dtype=str)).any():
            raise SettingsError(f"Expected {name} as YYYY-MM-DD, but got '{day}'")
    days = {}
    if test_from or test:
        days["test"] = test_from or _nearest(last, test)
    if val_from or val:
        later = sum(day >= days["test"] for day in last.values()) if "test" in days else 0
        days["val"] = val_from or _nearest(last, val + later / len(last), before=days.get("test"))
    if "test" in days and days.get("val", "") >= days["test"]:
        raise SettingsError(f"The validation part begins on {days['val']}, not before the test part on {days['test']}")
    return days


def straddling(
    table: pd.DataFrame, patients: np.ndarray, parts: Mapping[str, str], days: Mapping[str, str]
) -> list[str]:
    """Return a remark for each part on patients whose earlier images stand in it, too."""
    told = []
    for part, day in days.items():
        early = (table["study_date"] < day).to_numpy(dtype=bool) & np.array([parts[p] == part for p in patients])
        if early.any():
            who = count_of_patients(len(set(patients[early])))
            told.append(
                f"{who} of the part '{part}' also have {early.sum()} images from before {day}: a "
                "patient goes by the last image, so these are in it too"
            )
    return told


def _nearest(last: Mapping[str, str], share: float, before: str | None = None) -> str:
    """Return the day, before another one, from which on the share of patients is nearest to the one asked for."""
    counts = pd.Series(last.values()).value_counts().sort_index(ascending=False)
    shares = counts.cumsum() / len(last)
    inside = shares[shares.index < before] if before else shares
    return str((inside if len(inside) else shares).sub(share).abs().idxmin())
