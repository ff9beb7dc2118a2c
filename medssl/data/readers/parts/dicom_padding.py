"""Pixel padding: which stored values say that nothing was measured there (PS3.3 C.7.5.1.1.2).

A scanner fills what lies outside of its round field of view with a value of its own, -2000 in many CTs. The header
names it, or a range of them, in stored values, before any rescale.
"""

from pydicom import Dataset

from medssl.data.readers.parts.dicom_header import integer


def stored_padding(dataset: Dataset) -> tuple[int, int] | None:
    """Return the lowest and the highest stored value that is padding; None where the header names none.

    A value that was written with the other sign (unsigned 63536 for -2000, and the reverse) is turned round; one that
    no pixel can have says nothing.
    """
    ends = [integer(dataset.get(name)) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    bits = integer(dataset.get("BitsAllocated")) or 16
    used = min(integer(dataset.get("BitsStored")) or bits, bits)
    lowest = -(2 ** (used - 1)) if integer(dataset.get("PixelRepresentation")) else 0
    turned = [_within(end, lowest, 2**used, 2**bits) for end in ends if end is not None]
    known = [end for end in turned if end is not None]
    return (min(known), max(known)) if len(known) == len(turned) else None


def _within(value: int, lowest: int, count: int, period: int) -> int | None:
    """Return the number that stands for a value among `count` from `lowest` on, None where there is none."""
    inside = (value - lowest) % period + lowest if -(period // 2) <= value < period else value
    return inside if lowest <= inside < lowest + count else None
