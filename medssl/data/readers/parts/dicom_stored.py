"""Stored values of one frame: the header is parsed once, and only the bytes of that frame are read and decoded.

pydicom's decoders interpret what comes out (unused bits, signs, planes, YBR to RGB); the code streams are decoded by
the plug-ins named here, in that order, whatever else happens to be installed: what is read must not depend on it.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import encapsulate
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import as_pixel_options, get_decoder

from medssl.data.readers.parts.dicom_bytes import UNDEFINED, value_length
from medssl.data.readers.parts.dicom_header import first_line, frame_count, open_header, syntax
from medssl.errors import DataError

MOST_INFLATED = 2**30  # bytes
_PLUGINS = ("imagecodecs", "pyjpegls", "pillow", "pydicom")
_KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


class Source(NamedTuple):
    """An object without its pixels, and where they are.

    Attributes:
        dataset: All elements before the pixels.
        pixels_at: Offset of the pixel data element in the file, or in its inflated content.
        inflated: The data set of a deflated file, unpacked; None where the file is not deflated.
    """

    dataset: Dataset
    pixels_at: int | None
    inflated: bytes | None

    def open(self, path: Path) -> BinaryIO:
        """Return a handle that `pixels_at` counts in."""
        return path.open("rb") if self.inflated is None else BytesIO(self.inflated)


def open_source(path: Path) -> Source:
    """Read the elements before the pixels.

    Raises:
        DataError: The header cannot be parsed, or a deflated file unpacks to more than `MOST_INFLATED`.
    """
    with path.open("rb") as handle:
        head = handle.read(1024)
    if uid.DeflatedExplicitVRLittleEndian.encode() in head and head[128:132] == b"DICM":
        return _inflated(path)
    header = open_header(path)
    return Source(header.dataset, header.pixels_at, None)


def stored(path: Path, source: Source, frame: int) -> np.ndarray:
    """Return a frame, (rows, columns[, 3]), in its stored type; colour is RGB.

    Raises:
        Exception: Whatever decoders raise on foreign bytes.
    """
    code = syntax(source.dataset)
    decoder = get_decoder(code)
    with source.open(path) as handle:
        length, options = _at_value(handle, source)
        if not code.is_encapsulated:
            return _native(handle, code, frame, options, length)
        start = handle.tell()
        stream = _stream(path, source, handle, frame) if length == UNDEFINED else None
        if stream is not None:
            options = options | {"number_of_frames": 1}
            options.pop("extended_offsets", None)
        errors = []
        for name in (plugin for plugin in _PLUGINS if plugin in decoder.available_plugins):
            handle.seek(start)
            among = (handle, frame) if stream is None else (BytesIO(stream), 0)
            try:
                return decoder.as_array(among[0], index=among[1], decoding_plugin=name, **options)[0]
            except Exception as error:  # decoders raise anything on foreign bytes
                errors.append(error)
    raise errors[0] if errors else ValueError(f"no decoder is installed for transfer syntax {code}")


def _native(handle: BinaryIO, code: uid.UID, frame: int, options: dict[str, Any], length: int) -> np.ndarray:
    """Return a frame that is stored as it is; what is more than bytes in a row is left to pydicom."""
    code = uid.ExplicitVRLittleEndian if code == uid.DeflatedExplicitVRLittleEndian else code  # once it is unpacked
    samples, bits = options["samples_per_pixel"], options["bits_allocated"]
    simple = bits in (8, 16, 32) and samples in (1, 3) and not options["photometric_interpretation"].startswith("YBR")
    if not simple or options["pixel_keyword"] != "PixelData" or (bits == 8 and not code.is_little_endian):
        options["transfer_syntax_uid"] = code
        return get_decoder(code).as_array(handle, index=frame, **options)[0]
    order = "<" if code.is_little_endian else ">"
    kind = np.dtype(f"{order}{'i' if options['pixel_representation'] else 'u'}{bits // 8}")
    shape = (options["rows"], options["columns"], samples)
    size = math.prod(shape) * kind.itemsize
    if (frame + 1) * size > length:
        raise ValueError(f"the pixel data has {length} bytes, too few for {frame + 1} frames of {size}")
    handle.seek(frame * size, 1)
    values = bytearray(size)
    if handle.readinto(values) != size:  # type: ignore[attr-defined]
        raise ValueError(f"the file ends within frame {frame}")
    array = np.frombuffer(values, kind).astype(kind.newbyteorder("="), copy=False)
    unused = bits - options["bits_stored"]
    if unused > 0:
        array <<= unused
        array >>= unused
    if samples == 3 and options["planar_configuration"]:
        return array.reshape(samples, *shape[:2]).transpose(1, 2, 0)
    return array.reshape(shape if samples == 3 else shape[:2])


def _at_value(handle: BinaryIO, source: Source) -> tuple[int, dict[str, Any]]:
    """Place a handle at the value of the pixel data; return its length and what the header says of its layout."""
    if source.pixels_at is None:
        raise ValueError("there is no pixel data")
    handle.seek(source.pixels_at)
    head = handle.read(6)
    implicit, little = source.dataset.original_encoding
    handle.seek(source.pixels_at)
    length = value_length(handle, source.dataset)
    if length is None:
        raise ValueError("the file ends within the pixel data element")
    options = as_pixel_options(source.dataset)
    options["pixel_keyword"] = _KEYWORDS[struct.unpack("<H" if little is not False else ">H", head[2:4])[0]]
    if not implicit:
        options["pixel_vr"] = head[4:6].decode("latin-1")
    return length, options


def _stream(path: Path, source: Source, handle: BinaryIO, frame: int) -> bytes | None:
    """Return the encapsulated code stream of a frame, or None where it takes more than counting to find it."""
    offsets, items = _fragments(str(path), path.stat().st_mtime_ns, handle.tell())
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
    return encapsulate([b"".join(parts)], has_bot=False)


@lru_cache(maxsize=4)
def _fragments(path: str, _stamp: int, start: int) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Return the basic offset table, and (place, length) of every fragment of encapsulated pixel data."""
    with Path(path).open("rb") as handle:
        handle.seek(start)
        items = tuple(_items(handle))
        if not items:
            return (), ()
        at, length = items[0]
        handle.seek(at)
        table = handle.read(length)
    return struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]), items[1:]


def _items(handle: BinaryIO) -> Iterator[tuple[int, int]]:
    while True:
        head = handle.read(8)
        if len(head) < 8 or head[:4] != _ITEM:
            if head[:4] == _END or not head:
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
    return Source(dataset, at if content[at : at + 2] == b"\xe0\x7f" else None, content)
