"""What a manifest holds, in a few lines that a person reads before training on it."""

from collections import Counter

import pandas as pd

from medssl.counting import counted
from medssl.data.labels import fold
from medssl.data.manifest import Manifest

_MOST_WORDS = 8
_MOST_REASONS = 10


def summary(manifest: Manifest) -> list[str]:
    """Return lines with counts by status, patients, sizes, labels, reasons and remarks."""
    table, usable = manifest.table, manifest.usable().table
    status = table["status"].value_counts()
    counted = ", ".join(f"{status.get(name, 0)} {name}" for name in ("ok", "unreadable", "skipped"))
    return [
        f"{len(usable)} images in {_files(usable)} files ({counted})",
        *_who(usable),
        *_what(usable),
        *_labels(usable, manifest.label_names),
        *_counted("not read:", _reasons(table)),
        *_counted("remarks:", _remarks(usable)),
        *(f"  {printable(remark)}" for remark in manifest.remarks),
    ]


def _files(usable: pd.DataFrame) -> int:
    """Return how many files images are made of: those of rows, and the slices of volumes beyond the first."""
    slices = usable.loc[usable["planes"].notna(), "slices"]
    return int(usable["path"].nunique() + slices.sum() - len(slices))


def printable(text: str) -> str:
    """Return text from a file without control characters, which could redraw a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _who(usable: pd.DataFrame) -> list[str]:
    keys = usable[usable["patient_id"].notna()]
    patients = len(keys[["site", "patient_id"]].drop_duplicates())
    sites = usable["site"].nunique()
    devices = usable[["manufacturer", "model"]].dropna(how="all").drop_duplicates().shape[0]
    unknown = int(usable["patient_id"].isna().sum())
    parts = [counted(patients, "patient") + (f" ({counted(unknown, 'image')} without one)" if unknown else "")]
    parts += [counted(sites, "site") if sites else "site unknown"]
    parts += [counted(devices, "device") if devices else "device unknown"]
    return ["  " + ", ".join(parts)]


def _what(usable: pd.DataFrame) -> list[str]:
    lines = []
    for ndim, part in usable.groupby("ndim"):
        axes = ("rows", "columns") if ndim == 2 else ("slices", "rows", "columns")
        size = " x ".join(_span(part[axis]) for axis in axes)
        spacing = int(part["row_spacing_mm"].notna().sum())
        kinds = ", ".join(f"{printable(str(k))} {n}" for k, n in part["modality"].value_counts().items())
        known = f", spacing known of {spacing}"
        lines.append(f"  {ndim}D: {len(part)}, {' x '.join(axes)} {size}{known}" + (f", {kinds}" if kinds else ""))
    return lines


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low}-{high}"


def _labels(usable: pd.DataFrame, names: list[str]) -> list[str]:
    """Return the label columns that have few words, with their counts; the others by name."""
    few, rest = [], []
    for name in names:
        counts = usable[name].dropna().map(fold).value_counts()
        if 0 < len(counts) <= min(_MOST_WORDS, max(2, int(usable[name].notna().sum()) - 1)):
            words = usable[name].value_counts()
            missing = int(usable[name].isna().sum())
            shown = ", ".join(f"{printable(str(word))} {n}" for word, n in words.items())
            few.append(f"  column {printable(name)}: {shown}" + (f", empty {missing}" if missing else ""))
        elif len(counts):
            rest.append(f"{printable(name)} ({len(counts)} values)")
    return few + ([f"  also {', '.join(rest)}"] if rest else [])


def _reasons(table: pd.DataFrame) -> Counter[str]:
    others = table[table["status"] != "ok"]
    return Counter(f"{state}: {reason}" for state, reason in zip(others["status"], others["reason"]))


def _remarks(usable: pd.DataFrame) -> Counter[str]:
    return Counter(remark for cell in usable["remarks"].dropna() for remark in cell.split("; "))


def _counted(title: str, counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    lines = [f"  {number:>6}  {printable(text)}" for text, number in counts.most_common(_MOST_REASONS)]
    more = len(counts) - _MOST_REASONS
    return [title, *lines, *([f"          and {more} other kinds; see the manifest"] if more > 0 else [])]
