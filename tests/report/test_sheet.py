"""Sheets: every pixel where it belongs, nothing beside pixels in the file, nothing written over unasked."""

import numpy as np
import pytest
from PIL import Image

from medssl.errors import SettingsError, StorageError
from medssl.report import sheet
from medssl.report.sheet import CAPTION, CELL, GAP, Cell


def cell(page: Image.Image, place: int, across: int) -> np.ndarray:
    """Cut a cell out of a page, counting from 0."""
    x = GAP + place % across * (CELL + GAP)
    y = GAP + place // across * (CELL + CAPTION + GAP) + CAPTION
    return np.asarray(page)[y : y + CELL, x : x + CELL]


@pytest.mark.parametrize(("cells", "across"), [(1, 1), (3, 3), (4, 4), (5, 5), (16, 4), (17, 6), (24, 6), (101, 6)])
def test_rows_are_filled_as_far_as_four_to_six_columns_can(cells: int, across: int) -> None:
    assert sheet.columns(cells) == across


def test_a_picture_of_the_cells_size_is_drawn_pixel_for_pixel() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (CELL, CELL, 3), dtype=np.uint8) for _ in range(7)]
    page = sheet.draw([Cell(f"view {k}", picture) for k, picture in enumerate(pictures)])
    assert page.size == (GAP + 4 * (CELL + GAP), GAP + 2 * (CELL + CAPTION + GAP))
    for place, picture in enumerate(pictures):
        np.testing.assert_array_equal(cell(page, place, 4), picture)


def test_a_small_picture_is_enlarged_a_whole_number_of_times() -> None:
    picture = np.array([[0, 50], [100, 150], [200, 250]], np.uint8)
    drawn = cell(sheet.draw([Cell("", picture)]), 0, 1)[..., 0]
    height, width = 3 * 74, 2 * 74
    top, left = (CELL - height) // 2, (CELL - width) // 2
    np.testing.assert_array_equal(drawn[top : top + height, left : left + width], np.kron(picture, np.ones((74, 74))))


def test_a_large_picture_keeps_its_aspect_and_its_mean() -> None:
    picture = np.indices((896, 448)).sum(0).astype(np.uint8) % 2 * 200
    drawn = cell(sheet.draw([Cell("", picture)]), 0, 1)[..., 0]
    assert (drawn[:, 56:168] == 100).all()


def test_an_image_that_could_not_be_read_is_an_empty_cell_with_its_caption() -> None:
    page = sheet.draw([Cell("row 3: not readable", None)])
    assert len(np.unique(cell(page, 0, 1))) == 1
    assert np.asarray(page)[GAP : GAP + CAPTION].min() < 128


def test_the_file_holds_pixels_and_nothing_else(tmp_path) -> None:
    sheet.write(tmp_path / "s.png", [Cell("view 1", np.zeros((4, 4), np.uint8))])
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.info == {}
    assert [path.name for path in tmp_path.iterdir()] == ["s.png"]


def test_places_where_a_sheet_must_not_go(tmp_path) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    (tmp_path / "folder.png").mkdir()
    for path, overwrite, inputs, error in [
        (tmp_path / "a.jpg", False, [], SettingsError),
        (tmp_path / "none" / "a.png", False, [], StorageError),
        (tmp_path / "folder.png", True, [], StorageError),
        (there, False, [], StorageError),
        (there, True, [there], SettingsError),
    ]:
        with pytest.raises(error):
            sheet.check_place(path, overwrite=overwrite, inputs=inputs)
    sheet.check_place(there, overwrite=True)
    assert there.read_bytes() == b"mine"
