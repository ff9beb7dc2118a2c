"""Stored values of one frame: the header is parsed once, and only the bytes of that frame are read and decoded.

pydicom's decoders interpret what comes out (unused bits, signs, planes, YBR to RGB); the code streams are decoded by
the plug-ins named here, in that order, whatever else happens to be installed: what is read must not depend on it.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import encapsulate
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.pixels import as_pixel_options, get_decoder
from pydicom.tag import Tag

from medssl.data.readers.parts.dicom_bytes import UNDEFINED, value_length
from medssl.data.readers.parts.dicom_header import first_line, frame_count, open_header, syntax
from medssl.data.readers.parts.imagecodecs_plugin import decode_grey
from medssl.errors import DataError

MOST_INFLATED = 2**30  # bytes
_OWN_PRECISION = frozenset((*uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes))
_PLUGINS = ("imagecodecs", "pyjpegls", "pillow", "pydicom")
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


_META = {
    code: _meta_of(code) for code in uid.AllTransferSyntaxes if code.is_little_endian and not code.is_deflated
}
_PLAIN = frozenset(_META)


class Value(NamedTuple):
    """The value of the pixel data: where it begins, its bytes, and what pydicom's decoders ask of the header."""

    start: int
    length: int
    options: dict[str, Any]


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

    def open(self) -> BinaryIO:
        """Return a handle that `pixels_at` counts in."""
        return self.path.open("rb") if self.inflated is None else BytesIO(self.inflated)

    @cached_property
    def value(self) -> Value:
        """The pixel data element."""
        if self.pixels_at is None:
            raise ValueError("there is no pixel data")
        implicit, little = self.dataset.original_encoding
        options = _plain_options(self.dataset) or as_pixel_options(self.dataset)
        with self.open() as handle:
            handle.seek(self.pixels_at)
            head = handle.read(6)
            handle.seek(self.pixels_at)
            length = value_length(handle, self.dataset)
            start = handle.tell()
        if length is None:
            raise ValueError("the file ends within the pixel data element")
        options["pixel_keyword"] = _KEYWORDS[struct.unpack("<H" if little is not False else ">H", head[2:4])[0]]
        if not implicit:
            options["pixel_vr"] = head[4:6].decode("latin-1")
        return Value(start, length, options)

    @cached_property
    def fragments(self) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """The basic offset table, and (place, length) of every fragment of encapsulated pixel data."""
        with self.open() as handle:
            handle.seek(self.value.start)
            items = tuple(_items(handle))
            if not items:
                return (), ()
            at, length = items[0]
            handle.seek(at)
            table = handle.read(length)
        return struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]), items[1:]


def open_source(path: Path) -> Source:
    """Read the elements before the pixels.

    Raises:
        DataError: The header cannot be parsed, or a deflated file unpacks to more than `MOST_INFLATED`.
    """
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
        code, at = _meta(head)
        if code in _PLAIN:
            handle.seek(at)
            quick = _quick(path, handle, code)
            if quick is not None:
                return quick
    if code == uid.DeflatedExplicitVRLittleEndian:
        return _inflated(path)
    header = open_header(path)
    return Source(path, header.dataset, header.pixels_at)


def _meta(head: bytes) -> tuple[uid.UID | None, int]:
    """Return the transfer syntax of a file that begins as the standard says, and where its data set begins."""
    if head[128:140] != b"DICM\2\0\0\0UL\4\0":
        return None, 0
    at = 144 + int.from_bytes(head[140:144], "little")
    found = head.find(b"\2\0\x10\0UI", 144, at)
    length = int.from_bytes(head[found + 6 : found + 8], "little")
    if found < 0 or at > len(head):
        return None, 0
    return uid.UID(head[found + 8 : found + 8 + length].rstrip(b"\0 ").decode("latin-1")), at


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
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _plain_options(dataset: Dataset) -> dict[str, Any] | None:
    """Return what `as_pixel_options` gives for a grey single frame, a tenth of its time, or None for anything else."""
    if not dataset.original_encoding[1] or any(tag in dataset for tag in _NOT_PLAIN):
        return None
    raw = {name: dataset.get_item(tag) if tag in dataset else None for name, tag in _NUMBERS.items()}
    if any(not isinstance(item, RawDataElement) or len(item.value or b"") != 2 for item in raw.values()):
        return None
    options: dict[str, Any] = {name: int.from_bytes(item.value, "little") for name, item in raw.items()}
    said = dataset.get_item(_PHOTOMETRIC) if _PHOTOMETRIC in dataset else None
    if options["samples_per_pixel"] != 1 or not isinstance(said, RawDataElement):
        return None
    options["photometric_interpretation"] = (said.value or b"").decode("latin-1").strip(" \0")
    return options | {"number_of_frames": 1}


def stored(source: Source, frame: int) -> np.ndarray:
    """Return a frame, (rows, columns[, 3]), in its stored type; colour is RGB.

    Raises:
        Exception: Whatever decoders raise on foreign bytes.
    """
    code = syntax(source.dataset)
    with source.open() as handle:
        if not code.is_encapsulated:
            return _native(handle, code, frame, source.value)
        stream = _stream(source, handle, frame) if source.value.length == UNDEFINED else None
        if stream is None:
            return _decoded(handle, source.value.start, code, frame, source.value.options)
    directly = _grey(stream, code, source.value.options)
    if directly is not None:
        return directly
    options = source.value.options | {"number_of_frames": 1}
    options.pop("extended_offsets", None)
    return _decoded(BytesIO(encapsulate([stream], has_bot=False)), 0, code, 0, options)


