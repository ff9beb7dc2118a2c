"""DICOM files of every transfer syntax, made here: a CT-like plane, a photograph-like one, and frames of a cine."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
from pydicom import Dataset, uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from scipy.ndimage import gaussian_filter

Encode = Callable[[np.ndarray], bytes]
_CT, _CINE, _PHOTO = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.77.1.4.1"


class Case(NamedTuple):
    """One file.

    Attributes:
        name: For people.
        syntax: Transfer syntax.
        encode: From a frame to its code stream; None where it is stored as it is.
        bits: Of a sample in the code stream; 12 of 16 are used, as in most CT.
        colour: Three samples a pixel.
        frames: How many.
    """

    name: str
    syntax: uid.UID
    encode: Encode | None
    bits: int
    colour: bool
    frames: int

    @property
    def intercept(self) -> int:
        """Return the rescale intercept: CT values are stored above 0."""
        return 0 if self.colour or self.frames > 1 else -1024


def cases(frames: int) -> Iterator[Case]:
    """Yield plane, colour plane and cine of every transfer syntax."""
    jpeg, lossless = imagecodecs.jpeg8_encode, partial(imagecodecs.jpeg8_encode, lossless=True)
    jp2 = partial(imagecodecs.jpeg2k_encode, codecformat="j2k")
    deep: list[tuple[str, uid.UID, Encode | None, int]] = [
        ("explicit little endian", uid.ExplicitVRLittleEndian, None, 16),
        ("implicit little endian", uid.ImplicitVRLittleEndian, None, 16),
        ("explicit big endian", uid.ExplicitVRBigEndian, None, 16),
        ("deflated", uid.DeflatedExplicitVRLittleEndian, None, 16),
        ("RLE", uid.RLELossless, _rle, 16),
        ("JPEG baseline, 8 bit", uid.JPEGBaseline8Bit, partial(jpeg, level=90), 8),
        ("JPEG extended, 12 bit", uid.JPEGExtended12Bit, partial(jpeg, level=90, bitspersample=12), 12),
        ("JPEG lossless, process 14", uid.JPEGLossless, partial(lossless, predictor=4, bitspersample=16), 16),
        ("JPEG lossless SV1", uid.JPEGLosslessSV1, partial(lossless, predictor=1, bitspersample=16), 16),
        ("JPEG-LS lossless", uid.JPEGLSLossless, imagecodecs.jpegls_encode, 16),
        ("JPEG-LS near-lossless", uid.JPEGLSNearLossless, partial(imagecodecs.jpegls_encode, level=2), 16),
        ("JPEG 2000 lossless", uid.JPEG2000Lossless, partial(jp2, reversible=True), 16),
        ("JPEG 2000 lossy", uid.JPEG2000, partial(jp2, level=75), 16),
        ("HTJ2K lossless", uid.HTJ2KLossless, partial(imagecodecs.htj2k_encode, reversible=True), 16),
    ]
    for name, syntax, encode, bits in deep:
        yield Case(f"{name}, {bits} bit plane".replace(f", {bits} bit, {bits} bit", f", {bits} bit"), syntax, encode,
                   bits, False, 1)  # fmt: skip
    for colour, count in ((True, 1), (False, frames), (True, frames)):
        for name, syntax, encode, bits in deep:
            if bits == 12:
                continue
            if bits == 8 or encode is not jpeg:
                narrow = encode
                if isinstance(encode, partial) and "bitspersample" in encode.keywords:
                    narrow = partial(lossless, predictor=encode.keywords["predictor"])
                what = f"{'colour' if colour else '8 bit'}, {count} frame{'s' * (count > 1)}"
                yield Case(f"{name.replace(', 8 bit', '')}, {what}", syntax, narrow, 8, colour, count)


def _rle(frame: np.ndarray) -> bytes:
    colour = {"samples_per_pixel": 3, "planar_configuration": 0} if frame.ndim == 3 else {"samples_per_pixel": 1}
    bits = 8 * frame.itemsize
    return RLELosslessEncoder.encode(
        frame, encoding_plugin="pydicom", rows=frame.shape[0], columns=frame.shape[1], number_of_frames=1,
        bits_allocated=bits, bits_stored=bits, pixel_representation=0, **colour,
        photometric_interpretation="RGB" if frame.ndim == 3 else "MONOCHROME2",
    )  # fmt: skip


def write(case: Case, folder: Path) -> Path:
    """Write the file of a case; return its path."""
    random = np.random.default_rng(3)
    stored = [_frame(case, random) for _ in range(case.frames)]
    data = _dataset(case)
    if case.encode is None:
        order = ">" if case.syntax == uid.ExplicitVRBigEndian else "<"
        data.PixelData = b"".join(frame.astype(frame.dtype.newbyteorder(order)).tobytes() for frame in stored)
    else:
        data.PixelData = encapsulate([case.encode(frame) for frame in stored])
        data["PixelData"].VR = "OB"
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


def _frame(case: Case, random: np.random.Generator) -> np.ndarray:
    """Return smooth shapes with noise as a scanner makes them: half of the plane is tissue, the rest is air."""
    shape = (512, 512, 3) if case.colour else (512, 512)
    smooth = gaussian_filter(random.standard_normal(shape), (20, 20, 0)[: len(shape)])
    smooth = smooth / smooth.std()
    most = {8: 255, 12: 4095, 16: 4095}[case.bits]
    values = np.where(smooth > 0, most * (0.3 + 0.1 * smooth + 0.01 * random.standard_normal(shape)), most * 0.01)
    return np.clip(values, 0, most).astype(np.uint8 if case.bits == 8 else np.uint16)


def _dataset(case: Case) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = case.syntax, "1.2.3.4"
    meta.MediaStorageSOPClassUID = (_PHOTO if case.colour else _CT) if case.frames == 1 else _CINE
    implicit, little = case.syntax == uid.ImplicitVRLittleEndian, case.syntax != uid.ExplicitVRBigEndian
    data = FileDataset(None, {}, b"\0" * 128, meta, is_implicit_VR=implicit, is_little_endian=little)
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.5", "Modality": "CT", "Manufacturer": "NONE", "PatientID": "P1", "PatientName": "A",
        "StudyDate": "20240102", "StudyTime": "101112", "AccessionNumber": "1", "SliceThickness": "1.0", "KVP": "120",
        "InstanceNumber": "1", "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.7, 0.7], "Rows": 512, "Columns": 512, "SamplesPerPixel": 3 if case.colour else 1,
        "PhotometricInterpretation": _photometric(case), "BitsAllocated": 8 if case.bits == 8 else 16,
        "BitsStored": min(case.bits, 12), "HighBit": min(case.bits, 12) - 1, "PixelRepresentation": 0,
    }  # fmt: skip
    for name, value in values.items():
        setattr(data, name, value)
    if case.colour:
        data.PlanarConfiguration = 0
    if case.frames > 1:
        data.NumberOfFrames = case.frames
    if case.intercept:
        data.RescaleSlope, data.RescaleIntercept = 1, case.intercept
    return data


def _photometric(case: Case) -> str:
    if not case.colour:
        return "MONOCHROME2"
    named = {uid.JPEGBaseline8Bit: "YBR_FULL_422", uid.JPEG2000Lossless: "YBR_RCT", uid.JPEG2000: "YBR_ICT",
             uid.HTJ2KLossless: "YBR_RCT"}  # fmt: skip
    return named.get(case.syntax, "RGB")
