"""Opening a DICOM header without its pixels, and the few questions that every part of the reader asks of it."""

import io
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError

from medssl.data.readers.parts.dicom_inflated import inflated, syntax_of
from medssl.data.readers.parts.said import said
from medssl.errors import DataError

PIXEL_TAGS = {(0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_HEAD_BYTES = 2048
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()


class Header(NamedTuple):
    """A header and where its pixels begin.

    Attributes:
        dataset: All elements before the pixels.
        pixels_at: Offset of the pixel data element; None where there is none, or where the file is deflated.
        bare: The file has no preamble and no file meta information.
        warnings: How many values pydicom found to break the standard.
        pixel_bytes: How many bytes follow the head of the pixel data element, and how many it says; None where nobody
            looked yet.
    """

    dataset: Dataset
    pixels_at: int | None
    bare: bool
    warnings: int
    pixel_bytes: tuple[int, int] | None = None


def looks_like_dicom(head: bytes) -> bool:
    """Return whether the first bytes are DICOM: the magic word, or a plausible first element without it.

    A bare file begins with an element of group 0002 or 0008. Its second half is a known VR, or a length that is even
    and short. Text never begins with a zero byte at the second place.
    """
    return head[128:132] == b"DICM" or is_bare(head)


def is_bare(head: bytes) -> bool:
    """Return whether the first bytes are a data set without preamble, in either byte order."""
    if len(head) < 16 or head[128:132] == b"DICM":
        return False
    explicit = head[4:6] in _VRS
    group, element = struct.unpack("<HH", head[:4])
    length = int.from_bytes(head[4:8], "little")
    if group in (2, 8):
        return element <= 0x0070 and (explicit or (length % 2 == 0 and length <= 128))
    group, element = struct.unpack(">HH", head[:4])
    return group in (2, 8) and element <= 0x0070 and explicit  # big endian is always explicit


def open_header(path: Path) -> Header:
    """Read the elements before the pixels; values longer than 64 KB are left in the file.

    Raises:
        DataError: The header cannot be parsed.
    """
    with path.open("rb") as handle, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        head = handle.read(_HEAD_BYTES)
        code, at = syntax_of(head)
        if code == uid.DeflatedExplicitVRLittleEndian:
            return Header(inflated(path, at).dataset, None, False, _different(caught))
        bare = is_bare(head)
        handle.seek(0)
        try:
            dataset = dcmread(handle, stop_before_pixels=True, force=bare, defer_size=65536)
            position = handle.tell()
            dataset.get("NumberOfFrames"), dataset.get("SOPClassUID")
        except (InvalidDicomError, EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError,
                struct.error, OSError, RecursionError) as error:  # fmt: skip
            raise DataError(f"The DICOM header cannot be parsed: {said(error)}", where=path) from error
        declare_syntax(dataset)
        return Header(dataset, _pixels_at(handle, dataset, position), bare, _different(caught))


def _different(caught: list[warnings.WarningMessage]) -> int:
    """Return how many complaints there are: one value is complained of whenever it is looked at."""
    return len({str(one.message) for one in caught})


def declare_syntax(dataset: Dataset) -> None:
    """Give a data set without file meta information the transfer syntax that it was read with."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit


def syntax(dataset: Dataset) -> uid.UID:
    """Return the transfer syntax."""
    return dataset.file_meta.TransferSyntaxUID


def sop_class(dataset: Dataset) -> uid.UID:
    """Return the SOP class, or an empty one where the file has none."""
    value = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    return uid.UID(str(value or ""))


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames, 1 where it is not said."""
    return max(integer(dataset.get("NumberOfFrames")) or 1, 1)


def group_item(dataset: Dataset, frame: int, name: str) -> Dataset | None:
    """Return the functional group of a frame: its own, else the shared one, else None.

    Args:
        dataset: An enhanced multi-frame object.
        frame: Number of the frame, from 0.
        name: Keyword of the group's sequence, such as "PixelMeasuresSequence".
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in ([frames[frame]] if frame < len(frames) else []) + list(shared[:1]):
        items = groups.get(name)
        if items:
            return items[0]
    return None


def integer(value: object) -> int | None:
    """Return a whole number, or None for what is none."""
    try:
        return int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return None


def word(value: object) -> str | None:
    """Return stripped text, or None for an empty or absent value; of several values the first."""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = next(iter(value), None)  # type: ignore[call-overload]
    text = " ".join(str(value).replace("\0", " ").split()) if value is not None else ""
    return text or None


def misplaced(dataset: Dataset) -> str | None:
    """Return why it is uncertain where values lie in their cells, or None; a code stream says it itself.

    The standard wants them at the lower end. Where a header says otherwise (ACR-NEMA did), readers differ.
    """
    stored, high = integer(dataset.get("BitsStored")), integer(dataset.get("HighBit"))
    if stored is None or high is None or high == stored - 1 or syntax(dataset).is_encapsulated:
        return None
    return f"HighBit is {high} for {stored} stored bits: where values lie in their cells is uncertain"


def named(code: uid.UID) -> str:
    """Return a transfer syntax by number and name; one that the standard does not know could name anything."""
    return f"transfer syntax {code} ({code.name})" if code.name != code else "a transfer syntax of no standard"


def _pixels_at(handle: io.BufferedReader, dataset: Dataset, position: int) -> int | None:
    if syntax(dataset) == uid.DeflatedExplicitVRLittleEndian:
        return None
    handle.seek(position)
    tag = handle.read(4)
    order = "<" if dataset.original_encoding[1] in (True, None) else ">"
    if len(tag) < 4 or struct.unpack(order + "HH", tag) not in PIXEL_TAGS:
        return None
    if dataset.original_encoding[0] is False and handle.read(2) not in _VRS:  # implicit, whatever its syntax says
        dataset.set_original_encoding(True, dataset.original_encoding[1])
    return position
