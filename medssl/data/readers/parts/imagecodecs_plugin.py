"""A decoder for pydicom on imagecodecs: RLE, every kind of JPEG, JPEG-LS, JPEG 2000 and high-throughput JPEG 2000.

It returns stored values and leaves colour alone, as pydicom's `raw` contract wants.
"""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder


def is_available(syntax: str) -> bool:
    """Return whether a transfer syntax is among ours."""
    return syntax in DECODER_DEPENDENCIES


def register() -> None:
    """Add the decoder to pydicom; doing it again changes nothing."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if "imagecodecs" not in decoder.available_plugins:
            decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))


def decode_frame(source: bytes, runner: Any) -> bytes | memoryview:
    """Return the stored values of one frame.

    Args:
        source: The code stream of the frame.
        runner: pydicom's `DecodeRunner`, told the width of the values that come out.
    """
    if runner.transfer_syntax == uid.RLELossless:
        return _run_lengths(source, runner)
    array = _DECODERS[runner.transfer_syntax](source, runner)
    runner.set_option("bits_allocated", 8 * array.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


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


def _jpeg_ls(source: bytes, _: Any) -> np.ndarray:
    return imagecodecs.jpegls_decode(source)


def _jpeg_2000(source: bytes, _: Any) -> np.ndarray:
    return imagecodecs.jpeg2k_decode(source)


def _high_throughput(source: bytes, _: Any) -> np.ndarray:
    return imagecodecs.htj2k_decode(source)


_DECODERS: dict[uid.UID, Callable[[bytes, Any], np.ndarray]] = {
    **dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), _jpeg),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), _jpeg_ls),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2K), _jpeg_2000),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL), _high_throughput),
}
DECODER_DEPENDENCIES = dict.fromkeys((uid.RLELossless, *_DECODERS), ("numpy", "imagecodecs"))
