import numpy as np
import pytest

from medssl.data.readers import read_file, zeiss_img
from medssl.data.scan import describe
from medssl.errors import DataError
from tests.data.readers import vendor_oct


def test_a_cube_is_known_by_name_and_size_and_turned(tmp_path):
    path, stored = vendor_oct.zeiss(tmp_path)
    image, row = read_file(path), describe(path)[0]
    assert image.array.shape == (1, 3, 1024, 20)
    np.testing.assert_array_equal(image.array[0, 1], np.rot90(stored[1], 2))
    assert image.spacing_mm is None
    assert (row["patient_id"], row["laterality"], row["slices"], row["columns"]) == ("P12", "R", 3, 20)
    assert describe(vendor_oct.zeiss(tmp_path, patient="Meier_")[0])[0]["patient_id"] is None


@pytest.mark.parametrize("name", ["cube.img", "P1_Macular Cube 512x128_OD_sn1_cube_z.img", "a_20x3_x_OD_sn1_lslo.img"])
def test_a_name_or_size_that_does_not_tell_is_refused(tmp_path, name):
    vendor_oct.zeiss(tmp_path)[0].rename(tmp_path / name)
    row = describe(tmp_path / name)[0]
    assert row["status"] == "unreadable"
    assert "has no header" in row["reason"]
    with pytest.raises(DataError, match="do not tell its shape"):
        zeiss_img.read(tmp_path / name)
