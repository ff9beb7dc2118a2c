"""Writes B-scans as multi-frame DICOM: Ophthalmic Tomography Image Storage (PS3.3 A.52), uncompressed, 8 bit.

Only for data that are synthetic or whose identity was taken care of before: dates are a fixed day, and
`QualityControlSubject` is YES, which is DICOM's word for a phantom.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, OphthalmicTomographyImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from medssl import files
from medssl.errors import DataError

_DAY, _TIME = "20200101", "120000"


@dataclass(frozen=True)
class Volume:
    """B-scans of one eye in order, parallel and evenly spaced, superior first.

    Attributes:
        frames: (frames, rows, columns) uint8; rows go into the eye, columns from the patient's right to the left.
        spacing_mm: Between frames, rows and columns.
        patient_id: Also the file's name where files are named by patient.
        laterality: "R" or "L".
        manufacturer, model, institution, description: Texts that make the source plain.
        entropy: What the UIDs are made of: equal texts give equal UIDs.
    """

    frames: np.ndarray
    spacing_mm: tuple[float, float, float]
    patient_id: str
    laterality: str
    manufacturer: str
    model: str
    institution: str
    description: str
    entropy: tuple[str, ...]


def write(path: Path, volume: Volume) -> None:
    """Write a volume to a DICOM file, whole or not at all.

    Raises:
        DataError: The frames are not (frames, rows, columns) uint8, or the laterality is neither R nor L.
        StorageError: It cannot be written.
    """
    with files.atomic_path(path) as temporary:
        dataset(volume).save_as(temporary, enforce_file_format=True)


def dataset(volume: Volume) -> Dataset:
    """Return the volume as a pydicom dataset, ready to be written."""
    if volume.frames.ndim != 3 or volume.frames.dtype != np.uint8:
        shape, kind = volume.frames.shape, volume.frames.dtype
        raise DataError(
            f"Frames must be (frames, rows, columns) uint8, but are {shape} {kind}", where=volume.patient_id
        )
    if volume.laterality not in ("R", "L"):
        raise DataError(f"Laterality must be R or L, but is '{volume.laterality}'", where=volume.patient_id)
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = OphthalmicTomographyImageStorage
    result.file_meta.MediaStorageSOPInstanceUID = _uid(volume, "instance")
    for part in (_patient, _study_and_series, _equipment, _pixels, _acquisition, _dimensions, _functional_groups):
        result.update(part(volume))
    return result


def _patient(volume: Volume) -> Dataset:
    part = Dataset()
    part.PatientID = volume.patient_id
    part.PatientName = f"Synthetic^{volume.patient_id}"
    part.PatientBirthDate, part.PatientSex = "", ""
    part.QualityControlSubject = "YES"
    return part


def _study_and_series(volume: Volume) -> Dataset:
    part = Dataset()
    part.SOPClassUID, part.SOPInstanceUID = OphthalmicTomographyImageStorage, _uid(volume, "instance")
    part.StudyInstanceUID, part.SeriesInstanceUID = _uid(volume, "study"), _uid(volume, "series")
    part.FrameOfReferenceUID, part.PositionReferenceIndicator = _uid(volume, "frame of reference"), ""
    part.StudyDate, part.StudyTime, part.SeriesDate, part.SeriesTime = _DAY, _TIME, _DAY, _TIME
    part.ContentDate, part.ContentTime, part.AcquisitionDateTime = _DAY, _TIME, _DAY + _TIME
    part.StudyID, part.AccessionNumber, part.ReferringPhysicianName = "1", "", ""
    part.Modality, part.SeriesNumber, part.InstanceNumber, part.AcquisitionNumber = "OPT", 1, 1, 1
    part.SeriesDescription = volume.description[:64]
    part.ImageLaterality = volume.laterality
    part.SynchronizationTrigger, part.AcquisitionTimeSynchronized = "NO TRIGGER", "N"
    part.SynchronizationFrameOfReferenceUID = _uid(volume, "clock")
    return part


def _equipment(volume: Volume) -> Dataset:
    part = Dataset()
    part.Manufacturer, part.ManufacturerModelName = volume.manufacturer, volume.model
    part.InstitutionName = volume.institution
    part.DeviceSerialNumber, part.SoftwareVersions = volume.model, volume.description[:64]
    return part


def _pixels(volume: Volume) -> Dataset:
    part = Dataset()
    part.ImageType = ["ORIGINAL", "PRIMARY"]
    part.NumberOfFrames, part.Rows, part.Columns = volume.frames.shape
    part.SamplesPerPixel, part.PhotometricInterpretation = 1, "MONOCHROME2"
    part.BitsAllocated, part.BitsStored, part.HighBit, part.PixelRepresentation = 8, 8, 7, 0
    part.PresentationLUTShape, part.BurnedInAnnotation = "IDENTITY", "NO"
    part.RecognizableVisualFeatures, part.LossyImageCompression = "NO", "00"
    data = volume.frames.tobytes()
    part.add_new("PixelData", "OB", data + b"\0" * (len(data) % 2))
    return part


def _acquisition(volume: Volume) -> Dataset:
    """Return what PS3.3 C.8.17.7 to C.8.17.12 ask for: how and what part of the eye was taken."""
    part = Dataset()
    part.AcquisitionContextSequence, part.AcquisitionDuration = Sequence([]), 0.1 * len(volume.frames)
    part.AcquisitionDeviceTypeCodeSequence = _coded(codes.SCT.OpticalCoherenceTomographyScanner)
    part.LightPathFilterTypeStackCodeSequence = Sequence([])
    part.DetectorType, part.PupilDilated = "CCD", ""
    part.HorizontalFieldOfView = volume.spacing_mm[2] * volume.frames.shape[2]
    part.AxialLengthOfTheEye, part.RefractiveStateSequence = None, Sequence([])
    part.EmmetropicMagnification, part.IntraOcularPressure = None, None
    part.DepthSpatialResolution = 1000 * volume.spacing_mm[1]
    part.MaximumDepthDistortion = 0.0
    part.AlongScanSpatialResolution = 1000 * volume.spacing_mm[2]
    part.MaximumAlongScanDistortion = 0.0
    part.AcrossScanSpatialResolution = 1000 * volume.spacing_mm[0]
    part.MaximumAcrossScanDistortion = 0.0
    part.AnatomicRegionSequence = _coded(codes.SCT.Retina)
    return part


def _dimensions(volume: Volume) -> Dataset:
    part, organisation, index = Dataset(), Dataset(), Dataset()
    organisation.DimensionOrganizationUID = index.DimensionOrganizationUID = _uid(volume, "dimension")
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    index.DimensionDescriptionLabel = "B-scan"
    part.DimensionOrganizationSequence, part.DimensionIndexSequence = Sequence([organisation]), Sequence([index])
    return part


def _functional_groups(volume: Volume) -> Dataset:
    part, shared, measures, orientation, anatomy = (Dataset() for _ in range(5))
    between, rows, columns = (format_number_as_ds(float(mm)) for mm in volume.spacing_mm)
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [rows, columns], between, between
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    anatomy.FrameLaterality, anatomy.AnatomicRegionSequence = volume.laterality, _coded(codes.SCT.Retina)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    shared.FrameAnatomySequence, shared.ReferencedImageSequence = Sequence([anatomy]), Sequence([])
    part.SharedFunctionalGroupsSequence = Sequence([shared])
    part.PerFrameFunctionalGroupsSequence = Sequence(
        [_frame_groups(number, -number * volume.spacing_mm[0]) for number in range(len(volume.frames))]
    )
    return part


def _frame_groups(number: int, z_mm: float) -> Dataset:
    part, content, position = Dataset(), Dataset(), Dataset()
    content.FrameAcquisitionDateTime = content.FrameReferenceDateTime = _DAY + _TIME
    content.FrameAcquisitionDuration, content.StackID, content.InStackPositionNumber = 100.0, "1", number + 1
    content.DimensionIndexValues = [number + 1]
    position.ImagePositionPatient = [0, 0, format_number_as_ds(z_mm)]
    part.FrameContentSequence, part.PlanePositionSequence = Sequence([content]), Sequence([position])
    return part


def _coded(code: Code) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return Sequence([item])


def _uid(volume: Volume, role: str) -> UID:
    return generate_uid(entropy_srcs=[*volume.entropy, role])
