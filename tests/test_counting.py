import pytest

from medssl.counting import counted, counted_of


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(1, "image"), "1 image"),
        (counted(0, "image"), "0 images"),
        (counted(2, "series", "series"), "2 series"),
        (counted(1, "image has", "images have"), "1 image has"),
        (counted(1204, "image", written="{:,}".format), "1,204 images"),
        (counted_of(1, 3, "image", "has", "have"), "1 of 3 images has"),
        (counted_of(2, 3, "image", "has", "have"), "2 of 3 images have"),
        (counted_of(1, 1, "file", "is", "are"), "1 of 1 file is"),
    ],
)
def test_nouns_and_verbs_agree(said, expected):
    assert said == expected
