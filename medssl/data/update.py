"""Scanning again for a manifest that is there: the options that made it, and what people added to it."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medssl.data.columns import typed
from medssl.data.keys import Key, is_lost, once
from medssl.data.manifest import Manifest
from medssl.data.privacy import Hiding
from medssl.data.record import header_of, record_of
from medssl.errors import DataError


@dataclass(frozen=True)
class Choices:
    """Options of a scan, None where nobody chose.

    Attributes:
        labels: A label table.
        site: Where the images were made.
        where: The condition that images must meet.
        image_is_patient: Whether every image without a patient is a patient of its own.
        stack: Whether slices become volumes.
        key: The file of the key that identifiers are replaced by.
        shift_dates: Whether dates are shifted.
        keep_institution: Whether the name of the institution is kept.
        burned_in: "skip" or "keep".
    """

    labels: str | None = None
    site: str | None = None
    where: str | None = None
    image_is_patient: bool | None = None
    stack: bool | None = None
    key: str | None = None
    shift_dates: bool | None = None
    keep_institution: bool | None = None
    burned_in: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what is written down."""
        return asdict(self)

    def hiding(self, key: Key | None) -> Hiding:
        """Return how rows are made safe by a key; without one by a random one that is thrown away."""
        burned_in = self.burned_in or "skip"
        return Hiding(key or once(), bool(self.shift_dates), bool(self.keep_institution), burned_in)  # type: ignore[arg-type]

    def or_as_before(self, output: Path) -> "Choices":
        """Return these options, each that nobody chose as it was when the manifest was made.

        Raises:
            DataError: The label table of that time is not there.
        """
        before = (header_of(record_of(output)) or {}).get("choices", {})
        filled = {name: value for name, value in before.items() if hasattr(self, name) and getattr(self, name) is None}
        chosen = replace(self, **filled)
        if chosen.labels is not None and chosen.labels != self.labels and not Path(chosen.labels).is_file():
            raise DataError(
                "The label table that was joined before is not there", where=chosen.labels, fix="Give --labels TABLE"
            )
        return chosen


def refuse_another_key(before: Manifest, hide: Hiding, where: Path) -> None:
    """Refuse to update a manifest whose ids were made otherwise: what people added to it would fit no row.

    Raises:
        DataError: They were.
    """
    marks = set(before.table["id_key"].dropna()) if "id_key" in before.table else set()
    if marks == {hide.mark}:
        return
    why = "a key that was thrown away" if any(map(is_lost, marks)) else "another key, or with other dates"
    raise DataError(
        f"The manifest cannot be brought up to date: its ids were made with {why}",
        where=where,
        fix="Give --key FILE as it was then, or scan anew with --key FILE --overwrite",
    )


def with_added(manifest: Manifest, before: Manifest) -> Manifest:
    """Return a manifest with what an earlier one of the same images had more: columns of labels, and their split.

    Args:
        manifest: The new one.
        before: The one that it will replace.
    """
    table = manifest.table.copy()
    old = before.table.set_index("sample_id").reindex(table["sample_id"]).reset_index(drop=True)
    for name in before.label_names:
        if name not in table.columns:
            table[name] = old[name]
    table["split"] = table["split"].where(table["split"].notna(), old["split"])
    return manifest.with_table(typed(table))
