"""A small archive of our own making, in several encodings, with words in it that must not be found elsewhere."""

import gc
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

CANARY = "Xylophonwachtel"
PATIENT = "MRN-775533"
SERIES = [  # modality, SOP class, transfer syntax, instances, day
    ("CT", uid.CTImageStorage, uid.ExplicitVRLittleEndian, 5, "20240105"),
    ("CT", uid.CTImageStorage, uid.JPEGLSLossless, 3, "20240105"),
    ("MR", uid.MRImageStorage, uid.ImplicitVRLittleEndian, 4, "20240210"),
    ("DX", uid.DigitalXRayImageStorageForPresentation, uid.JPEG2000Lossless, 1, "20240210"),
    ("US", uid.UltrasoundMultiFrameImageStorage, uid.RLELossless, 2, "20240320"),
]


def one(number: int, index: int, study: str, series: str, patient: str) -> Dataset:
    """An image of random pixels, encoded as its row of SERIES says."""
    modality, kind, syntax, _, day = SERIES[number]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = kind, f"{series}.{index + 1}"
    made.StudyInstanceUID, made.SeriesInstanceUID = study, series
    made.PatientName, made.PatientID = f"{CANARY}^Jürgen", patient
    made.PatientBirthDate, made.PatientSex = "19700101", "M"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = day, "101112", "1", f"ACC{day}"
    made.Modality, made.SeriesNumber, made.InstanceNumber = modality, number + 1, index + 1
    made.StudyDescription, made.SeriesDescription = f"Study of {day}", f"Series {number}"
    made.ReferringPhysicianName = made.Laterality = made.PatientOrientation = ""
    made.BodyPartExamined = "CHEST"
    frames = 3 if modality == "US" else 1
    if frames > 1:
        made.NumberOfFrames = frames
    _pixels(made, frames, np.random.default_rng([number, index]), syntax)
    return made


def _pixels(made: Dataset, frames: int, draw: np.random.Generator, syntax: uid.UID) -> None:
    import imagecodecs

    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = 32, 40
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    array = draw.integers(0, 60000, (frames, 32, 40), dtype=np.uint16)
    made.add_new(0x7FE00010, "OW", array.tobytes())
    if syntax == uid.JPEG2000Lossless:
        made["PixelData"].value = encapsulate([imagecodecs.jpeg2k_encode(array[0], level=0, codecformat="j2k")])
        made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
        made.file_meta.TransferSyntaxUID = syntax
    elif syntax in (uid.JPEGLSLossless, uid.RLELossless):
        made.compress(syntax, generate_instance_uid=False)
    else:
        made.file_meta.TransferSyntaxUID = syntax


def data_set(path: Path) -> bytes:
    """The bytes of a file behind its meta information."""
    with path.open("rb") as handle:
        head = handle.read(144)
        handle.seek(144 + int.from_bytes(head[140:144], "little"))
        return handle.read()


def by_uid(folder: Path, paths: list[Path] | None = None) -> dict[str, Path]:
    """The instances below a folder, or those of some files."""
    paths = list(folder.rglob("*.dcm")) if paths is None else paths
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths}


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """Files of two patients and three days; the second patient has one CT series."""
    folder = tmp_path_factory.mktemp("archive")
    rows = [(number, PATIENT) for number in range(len(SERIES))] + [(0, "MRN-2")]
    for number, patient in rows:
        root = f"1.2.826.0.1.3680043.8.498.{1 if patient == PATIENT else 2}"
        day = SERIES[number][4]
        for index in range(SERIES[number][3]):
            made = one(number, index, f"{root}.{int(day)}", f"{root}.{int(day)}.{number + 1}", patient)
            made.save_as(folder / f"{patient}-{number}-{index}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing waits for the platters: what survives a power cut cannot be tested here, and waiting takes a minute."""
    from medssl import files

    monkeypatch.setattr(files._disk, "sync", lambda handle: handle.flush())
    monkeypatch.setattr(files._disk, "sync_folder", lambda folder: None)


@pytest.fixture(autouse=True)
def collected():
    """pynetdicom leaves sockets that never got connected to the garbage collector, which warns of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture
def quiet(monkeypatch):
    """No credentials or proxies of whoever runs the tests."""
    for name in ("MEDSSL_PACS_TOKEN", "MEDSSL_PACS_USER", "MEDSSL_PACS_PASSWORD", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("NETRC", "/nonexistent")


@pytest.fixture
def node(archive):
    pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")
    from .stand_ins import Node

    made = Node(archive)
    yield made
    made.close()


@pytest.fixture
def web(archive, quiet):
    pytest.importorskip("dicomweb_client", reason="the extra 'pacs' is not installed")
    from .stand_ins import Web

    made = Web(archive)
    yield made
    made.close()
