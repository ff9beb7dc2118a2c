import base64
import io

import numpy as np
from PIL import Image

from medssl.report import pictures


def _decoded(uri):
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_grey_levels_follow_the_window():
    image = np.array([[[-1.0, 0.0], [1.0, 5.0]]])
    assert _decoded(pictures.png(image, -1, 1)).tolist() == [[0, 128], [255, 255]]


def test_missing_pixels_are_transparent():
    image = np.array([[[np.nan, 1.0]]])
    assert _decoded(pictures.png(image, 0, 1))[..., -1].tolist() == [[0, 255]]


def test_three_channels_are_colour_in_their_order():
    image = np.zeros((3, 1, 1))
    image[0] = 1
    assert _decoded(pictures.png(image, 0, 1)).tolist() == [[[255, 0, 0]]]


def test_a_volume_shows_its_middle_slice():
    volume = np.zeros((1, 5, 4, 4))
    volume[0, 2] = 1
    assert (_decoded(pictures.png(volume, 0, 1)) == 255).all()


def test_the_window_ignores_few_bright_and_missing_pixels():
    image = np.linspace(0, 1, 10_000)
    image[:10], image[10:20] = 1000.0, np.nan
    low, high = pictures.window(image)
    assert low < 0.02
    assert high < 1.1
    assert pictures.window(np.full(4, 3.0))[1] > 3.0
    assert pictures.window(np.full(4, np.nan)) == (0.0, 1.0)
