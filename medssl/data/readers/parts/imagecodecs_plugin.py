"""A decoder for pydicom (and so for highdicom) on imagecodecs: the JPEG kinds that Pillow cannot read.

Registered once for 12-bit and lossless JPEG, JPEG 2000 and high-throughput JPEG 2000; pydicom tries it after its own
plug-ins. It returns stored values and leaves colour alone, as pydicom's `raw` contract wants.
"""

from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder

_JPEG = (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_2000 = (
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
DECODER_DEPENDENCIES = dict.fromkeys((*_JPEG, *_JPEG_2000), ("numpy", "imagecodecs"))


def is_available(syntax: str) -> bool:
    """Return whether a transfer syntax is among ours."""
    return syntax in DECODER_DEPENDENCIES


def register() -> None:
    """Add the decoder to pydicom; doing it again changes nothing."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if "imagecodecs" not in decoder.available_plugins:
            decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Return the stored values of one frame.

    Args:
        source: The code stream of the frame.
        runner: pydicom's `DecodeRunner`, told the width of the values that come out.
    """
    jpeg = runner.transfer_syntax in _JPEG
    array = _decode_jpeg(source, runner) if jpeg else imagecodecs.jpeg2k_decode(source)
    runner.set_option("bits_allocated", 8 * array.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return np.ascontiguousarray(array).tobytes()


def _decode_jpeg(source: bytes, runner: Any) -> np.ndarray:
    if runner.samples_per_pixel == 1:
        return imagecodecs.jpeg8_decode(source)
    space = "RGB" if runner.photometric_interpretation == "RGB" else "YCBCR"
    return imagecodecs.jpeg8_decode(source, colorspace=space, outcolorspace=space)