def _grey(stream: bytes, code: uid.UID, options: dict[str, Any]) -> np.ndarray | None:
    """Return an unsigned grey frame straight from its decoder; None for what pydicom should look at, trouble included.

    There is nothing to interpret but unused bits, which pydicom clears in all but JPEG-LS and JPEG 2000.
    """
    bits, shape = options["bits_allocated"], (options["rows"], options["columns"])
    if options["samples_per_pixel"] != 1 or options["pixel_representation"] or bits not in (8, 16):
        return None
    try:
        array = decode_grey(stream, code, shape, bits)
    except Exception:  # decoders raise anything on foreign bytes
        return None
    if array is None or array.shape != shape or array.dtype.kind != "u" or array.dtype.itemsize * 8 > bits:
        return None
    array = array.astype(f"u{bits // 8}", copy=False)
    return array if code in _OWN_PRECISION else _without_unused_bits(array, bits - options["bits_stored"])


def _without_unused_bits(array: np.ndarray, unused: int) -> np.ndarray:
    if unused > 0:
        array <<= unused
        array >>= unused
    return array


def _decoded(handle: BinaryIO, start: int, code: uid.UID, frame: int, options: dict[str, Any]) -> np.ndarray:
    """Return a frame of encapsulated pixel data by the first plug-in that can."""
    decoder, errors = get_decoder(code), []
    for name in (plugin for plugin in _PLUGINS if plugin in decoder.available_plugins):
        handle.seek(start)
        try:
            return decoder.as_array(handle, index=frame, decoding_plugin=name, **options)[0]
        except Exception as error:  # decoders raise anything on foreign bytes
            errors.append(error)
    raise errors[0] if errors else ValueError(f"no decoder is installed for transfer syntax {code}")


def _native(handle: BinaryIO, code: uid.UID, frame: int, value: Value) -> np.ndarray:
    """Return a frame that is stored as it is; what is more than bytes in a row is left to pydicom."""
    code = uid.ExplicitVRLittleEndian if code == uid.DeflatedExplicitVRLittleEndian else code  # once it is unpacked
    options, length = value.options, value.length
    samples, bits = options["samples_per_pixel"], options["bits_allocated"]
    simple = bits in (8, 16, 32) and samples in (1, 3) and not options["photometric_interpretation"].startswith("YBR")
    if not simple or options["pixel_keyword"] != "PixelData" or (bits == 8 and not code.is_little_endian):
        handle.seek(value.start)
        return get_decoder(code).as_array(handle, index=frame, **options)[0]
    order = "<" if code.is_little_endian else ">"
    kind = np.dtype(f"{order}{'i' if options['pixel_representation'] else 'u'}{bits // 8}")
    shape = (options["rows"], options["columns"], samples)
    size = math.prod(shape) * kind.itemsize
    if (frame + 1) * size > length:
        raise ValueError(f"the pixel data has {length} bytes, too few for {frame + 1} frames of {size}")
    handle.seek(value.start + frame * size)
    values = bytearray(size)
    if handle.readinto(values) != size:  # type: ignore[attr-defined]
        raise ValueError(f"the file ends within frame {frame}")
    array = np.frombuffer(values, kind).astype(kind.newbyteorder("="), copy=False)
    array = _without_unused_bits(array, bits - options["bits_stored"])
    if samples == 3 and options["planar_configuration"]:
        return array.reshape(samples, *shape[:2]).transpose(1, 2, 0)
    return array.reshape(shape if samples == 3 else shape[:2])


def _stream(source: Source, handle: BinaryIO, frame: int) -> bytes | None:
    """Return the code stream of a frame, or None where it takes more than counting to find it."""
    offsets, items = source.fragments
    frames = frame_count(source.dataset)
    if frames == 1:
        mine = items
    elif len(items) == frames and offsets in ((), tuple(at - items[0][0] for at, _ in items)):
        mine = items[frame : frame + 1]
    else:
        return None
    parts = []
    for at, length in mine:
        handle.seek(at)
        parts.append(handle.read(length))
    return b"".join(parts)


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


def _inflated(path: Path) -> Source:
    try:
        meta = read_file_meta_info(path)
        with path.open("rb") as handle:
            handle.seek(144 + meta.FileMetaInformationGroupLength)
            unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
            content = unpacking.decompress(handle.read(), MOST_INFLATED)
        if unpacking.unconsumed_tail:
            raise DataError(f"The deflated file unpacks to more than {MOST_INFLATED / 2**30:g} GiB", where=path)
        opened = BytesIO(content)
        dataset = dcmread(opened, force=True, stop_before_pixels=True, defer_size=None)
    except DataError:
        raise
    except Exception as error:  # pydicom raises anything on foreign bytes
        raise DataError(f"The deflated DICOM cannot be unpacked: {first_line(error)}", where=path) from error
    dataset.file_meta = meta
    at = opened.tell()
    return Source(path, dataset, at if content[at : at + 2] == b"\xe0\x7f" else None, content)
