import numpy as np
import pandas as pd
import pytest

from medssl.data.columns import typed
from medssl.evaluation.shortcut import device_names, pixels, statistics


def table(n: int, **columns) -> pd.DataFrame:
    base = {"sample_id": [f"s{i}" for i in range(n)], "path": "x.png", "status": "ok"}
    base |= {"rows": 40, "columns": 20, "file_bytes": 1600, "manufacturer": "Maker", "model": "One"}
    return typed(pd.DataFrame({**base, **columns}))


def test_pixels_are_block_means():
    images = np.arange(2 * 32 * 32, dtype=np.uint16).reshape(2, 1, 32, 32)
    result = pixels(images, np.array([1]), 65535)
    blocks = images[1, 0].reshape(16, 2, 16, 2).mean(axis=(1, 3)) / 65535
    np.testing.assert_allclose(result, blocks.reshape(1, -1), rtol=1e-5)


def test_pixels_of_a_volume_are_eight_a_side():
    assert pixels(np.zeros((1, 1, 16, 16, 16), np.uint8), np.array([0]), 255).shape == (1, 512)


def test_tone_and_borders_of_a_known_picture():
    image = np.full((1, 20, 20), 51, np.uint8)
    image[0, 0] = 255
    found = statistics(image[None], np.array([0]), 255, table(1), []).iloc[0]
    assert found["mean"] == pytest.approx((19 * 0.2 + 1) / 20)
    assert found["border_1_first"] == pytest.approx(1)
    assert found["border_1_last"] == pytest.approx(0.2)
    assert found["border_2_first"] == pytest.approx((19 * 0.2 + 1) / 20)
    assert found[[f"histogram_{b}" for b in range(32)]].sum() == pytest.approx(1)
    assert found["histogram_31"] == pytest.approx(0.05)


def test_source_size_and_bytes_per_pixel():
    found = statistics(np.zeros((1, 1, 8, 8), np.uint8), np.array([0]), 255, table(1), []).iloc[0]
    assert (found["rows"], found["columns"], found["aspect"]) == (40, 20, 0.5)
    assert found["bytes_per_pixel"] == 2.0
    assert found["bytes_per_pixel_unknown"] == 0


def test_an_unknown_is_a_column_and_not_a_number():
    missing = table(1, file_bytes=None, rows=None)
    found = statistics(np.zeros((1, 1, 8, 8), np.uint8), np.array([0]), 255, missing, []).iloc[0]
    assert (found["rows"], found["rows_unknown"], found["columns_unknown"]) == (0, 1, 0)
    assert found["bytes_per_pixel_unknown"] == 1
    assert np.isfinite(found.to_numpy(float)).all()


def test_a_frame_of_several_is_compressed_itself():
    generator = np.random.default_rng(0)
    images = np.stack([np.full((1, 32, 32), 90), generator.integers(0, 255, (1, 32, 32))]).astype(np.uint8)
    found = statistics(images, np.array([0, 1]), 255, table(2, frame=[0, 1]), [])["bytes_per_pixel"]
    assert found[0] < 0.05
    assert found[1] > 0.9


def test_devices_are_columns_and_a_new_one_is_none_of_them():
    rows = table(3, manufacturer=["A", "B", None], model=["1", None, None])
    assert device_names(rows).tolist() == ["A 1", "B", ""]
    found = statistics(np.zeros((3, 1, 8, 8), np.uint8), np.arange(3), 255, rows, ["A 1"])
    assert found["device=A 1"].tolist() == [1, 0, 0]
    assert [name for name in found if name.startswith("device=")] == ["device=A 1"]


def test_rows_choose_images():
    images = np.stack([np.full((1, 8, 8), value) for value in (0, 51, 102)]).astype(np.uint8)
    found = statistics(images, np.array([2, 0]), 255, table(2), [])["mean"]
    np.testing.assert_allclose(found, [0.4, 0.0], atol=1e-6)


def test_three_channels_are_reduced_one_by_one_and_described_together():
    images = np.zeros((2, 3, 32, 32), np.uint8)
    images[1, 0], images[1, 1, :, :16] = 255, 51
    result = pixels(images, np.array([0, 1]), 255)
    assert result.shape == (2, 3 * 16 * 16)
    red, green, blue = result[1].reshape(3, 16, 16)
    assert (red == 1).all()
    np.testing.assert_allclose(green, np.repeat([[0.2] * 8 + [0.0] * 8], 16, axis=0), rtol=1e-6)
    assert (blue == 0).all()
    told = statistics(images, np.array([0, 1]), 255, table(2, frame=[None, 3]), [])
    assert told["mean"][1] == pytest.approx((1 + 0.1) / 3)
    assert told["border_2_first"][1] == pytest.approx(1.2 / 3)
    assert np.isfinite(told.to_numpy(float)).all()
