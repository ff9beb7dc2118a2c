"""A PET series: a body of even uptake with a liver and a lesion, in Bq/ml, each slice with a slope of its own."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

WEIGHT_KG, DOSE_BQ, HALF_LIFE_S = 70.0, 350e6, 6586.2
WAITED_S = 3600.0
LEFT_BQ = DOSE_BQ * 2 ** (-WAITED_S / HALF_LIFE_S)
EVEN = LEFT_BQ / (WEIGHT_KG * 1000)  # Bq/ml of a body in which the dose is spread evenly: SUV 1


def suv(slices: int = 12, side: int = 24) -> np.ndarray:
    """Return SUV at every voxel, (slices, side, side): air 0, body 1, liver 2.5, lesion 12."""
    z, y, x = np.meshgrid(np.arange(slices), *[np.arange(side)] * 2, indexing="ij")
    across = np.hypot((y - side / 2) / (0.3 * side), (x - side / 2) / (0.4 * side))
    values = np.where(across < 1, 1.0, 0.0)
    liver = (y - side / 2) ** 2 + (x - 0.35 * side) ** 2 + (z - 0.7 * slices) ** 2 < (0.16 * side) ** 2
    lesion = (y - 0.4 * side) ** 2 + (x - 0.62 * side) ** 2 + (z - 0.4 * slices) ** 2 < (0.06 * side) ** 2
    return np.where(lesion, 12.0, np.where(liver, 2.5, values))


def header(**elements: Any) -> Dataset:
    """Return the elements that SUV takes; an element of None is left out."""
    ds = Dataset()
    ds.Modality, ds.Units, ds.DecayCorrection, ds.CorrectedImage = "PT", "BQML", "START", ["ATTN", "DECY", "SCAT"]
    ds.PatientWeight = WEIGHT_KG
    ds.SeriesDate = ds.AcquisitionDate = "20240305"
    ds.SeriesTime, ds.AcquisitionTime = "100000", "100500"
    isotope = Dataset()
    isotope.RadionuclideTotalDose, isotope.RadionuclideHalfLife = DOSE_BQ, HALF_LIFE_S
    isotope.RadiopharmaceuticalStartTime = "090000.00"
    ds.RadiopharmaceuticalInformationSequence = Sequence([isotope])
    for name, value in elements.items():
        place = isotope if name.startswith("Radio") else ds
        if value is None:
            del place[name]
        else:
            setattr(place, name, value)
    return ds


def write(folder: Path, values: np.ndarray, **elements: Any) -> Path:
    """Write a series of these SUV, (slices, rows, columns), in Bq/ml at 4 mm, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(values * EVEN):
        ds = header(**elements)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.128", generate_uid()
        ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "P1", "1.2", "1.2.3"
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.PixelSpacing, ds.ImageOrientationPatient = [4, 4], [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient, ds.SliceThickness = [0, 0, 4 * number], 4
        slope = f"{max(plane.max(), 1) / (30000 - 100 * number):.8g}"
        ds.RescaleSlope, ds.RescaleIntercept = slope, "0"
        ds.PixelData = np.rint(plane / float(slope)).astype(np.int16).tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder
