"""A DICOM object without its pixels, and where they are: what frames are read from, one after the other.

The header is parsed once. A file that begins as the standard says is opened in a third of pydicom's time, because its
file meta information is not parsed; anything odd is opened the usual way. A deflated file is unpacked once.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydicom import Dataset, uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.pixels import as_pixel_options
from pydicom.tag import Tag

from medssl.data.readers.parts.dicom_bytes import value_length
from medssl.data.readers.parts.dicom_header import open_header
from medssl.data.readers.parts.dicom_inflated import inflated, syntax_of

_KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
_NUMBERS = {
    "samples_per_pixel": Tag(0x00280002),
    "rows": Tag(0x00280010),
    "columns": Tag(0x00280011),
    "bits_allocated": Tag(0x00280100),
    "bits_stored": Tag(0x00280101),
    "pixel_representation": Tag(0x00280103),
}
_PHOTOMETRIC = Tag(0x00280004)
_NOT_PLAIN = (Tag(0x00280008), Tag(0x7FE00001))  # a number of frames, a table of offsets
_HEAD_BYTES = 2048
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def _meta_of(code: uid.UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = code
    return meta


_META = {code: _meta_of(code) for code in uid.AllTransferSyntaxes if code.is_little_endian and not code.is_deflated}
_PLAIN = frozenset(_META)


class Value(NamedTuple):
    """The value of the pixel data: where it begins, its bytes, and what pydicom's decoders ask of the header."""

    start: int
    length: int
    options: dict[str, Any]


class Fragments(NamedTuple):
    """The basic offset table, and (place, length) of every fragment behind it."""

    offsets: tuple[int, ...]
    items: tuple[tuple[int, int], ...]


@dataclass
class Source:
    """An object without its pixels, and where they are.

    Attributes:
        path: The file.
        dataset: All elements before the pixels.
        pixels_at: Offset of the pixel data element in the file, or in its inflated content.
        inflated: The data set of a deflated file, unpacked; None where the file is not deflated.
    """

    path: Path
    dataset: Dataset
    pixels_at: int | None
    inflated: bytes | None = None
    _value: Value | None = None
    _fragments: Fragments | None = None

    def open(self) -> BinaryIO:
        """Return a handle that `pixels_at` counts in."""
        return self.path.open("rb") if self.inflated is None else BytesIO(self.inflated)

    def value(self, handle: BinaryIO) -> Value:
        """Return the pixel data element, looked for once."""
        if self._value is None:
            self._value = _value_of(self, handle)
        return self._value

    def fragments(self, handle: BinaryIO) -> Fragments:
        """Return the fragments of encapsulated pixel data, looked for once."""
        if self._fragments is None:
            handle.seek(self.value(handle).start)
            (at, length), *items = list(_items(handle)) or [(0, 0)]
            handle.seek(at)
            table = handle.read(length)
            offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
            self._fragments = Fragments(offsets, tuple(items))
        return self._fragments


def _value_of(source: Source, handle: BinaryIO) -> Value:
    if source.pixels_at is None:
        raise ValueError("there is no pixel data")
    implicit, little = source.dataset.original_encoding
    handle.seek(source.pixels_at)
    head = handle.read(6)
    handle.seek(source.pixels_at)
    length = value_length(handle, source.dataset)
    if length is None:
        raise ValueError("the file ends within the pixel data element")
    options = _plain_options(source.dataset) or as_pixel_options(source.dataset)
    options["pixel_keyword"] = _KEYWORDS[struct.unpack("<H" if little is not False else ">H", head[2:4])[0]]
    if not implicit:
        options["pixel_vr"] = head[4:6].decode("latin-1")
    return Value(handle.tell(), length, options)


def open_source(path: Path) -> Source:
    """Read the elements before the pixels.

    Raises:
        DataError: The header cannot be parsed, or a deflated file unpacks to too much.
    """
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
        code, at = syntax_of(head)
        if code in _PLAIN:
            handle.seek(at)
            quick = _quick(path, handle, code)
            if quick is not None:
                return quick
    if code == uid.DeflatedExplicitVRLittleEndian:
        found = inflated(path, at)
        return Source(path, found.dataset, found.pixels_at, found.content)
    header = open_header(path)
    return Source(path, header.dataset, header.pixels_at)


def _quick(path: Path, handle: BinaryIO, code: uid.UID) -> Source | None:
    """Return an object whose file meta information needs no parsing, or None where anything is odd."""
    try:
        dataset = read_dataset(handle, code.is_implicit_VR, True, stop_when=_at_pixels)
        at = handle.tell()
        if "SOPClassUID" not in dataset or handle.read(2) != b"\xe0\x7f":
            return None
    except Exception:  # pydicom raises anything on foreign bytes; the slow way says what is wrong
        return None
    dataset.file_meta = _META[code]
    return Source(path, dataset, at)


def _at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return int.__ge__(tag, 0x7FE00008)  # pydicom's own comparison of tags takes ten times as long


def _plain_options(dataset: Dataset) -> dict[str, Any] | None:
    """Return what `as_pixel_options` gives for a grey single frame, a tenth of its time, or None for anything else."""
    if not dataset.original_encoding[1] or any(tag in dataset for tag in _NOT_PLAIN):
        return None
    raw = {name: dataset.get_item(tag) if tag in dataset else None for name, tag in _NUMBERS.items()}
    if any(not isinstance(item, RawDataElement) or len(item.value or b"") != 2 for item in raw.values()):
        return None
    options: dict[str, Any] = {name: int.from_bytes(item.value, "little") for name, item in raw.items() if item}
    photometric = dataset.get_item(_PHOTOMETRIC) if _PHOTOMETRIC in dataset else None
    if options["samples_per_pixel"] != 1 or not isinstance(photometric, RawDataElement):
        return None
    options["photometric_interpretation"] = (photometric.value or b"").decode("latin-1").strip(" \0")
    return options | {"number_of_frames": 1}


def _items(handle: BinaryIO) -> Iterator[tuple[int, int]]:
    while True:
        head = handle.read(8)
        if len(head) < 8 or head[:4] != _ITEM:
            if head[:4] == _END or len(head) < 8:  # the end itself may have been lost
                return
            raise ValueError(f"expected an item of encapsulated pixel data, but found {head[:4].hex()}")
        length = struct.unpack("<I", head[4:])[0]
        yield handle.tell(), length
        handle.seek(length, 1)
