"""Ophthalmic tomography files are read alike by pydicom, highdicom and SimpleITK."""

import dataclasses

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import OphthalmicTomographyImageStorage

from medssl.data.writers import ophthalmic
from medssl.errors import DataError

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 20, 31), dtype=np.uint8)
VOLUME = ophthalmic.Volume(
    frames=FRAMES,
    spacing_mm=(0.45, 0.006, 0.0234375),
    patient_id="A0001",
    laterality="R",
    manufacturer="medssl phantom",
    model="device-a",
    institution="Synthetic device-a",
    description="Synthetic B-scans",
    entropy=("test", "1"),
)


@pytest.fixture
def path(tmp_path):
    ophthalmic.write(tmp_path / "a.dcm", VOLUME)
    return tmp_path / "a.dcm"


def test_pydicom_reads_it(path):
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID == OphthalmicTomographyImageStorage == dataset.file_meta.MediaStorageSOPClassUID
    assert np.array_equal(dataset.pixel_array, FRAMES)
    assert (dataset.Modality, dataset.ImageLaterality, dataset.PatientID) == ("OPT", "R", "A0001")
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(v) for v in measures.PixelSpacing] == [0.006, 0.0234375]
    assert len(dataset.PerFrameFunctionalGroupsSequence) == 3


def test_highdicom_reads_it_as_a_volume(path):
    import highdicom

    image = highdicom.imread(path)
    volume = image.get_volume()
    assert np.array_equal(image.get_frame(2), FRAMES[1])
    assert np.array_equal(volume.array, FRAMES)
    assert volume.spacing == pytest.approx(VOLUME.spacing_mm)


def test_simpleitk_reads_it(path):
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), FRAMES)
    assert image.GetSpacing() == pytest.approx(VOLUME.spacing_mm[::-1])


def test_numbers_fit_into_the_sixteen_characters_of_a_decimal_string(tmp_path):
    volume = dataclasses.replace(VOLUME, spacing_mm=(0.1 + 0.2, 0.0074, 5.6 / 224))
    ophthalmic.write(tmp_path / "a.dcm", volume)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    positions = [f.PlanePositionSequence[0].ImagePositionPatient for f in dataset.PerFrameFunctionalGroupsSequence]
    numbers = [*measures.PixelSpacing, measures.SpacingBetweenSlices, *(v for p in positions for v in p)]
    assert max(len(str(number.original_string)) for number in numbers) <= 16
    assert [float(v) for v in measures.PixelSpacing] == pytest.approx([0.0074, 0.025])


def test_identifiers_depend_on_the_entropy_only(tmp_path):
    first, again = ophthalmic.dataset(VOLUME), ophthalmic.dataset(dataclasses.replace(VOLUME, frames=FRAMES[::-1]))
    other = ophthalmic.dataset(dataclasses.replace(VOLUME, entropy=("test", "2")))
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert first[name].value == again[name].value != other[name].value
    assert len({first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": FRAMES[0]}, r"\(20, 31\) uint8"),
        ({"frames": FRAMES.astype(np.uint16)}, "uint16"),
        ({"laterality": "left"}, "'left'"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, change, said):
    with pytest.raises(DataError, match=said):
        ophthalmic.write(tmp_path / "a.dcm", dataclasses.replace(VOLUME, **change))
    assert list(tmp_path.iterdir()) == []
