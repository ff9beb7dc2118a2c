"""Images for the page: arrays to PNG data URIs, in a scale of display that all pictures of a sample share."""

import base64
import io

import numpy as np
from PIL import Image

_RGB = 3


def window(image: np.ndarray) -> tuple[float, float]:
    """Return the display limits of an image: its 0.5th and 99.5th percentile.

    With minimum and maximum, a few bright pixels would darken all others.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def flat(image: np.ndarray) -> np.ndarray:
    """Return a 2D picture of an image, (C, *spatial) -> (C, H, W); a volume is shown by its middle slice."""
    while image.ndim > 3:
        image = image[:, image.shape[1] // 2]
    return image


def levels(picture: np.ndarray, low: float, high: float, *, colour: bool) -> np.ndarray:
    """Return a picture as it is drawn, (C, H, W) -> (H, W) or, in colour, (H, W, 3) uint8; NaN becomes black.

    Args:
        picture: (C, H, W).
        low: The value shown black.
        high: The value shown white.
        colour: Show the first three channels as red, green and blue, instead of the first one as grey.
    """
    scaled = (np.nan_to_num(picture.astype(np.float64)) - low) / (high - low)
    shown = np.clip(scaled * 255, 0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(shown[:_RGB], 0, -1)) if colour else shown[0]


def png(image: np.ndarray, low: float, high: float) -> str:
    """Return a PNG data URI of a picture.

    Args:
        image: (C, *spatial); three channels are colour, otherwise the first is shown. NaN becomes transparent.
        low: The value shown black.
        high: The value shown white.
    """
    picture = flat(image)
    missing = ~np.isfinite(picture).all(axis=0)
    result = Image.fromarray(levels(picture, low, high, colour=len(picture) == _RGB))
    if missing.any():
        result.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    data = io.BytesIO()
    result.save(data, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
