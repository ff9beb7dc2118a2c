"""The hippocampus volumes and masks, against SimpleITK and nibabel."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medssl.data.readers import read_file

pytestmark = [pytest.mark.witness, pytest.mark.timeout(0)]

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PERMUTE = np.eye(4)[[2, 1, 0, 3]]


def test_values_spacing_and_place_of_every_volume(real_data):
    files = sorted((real_data / "mri-hippocampus").rglob("*.nii*"))
    assert len(files) == 520
    for path in files:
        image = read_file(path)
        itk = sitk.ReadImage(str(path), imageIO="NiftiImageIO")
        np.testing.assert_array_equal(image.array[0], sitk.GetArrayFromImage(itk))
        np.testing.assert_allclose(image.spacing_mm, itk.GetSpacing()[::-1], rtol=1e-6)
        place = np.eye(4)
        place[:3, :3] = np.reshape(itk.GetDirection(), (3, 3)) * itk.GetSpacing()
        place[:3, 3] = itk.GetOrigin()
        np.testing.assert_allclose(image.affine, RAS @ place @ PERMUTE, atol=1e-4)
        other = nib.load(path)
        np.testing.assert_array_equal(image.array[0], np.asarray(other.dataobj).T)
        np.testing.assert_allclose(image.affine, other.affine @ PERMUTE, atol=1e-6)
