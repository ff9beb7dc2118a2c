"""Stored values of one frame: only the bytes of that frame are read and decoded.

pydicom's decoders interpret what comes out (signs, planes, YBR to RGB); the code streams are decoded by the plug-ins
named here, in that order, whatever else happens to be installed: what is read must not depend on it.
"""

import math
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from medssl.data.readers.parts.dicom_bytes import UNDEFINED
from medssl.data.readers.parts.dicom_header import frame_count, syntax
from medssl.data.readers.parts.dicom_source import Source, Value
from medssl.data.readers.parts.imagecodecs_plugin import decode_grey

_OWN_PRECISION = frozenset((*uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes))
_PLUGINS = ("imagecodecs", "pyjpegls", "pillow", "pydicom")


def stored(source: Source, frame: int) -> np.ndarray:
    """Return a frame, (rows, columns[, 3]), in its stored type; colour is RGB.

    Raises:
        Exception: Whatever decoders raise on foreign bytes.
    """
    code = syntax(source.dataset)
    with source.open() as handle:
        value = source.value(handle)
        if not code.is_encapsulated:
            return _native(handle, code, frame, value)
        stream = _stream(source, handle, frame) if value.length == UNDEFINED else None
        if stream is None:
            return _decoded(handle, value.start, code, frame, value.options)
    directly = _grey(stream, code, value.options)
    if directly is not None:
        return directly
    options = value.options | {"number_of_frames": 1}
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
    if unused > 0 and array.dtype.kind == "u":
        array &= np.iinfo(array.dtype).max >> unused
    elif unused > 0:
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
    swapped = bits == 8 and not code.is_little_endian and options.get("pixel_vr") == "OW"  # bytes pair by pair
    simple = bits in (8, 16, 32) and samples in (1, 3) and not options["photometric_interpretation"].startswith("YBR")
    if not simple or options["pixel_keyword"] != "PixelData" or swapped:
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
    offsets, items = source.fragments(handle)
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
