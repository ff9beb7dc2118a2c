"""Does an image show text in its pixels, a name perhaps? What its header says of it.

`BurnedInAnnotation` is optional in most objects: an absent one is unknown and leaves nobody out (radiographs, CT and MR
hardly ever have it). A secondary capture is a picture of something, often of a screen with the patient's name in a
corner, so it is suspected unless its header says NO. DERIVED and SECONDARY in `ImageType` alone say nothing: a
reformatted MR volume is both. Ultrasound is often burned-in and seldom says so; the scan points at it as a whole, and
its preparation keeps the sector only.
"""

from pydicom import Dataset

from medssl.data.readers.parts.dicom_header import sop_class, word

_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture, and its multi-frame kinds below it
_CONVERSIONS = {"DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"}  # PS3.3 C.8.6.1, how a capture was made
_SCREENS = ("SCREEN", "CAPTURE")


def burned_in(dataset: Dataset) -> str | None:
    """Return "yes" or "no" as the header says, "screen" for a secondary capture or screenshot, None for unknown."""
    said = (word(dataset.get("BurnedInAnnotation")) or "").upper()
    if said in ("YES", "NO"):
        return said.lower()
    kind = str(sop_class(dataset))
    conversion = (word(dataset.get("ConversionType")) or "").upper()
    if kind == _CAPTURES or kind.startswith(f"{_CAPTURES}.") or conversion in _CONVERSIONS:
        return "screen"
    return "screen" if any(part in image_type(dataset) for part in _SCREENS) else None


def image_type(dataset: Dataset) -> str:
    """Return all values of `ImageType` in capitals."""
    values = dataset.get("ImageType") or ""
    return (values if isinstance(values, str) else "\\".join(map(str, values))).upper()
