"""The VOI LUT of a DICOM image: how its file says that it is to be shown, a window or a table (PS3.3 C.11.2)."""

import math
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_voi_lut

from medssl.data.readers.parts.dicom_header import group_item, word

_TABLE_BITS = (8, *range(10, 17))  # PS3.3 C.8.11.3.1.5
_PERIOD = 65536
_BITS = 16
_NARROWEST = {"LINEAR": 1.0, "LINEAR_EXACT": math.ulp(0.0), "SIGMOID": math.ulp(0.0)}  # PS3.3 C.11.2.1.2.1 and .3


class Voi(NamedTuple):
    """How values become shares of full brightness; the first alternative that can be applied where a file has several.

    Attributes:
        window: Centre and width in the units of the values.
        function: LINEAR, LINEAR_EXACT or SIGMOID, of a window.
        table: Value of its first entry, bits of an entry, entries; it comes before a window.
        turned: Values were inverted to `turned - value` (MONOCHROME1) after they were read; None where not.
        remark: Why earlier alternatives were passed over, or all of them; None where the first can be applied.
    """

    window: tuple[float, float] | None
    function: str = "LINEAR"
    table: tuple[int, int, tuple[int, ...]] | None = None
    turned: float | None = None
    remark: str | None = None

    @property
    def usable(self) -> bool:
        """Whether there is a window or a table that can be applied."""
        return bool(self.table or self.window)

    def shares(self, array: np.ndarray) -> np.ndarray:
        """Return values as shares of full brightness, float32 in 0 to 1, of the same shape."""
        values = array if self.turned is None else self.turned - array.astype(np.float64)
        if self.table:
            first, _, entries = self.table
            values = (
                np.rint(values).astype(np.int64).clip(first - 1, first + len(entries) - 1)
            )  # pydicom's 16 bits wrap
        with np.errstate(over="ignore"):  # of a steep sigmoid: its 0 is exact
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
    """Return the first VOI LUT of a frame that can be applied: its tables come before its windows.

    None where the file names none; one without window and table, and with a remark, where none can be applied.

    Args:
        dataset: The header.
        frame: Number of the frame, from 0.
        span: Real values of the lowest and the highest stored value.
        inverted: Whether values were turned round within that span (MONOCHROME1).
    """
    group = group_item(dataset, frame, "FrameVOILUTSequence")
    source = dataset if group is None else group
    turned, faults = sum(span) if inverted else None, dict[str, None]()
    for found in (*_tables(source, span), *_windows(source)):
        if isinstance(found, Voi):
            passed = (
                f"a VOI LUT of the file cannot be applied ({', '.join(faults)}): its next one is" if faults else None
            )
            return found._replace(turned=turned, remark=passed)
        faults[found] = None
    return Voi(None, remark=f"no VOI LUT of the file can be applied ({', '.join(faults)})") if faults else None


def _tables(source: Dataset, span: tuple[float, float]) -> Iterator[Voi | str]:
    """Yield each table, or what is wrong with it."""
    for item in source.get("VOILUTSequence") or ():
        table = _table(item, span, little=source.original_encoding[1] is not False)
        yield "a broken table" if table is None else Voi(None, table=table)


def _windows(source: Dataset) -> Iterator[Voi | str]:
    """Yield each window, or what is wrong with it; nothing where there are no values."""
    function = (word(source.get("VOILUTFunction")) or "LINEAR").upper()
    pairs = zip_longest(*(_parts(source.get(name)) for name in ("WindowCenter", "WindowWidth")))
    for centre, width in ((_number(one), _number(other)) for one, other in pairs):
        if centre is None or width is None:
            yield "a window whose centre or width is missing or no number"
        elif function not in _NARROWEST:
            yield "a window of a function that nobody knows"
        elif width < _NARROWEST[function]:
            yield "a window without width"
        else:
            yield Voi((centre, width), function)


def _table(item: Dataset, span: tuple[float, float], *, little: bool) -> tuple[int, int, tuple[int, ...]] | None:
    descriptor, data = (item.get(name) for name in ("LUTDescriptor", "LUTData"))
    if descriptor is None or data is None or np.size(descriptor) != 3:
        return None
    count, first, bits = (int(n) for n in descriptor)
    first = first - _PERIOD if first > max(span) and first - _PERIOD >= min(span) else first  # signed, written unsigned
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2") if isinstance(data, bytes) else data
    entries = tuple(int(n) for n in np.atleast_1d(words).clip(0, 2**bits - 1))[: count % _PERIOD or _PERIOD]
    return (first, bits, entries) if bits in _TABLE_BITS and entries else None


def _parts(value: object) -> list[object]:
    """Return the values of an element; one that pydicom cannot make numbers of is their text."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return list(value.split("\\"))
    return list(value) if isinstance(value, Iterable) else [value]


def _number(value: object) -> float | None:
    try:
        number = float(word(value) or "nan")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
