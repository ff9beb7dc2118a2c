import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pil
from PIL import ImageOps

from medssl.data.readers import raster
from medssl.errors import DataError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_grey_pictures(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    Pil.fromarray(GREY).save(path)
    image = raster.read(path)
    np.testing.assert_array_equal(image.array, GREY[None])
    assert image.spacing_mm is None
    row = raster.describe(path)[0]
    assert (row["rows"], row["columns"], row["channels"], row["bits"]) == (3, 4, 1, 8)
    assert row["photometric"] == "MONOCHROME2"


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_stay(tmp_path, ending):
    deep = (GREY.astype(np.uint16) + 1) * 250
    path = tmp_path / f"x.{ending}"
    Pil.fromarray(deep).save(path)
    image = raster.read(path)
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array[0], deep)
    assert raster.describe(path)[0]["bits"] == 16


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_colour_stays(tmp_path, ending):
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    path = tmp_path / f"x.{ending}"
    encode = imagecodecs.png_encode if ending == "png" else imagecodecs.tiff_encode
    try:
        path.write_bytes(encode(deep))
    except NotImplementedError:
        pytest.skip("no encoder for this format")
    image = raster.read(path)
    np.testing.assert_array_equal(image.array, np.moveaxis(deep, -1, 0))


def test_grey_stored_as_colour_is_one_channel_and_said(tmp_path):
    Pil.fromarray(GREY).convert("RGB").save(tmp_path / "x.png")
    image = raster.read(tmp_path / "x.png")
    np.testing.assert_array_equal(image.array, GREY[None])
    assert image.remarks == ["grey stored as colour: read as one channel"]
    colour = np.stack([GREY, GREY, GREY + 1], axis=-1)
    Pil.fromarray(colour).save(tmp_path / "y.png")
    np.testing.assert_array_equal(raster.read(tmp_path / "y.png").array, np.moveaxis(colour, -1, 0))


def test_a_palette_is_colour(tmp_path):
    colour = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    picture = Pil.fromarray(colour).quantize(8)
    picture.save(tmp_path / "x.png")
    image = raster.read(tmp_path / "x.png")
    np.testing.assert_array_equal(image.array, np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0))
    assert raster.describe(tmp_path / "x.png")[0]["photometric"] == "PALETTE COLOR"
    assert "palette applied" in image.remarks


@pytest.mark.parametrize("mode", ["1", "LA", "RGBA", "CMYK"])
def test_other_kinds_of_pixels(tmp_path, mode):
    path = tmp_path / "x.tif"
    Pil.fromarray(GREY).convert(mode).save(path)
    image = raster.read(path)
    assert image.array.shape == (1, 3, 4)
    assert image.array.dtype == np.uint8
    assert mode == "1" or image.remarks


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(tmp_path, orientation):
    exif = Pil.Exif()
    exif[0x0112] = orientation
    Pil.fromarray(GREY).save(tmp_path / "x.png", exif=exif)
    with Pil.open(tmp_path / "x.png") as oracle:  # of an uncompressed TIFF Pillow 13.0 would be none
        upright = np.asarray(ImageOps.exif_transpose(oracle))
    for name, options in (("x.png", {}), ("x.tif", {}), ("y.tif", {"compression": "tiff_lzw"})):
        Pil.fromarray(GREY).save(tmp_path / name, exif=exif, **options)
        np.testing.assert_array_equal(raster.read(tmp_path / name).array[0], upright)
        row = raster.describe(tmp_path / name)[0]
        assert (row["rows"], row["columns"]) == upright.shape
        assert bool(row["remarks"]) == (orientation > 1)


def test_pages_of_a_tiff_are_rows(cases):
    path = cases / "R17" / "three_pages.tif"
    assert [row["frame"] for row in raster.describe(path)] == [0, 1, 2]
    first = [raster.read(path, page).array[0, 0, 0] for page in range(3)]
    assert first == [40000, 44800, 49600]
    with pytest.raises(DataError, match="no page 3"):
        raster.read(path, 3)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_cut_off_picture_is_refused(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    Pil.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    for use in (raster.describe, raster.read):
        with pytest.raises(DataError, match="picture"):
            use(path)


def test_bytes_after_the_end_do_no_harm(tmp_path):
    path = tmp_path / "x.jpg"
    Pil.fromarray(GREY).save(path)
    path.write_bytes(path.read_bytes() + bytes(200))
    assert raster.describe(path)[0]["status"] == "ok"


def test_content_decides():
    assert raster.sniff(None, b"\x89PNG\r\n\x1a\nrest")
    assert not raster.sniff(None, b"BM is a text")
    assert not raster.sniff(None, b"")
