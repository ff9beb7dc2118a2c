"""A decoder for pydicom on imagecodecs: RLE, every kind of JPEG, JPEG-LS, JPEG 2000 and high-throughput JPEG 2000.

It returns stored values and leaves colour alone, as pydicom's `raw` contract wants.
"""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder

_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)


def is_available(syntax: str) -> bool:
    """Return whether a transfer syntax is among ours."""
    return syntax in DECODER_DEPENDENCIES


def register() -> None:
    """Add the decoder to pydicom; doing it again changes nothing."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if "imagecodecs" not in decoder.available_plugins:
            decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))


def decode_frame(source: bytes, runner: Any) -> bytearray | memoryview:
    """Return the stored values of one frame.

    Args:
        source: The code stream of the frame.
        runner: pydicom's `DecodeRunner`, told the width of the values that come out.
    """
    if runner.transfer_syntax == uid.RLELossless:
        return _run_lengths(source, runner)
    syntax = runner.transfer_syntax
    array = _jpeg(source, runner) if syntax in _JPEG else _GREY[syntax](source)
    runner.set_option("bits_allocated", 8 * array.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def decode_grey(source: bytes, syntax: str, shape: tuple[int, int], bits: int) -> np.ndarray | None:
    """Return a frame of one sample a pixel without pydicom, or None where we have no decoder.

    Args:
        source: The code stream of the frame.
        syntax: Its transfer syntax.
        shape: Rows and columns that the header gives, believed for RLE alone.
        bits: Allocated to a sample.
    """
    if syntax == uid.RLELossless:
        values = np.zeros(shape, f"u{bits // 8}")
        imagecodecs.dicomrle_decode(source, values.dtype, out=values.reshape(-1).view(np.uint8).data)
        return values
    decode = _GREY.get(syntax)
    return decode(source) if decode else None


def _run_lengths(source: bytes, runner: Any) -> bytearray:
    """Return a frame, one plane a sample, into room of the size that the header gives: more is an error."""
    values = bytearray(runner.frame_length(unit="bytes"))
    imagecodecs.dicomrle_decode(source, np.dtype(f"u{runner.bits_allocated // 8}"), out=values)
    runner.set_option("planar_configuration", 1)
    return values


def _jpeg(source: bytes, runner: Any) -> np.ndarray:
    if runner.samples_per_pixel == 1:
        return imagecodecs.jpeg8_decode(source)
    space = "RGB" if runner.photometric_interpretation == "RGB" else "YCBCR"
    return imagecodecs.jpeg8_decode(source, colorspace=space, outcolorspace=space)


_GREY: dict[str, Callable[[bytes], np.ndarray]] = {
    **dict.fromkeys(_JPEG, imagecodecs.jpeg8_decode),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), imagecodecs.jpegls_decode),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2K), imagecodecs.jpeg2k_decode),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL), imagecodecs.htj2k_decode),
}
DECODER_DEPENDENCIES = dict.fromkeys((uid.RLELossless, *_GREY), ("numpy", "imagecodecs"))
