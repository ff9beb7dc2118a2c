"""Scanning again for a manifest that is there: the options that made it, and what people added to it."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medssl.data.columns import typed
from medssl.data.manifest import Manifest
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
    """

    labels: str | None = None
    site: str | None = None
    where: str | None = None
    image_is_patient: bool | None = None
    stack: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what is written down."""
        return asdict(self)

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
