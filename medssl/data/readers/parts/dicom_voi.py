"""The VOI LUT of a DICOM image: how its file says that it is to be shown, a window or a table (PS3.3 C.11.2)."""

import math
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_voi_lut

from medssl.data.readers.parts.dicom_header import group_item, word

_TABLE_BITS = (8, *range(10, 17))  # PS3.3 C.8.11.3.1.5
_PERIOD = 65536
_BITS = 16


class Voi(NamedTuple):
    """How values become shares of full brightness; the first alternative where a file has several.

    Attributes:
        window: Centre and width in the units of the values.
        function: LINEAR, LINEAR_EXACT or SIGMOID, of a window.
        table: Value of its first entry, bits of an entry, entries; it comes before a window.
        turned: Values were inverted to `turned - value` (MONOCHROME1) after they were read; None where not.
    """

    window: tuple[float, float] | None
    function: str = "LINEAR"
    table: tuple[int, int, tuple[int, ...]] | None = None
    turned: float | None = None

    def shares(self, array: np.ndarray) -> np.ndarray:
        """Return values as shares of full brightness, float32 in 0 to 1, of the same shape.

        Raises:
            ValueError: The window has no width, its function is unknown, or the table is broken.
        """
        values = array if self.turned is None else self.turned - array.astype(np.float64)
        if self.table:
            first, _, entries = self.table
            values = (
                np.rint(values).astype(np.int64).clip(first - 1, first + len(entries) - 1)
            )  # pydicom's 16 bits wrap
        shown = apply_voi_lut(values, self._dataset()).astype(np.float32) / np.float32(self._full)
        return np.asarray((1 - shown if self.turned is not None else shown).clip(0, 1), dtype=np.float32)

    @property
    def _full(self) -> int:
        return 2 ** (self.table[1] if self.table else _BITS) - 1

    def _dataset(self) -> Dataset:
        dataset = Dataset()
        dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", _BITS, 0
        if self.table:
            first, bits, entries = self.table
            item = Dataset()
            item.add_new("LUTDescriptor", "SS", [len(entries), first, bits])
            item.add_new("LUTData", "US", list(entries))
            dataset.VOILUTSequence = [item]
        elif self.window:
            dataset.WindowCenter, dataset.WindowWidth = self.window
            dataset.VOILUTFunction = self.function
        return dataset


def voi_of(dataset: Dataset, frame: int, span: tuple[float, float], *, inverted: bool) -> Voi | None:
    """Return the first VOI LUT of a frame, None where there is none that can be understood.

    Args:
        dataset: The header.
        frame: Number of the frame, from 0.
        span: Real values of the lowest and the highest stored value.
        inverted: Whether values were turned round within that span (MONOCHROME1).
    """
    group = group_item(dataset, frame, "FrameVOILUTSequence")
    source = dataset if group is None else group
    turned = sum(span) if inverted else None
    table = _table(source, span)
    if table:
        return Voi(None, table=table, turned=turned)
    ends = [_first_number(source.get(name)) for name in ("WindowCenter", "WindowWidth")]
    if ends[0] is None or ends[1] is None:
        return None
    return Voi((ends[0], ends[1]), word(source.get("VOILUTFunction")) or "LINEAR", None, turned)


def _table(source: Dataset, span: tuple[float, float]) -> tuple[int, int, tuple[int, ...]] | None:
    items = source.get("VOILUTSequence")
    descriptor, data = (items[0].get(name) if items else None for name in ("LUTDescriptor", "LUTData"))
    if descriptor is None or data is None or len(descriptor) != 3:
        return None
    count, first, bits = (int(n) for n in descriptor)
    first = first - _PERIOD if first > max(span) and first - _PERIOD >= min(span) else first  # signed, written unsigned
    little = source.original_encoding[1] is not False
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2") if isinstance(data, bytes) else data
    entries = tuple(int(n) for n in np.atleast_1d(words))[: count % _PERIOD or _PERIOD]
    return (first, bits, entries) if bits in _TABLE_BITS and entries else None


def _first_number(value: object) -> float | None:
    try:
        number = float(word(value) or "nan")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
