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


def png(image: np.ndarray, low: float, high: float) -> str:
    """Return a PNG data URI of a picture.

    Args:
        image: (C, *spatial); three channels are colour, otherwise the first is shown. NaN becomes transparent.
        low: The value shown black.
        high: The value shown white.
    """
    picture = flat(image)
    missing = ~np.isfinite(picture).all(axis=0)
    scaled = (np.nan_to_num(picture.astype(np.float64)) - low) / (high - low)
    levels = np.clip(scaled * 255, 0, 255).round().astype(np.uint8)
    colour = np.moveaxis(levels, 0, -1) if len(levels) == _RGB else levels[0]
    result = Image.fromarray(colour)
    if missing.any():
        result.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    data = io.BytesIO()
    result.save(data, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
