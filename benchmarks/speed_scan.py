"""The scan of headers against pydicom, on one core, files in the page cache.

    OMP_NUM_THREADS=1 python benchmarks/speed_scan.py [--files 20000]

Writes CT-like slices of 60 elements and two sequences with few pixels (so that what is read is header), in series of
100, one in four in implicit VR. Contestants take turns; what counts is the CPU time of the process and its children:

- plain: `pydicom.dcmread(path, stop_before_pixels=True)` of every file, nothing else;
- scan: `medssl scan` as a person runs it, from the list of files to a manifest of volumes on disk, with its journal;
- slices: the same with `--slices`, a row a file;
- rows: what of it happens in a child for each file, from opening it to its row.

The child runs on the same core as its parent. Before the race every row of a sample is compared with pydicom's.
"""

import argparse
import os
import resource
import tempfile
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from racing import ratio, show, show_machine

from medssl.data.describing import stamped
from medssl.data.earlier import Earlier
from medssl.data.readers import HEAD_BYTES, dicom
from medssl.data.scan import scan

_TEXTS = {
    "SpecificCharacterSet": "ISO_IR 100", "InstanceCreationDate": "20240102", "StudyDate": "20240102",
    "SeriesDate": "20240102", "AcquisitionDate": "20240102", "ContentDate": "20240102", "StudyTime": "101112",
    "SeriesTime": "101112", "AcquisitionTime": "101112", "ContentTime": "101112", "Modality": "CT",
    "Manufacturer": "SYNTHETIC", "InstitutionName": "Nowhere", "ReferringPhysicianName": "None^None",
    "StationName": "CT1", "StudyDescription": "Thorax", "SeriesDescription": "Thorax 1.0",
    "ManufacturerModelName": "Phantom", "PatientBirthDate": "19700101", "PatientSex": "O", "PatientAge": "054Y",
    "BodyPartExamined": "CHEST", "ScanOptions": "HELICAL", "SliceThickness": "1.0", "KVP": "120",
    "DataCollectionDiameter": "500", "SoftwareVersions": "1", "ProtocolName": "Thorax", "TableHeight": "100",
    "ReconstructionDiameter": "400", "GantryDetectorTilt": "0", "RotationDirection": "CW", "ExposureTime": "500",
    "XRayTubeCurrent": "200", "Exposure": "100", "FilterType": "0", "ConvolutionKernel": "B30f",
    "PatientPosition": "HFS", "StudyID": "1", "SeriesNumber": "2", "AcquisitionNumber": "1",
    "FrameOfReferenceUID": "1.2.3.5", "WindowCenter": "40", "WindowWidth": "400", "RescaleIntercept": "0",
    "RescaleSlope": "1",
}  # fmt: skip


def main(files: int, rounds: int) -> None:
    """Write, compare, race and print."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    show_machine("pydicom", "pyarrow", "pandas")
    with tempfile.TemporaryDirectory() as scratch:
        paths = write(Path(scratch) / "archive", files)
        check(paths[:: max(1, files // 500)])
        seconds = race(contestants(Path(scratch), paths), rounds)
    show("files a second", {name: [files / one for one in times] for name, times in seconds.items()}, "files/s")
    for name in ("scan", "slices", "rows"):
        print(f"  {name}: {ratio(seconds['plain'], seconds[name])} times as fast as plain")


def write(folder: Path, files: int) -> list[str]:
    """Write slices and return their paths."""
    paths = []
    for number in range(files):
        path = folder / f"{number // 100:04d}" / f"{number:06d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        slice_of(number).save_as(path, enforce_file_format=True)
        paths.append(str(path))
    return paths


def slice_of(number: int) -> Dataset:
    """Return a CT-like slice of 16 x 16 pixels."""
    ds, series = Dataset(), number // 100
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if number % 4 == 3 else ExplicitVRLittleEndian
    for name, value in _TEXTS.items():
        setattr(ds, name, value)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"1.2.826.0.1.3680043.8.498.{number + 1}"
    ds.ImageType, ds.PatientID, ds.PatientName = ["ORIGINAL", "PRIMARY", "AXIAL"], f"P{series:05d}", f"P^{series}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.3.{series + 1}", f"1.2.3.4.{series + 1}"
    ds.AccessionNumber, ds.InstanceNumber, ds.SliceLocation = f"A{series}", number % 100 + 1, number % 100
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-200.0, -200.0, float(number % 100)], [1, 0, 0, 0, 1, 0]
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelSpacing = 1, "MONOCHROME2", [0.78, 0.78]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.3.9"
    ds.ReferencedStudySequence, ds.ReferencedImageSequence = [reference], [reference, reference]
    ds.PixelData = bytes(512)
    ds["PixelData"].VR = "OW"
    return ds


def check(paths: list[str]) -> None:
    """Compare rows with those that pydicom gives."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        found = dicom.glance(path, handle, os.pread(handle, HEAD_BYTES, 0), os.fstat(handle).st_size)
        os.close(handle)
        assert found == dicom.describe(Path(path)), path
    print(f"{len(paths)} rows compared with pydicom's: equal")


def contestants(scratch: Path, paths: list[str]) -> dict:
    """Return what is raced."""
    archive, output = scratch / "archive", scratch / "out" / "manifest.parquet"

    def scanned(*, stack: bool) -> None:
        earlier = Earlier(output)
        manifest = scan([archive], stack=stack, earlier=earlier)
        manifest.save(output)
        earlier.finish()

    return {
        "plain": lambda: [pydicom.dcmread(path, stop_before_pixels=True) for path in paths],
        "scan": lambda: scanned(stack=True),
        "slices": lambda: scanned(stack=False),
        "rows": lambda: [stamped(path) for path in paths],
    }


def race(callables: dict, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds, children's too, of each contestant in each round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in callables}
    for _ in range(rounds + 1):
        for name, call in callables.items():
            before = cpu()
            call()
            seconds[name].append(cpu() - before)
    return {name: times[1:] for name, times in seconds.items()}


def cpu() -> float:
    """Return the CPU seconds of this process and of children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    main(chosen.files, chosen.rounds)
