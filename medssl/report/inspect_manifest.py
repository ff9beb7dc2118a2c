"""What a manifest lists: counts of everything that decides what can be trained on, and some of its images."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl.data.manifest import Manifest
from medssl.data.masking import KINDS, Names
from medssl.data.readers import read_image
from medssl.data.scan import keep
from medssl.errors import DataError
from medssl.report.inspected import Fact, Inspected, drawn, is_colour, listed
from medssl.report.pictures import flat
from medssl.report.sheet import Cell
from medssl.report.words import plural

_MOST_IMAGES = 24
_COUNTED = ("modality", "format", "site", "split", "bits", "channels")
_SPACINGS = ("slice_spacing_mm", "row_spacing_mm", "column_spacing_mm")
_AXES = ("slices", "rows", "columns")
Progress = Callable[[str, dict[str, Any]], None]


def inspect(
    path: Path,
    *,
    ids: bool,
    sheet: bool,
    seed: int = 0,
    where: str | None = None,
    progress: Progress | None = None,
) -> Inspected:
    """Return the facts of a manifest and, for a sheet, up to 24 of its images drawn evenly over its rows.

    Raises:
        DataError: It is no manifest, or none of the images drawn can be read.
    """
    manifest = keep(Manifest.load(path), where)
    names = Names(shown=ids, table=manifest.table)
    facts = [("manifest", str(path) if ids else names.of("path", path.name)), *_facts(manifest, names)]
    if not sheet:
        return Inspected(facts)
    places = places_drawn(manifest.table, seed)
    cells = []
    for done, place in enumerate(places, start=1):
        cells.append(_cell(manifest, place))
        if progress:
            progress("read", {"done": done, "total": len(places)})
    if all(cell.picture is None for cell in cells):
        fix = "Put the files back, or scan their folder again"
        raise DataError(f"None of the {len(cells)} images drawn from the manifest can be read", where=path, fix=fix)
    return Inspected([*facts, *listed("on the sheet", _whose(manifest, places, names), _MOST_IMAGES)], cells)


def places_drawn(table: pd.DataFrame, seed: int) -> list[int]:
    """Return up to 24 rows with an image: they are cut into as many equal stretches, and one is drawn of each."""
    usable = np.flatnonzero((table["status"] == "ok").to_numpy(dtype=bool))
    random = np.random.default_rng(seed)
    return [
        int(random.choice(part)) for part in np.array_split(usable, min(_MOST_IMAGES, len(usable) or 1)) if len(part)
    ]


def _facts(manifest: Manifest, names: Names) -> list[Fact]:
    table, usable = manifest.table, manifest.usable().table
    others = table[table["status"] != "ok"]
    reasons = Counter(f"{state}: {names.text(str(why))}" for state, why in zip(others["status"], others["reason"]))
    remarks = Counter(names.text(said) for cell in usable["remarks"].dropna() for said in cell.split("; "))
    facts = [("rows", str(len(table))), ("status", _counts(table["status"]))]
    facts += _often("reason", reasons)
    facts += [("images", _kinds(usable))]
    facts += [(name, names.text(_counts(usable[name]))) for name in _COUNTED]
    facts += _people(usable, names)
    facts += [("size", _ranges(usable, _AXES)), ("spacing, mm", _ranges(usable, _SPACINGS))]
    facts += [("labels", ", ".join(manifest.label_names) or "none")]
    facts += _often("remarks", remarks)
    return facts + listed("of the set", [names.text(said) for said in manifest.remarks])


def _counts(values: pd.Series) -> str:
    counted = values.astype(object).where(values.notna(), "unknown").value_counts()
    most = [f"{value}: {number}" for value, number in counted.head(10).items()]
    more = [f"and {len(counted) - 10} others"] if len(counted) > 10 else []
    return ", ".join([*most, *more]) or "none"


def _often(name: str, counts: Counter[str]) -> list[Fact]:
    return listed(name, (f"{number} x {said}" for said, number in counts.most_common()))


def _kinds(usable: pd.DataFrame) -> str:
    counted = usable["ndim"].value_counts()
    return ", ".join(f"{number} {'planes' if ndim == 2 else 'volumes'}" for ndim, number in counted.items()) or "none"


def _people(usable: pd.DataFrame, names: Names) -> list[Fact]:
    """Return how many patients, studies, series and instances there are, and those of most images."""
    patients = usable["patient_id"].value_counts()
    unknown = int(usable["patient_id"].isna().sum())
    without = f", {plural(unknown, 'image')} without one" if unknown else ""
    facts = [
        ("patients", f"{len(usable[['site', 'patient_id']].dropna(subset='patient_id').drop_duplicates())}{without}")
    ]
    facts += listed("", (f"{names.of('patient_id', who)}: {plural(n, 'image')}" for who, n in patients.items()))
    rest = [(name.removesuffix("_id"), usable[name].nunique()) for name in ("study_id", "series_id", "instance_id")]
    return [*facts, ("DICOM", ", ".join(f"{kind} ids {number}" for kind, number in rest))]


def _ranges(usable: pd.DataFrame, columns: tuple[str, ...]) -> str:
    told = []
    for column in columns:
        known = usable[column].dropna()
        if len(known):
            low, high = (f"{float(value):.4g}" for value in (known.min(), known.max()))
            unknown = len(usable) - len(known)
            span = low if low == high else f"{low} to {high}"
            told.append(f"{column.removesuffix('_spacing_mm')} {span}" + (f" (none in {unknown})" if unknown else ""))
    return ", ".join(told) or "unknown"


def _cell(manifest: Manifest, place: int) -> Cell:
    row = manifest.table.iloc[place]
    try:
        image = read_image(manifest, row)
    except (DataError, OSError):
        return Cell(f"row {place + 1}: not readable", None)
    return Cell(
        f"row {place + 1}", drawn([flat(image.unpadded().array)], colour=is_colour(image, row["photometric"]))[0]
    )


def _whose(manifest: Manifest, places: list[int], names: Names) -> list[str]:
    told = []
    for place in places:
        row = manifest.table.iloc[place]
        known = [names.of(column, row[column]) for column in KINDS if not pd.isna(row[column])]
        told.append(f"row {place + 1}: {' '.join(known)}")
    return told
