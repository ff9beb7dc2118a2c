"""Plants unique strings wherever a file can hold one: the archive that the canary test sends through every command.

A canary is `ZQCANARY00042`, a UID below one root, a number, or a moment of a century without images: whatever its place
can hold. In names of files and folders it is `ZQPATHXX00042`, which may be in manifests and in messages naming a file.
"""

import gzip
import io
import struct
import zipfile
import zlib
from datetime import date, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image as Pil
from PIL import PngImagePlugin, TiffImagePlugin
from pydicom import Dataset, Sequence, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag

E11 = Path(__file__).with_name("ps315_e11.txt")
_FIRST_DAY = date(1703, 1, 1)
_LIMITS = {"AE": 16, "SH": 16, "CS": 16}
_UNSEARCHABLE = {"AS", "US"}  # an age and a count are too short to be unique
CARRIED = {0x00080020}  # StudyDate stands in the manifest unless dates are shifted
PATIENTS = 12


class Planter:
    """Hands out canaries and remembers the place of each."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def text(self, place: str) -> str:
        """Return a canary for a place in a file."""
        return self._new("ZQCANARY{:05d}", place)

    def path(self, place: str) -> str:
        """Return a canary for a name of a file or folder."""
        return self._new("ZQPATHXX{:05d}", place)

    def user(self, place: str) -> str:
        """Return a canary for a column that the user adds to a label table, which is theirs to keep."""
        return self._new("ZQUSERXX{:05d}", place)

    def of_vr(self, vr: str, place: str) -> object:
        """Return a canary that an element of this kind can hold, or None where none can."""
        number = len(self.places)
        day = (_FIRST_DAY + timedelta(days=number)).strftime("%Y%m%d")
        made = {
            "UI": f"1.2.826.0.4711.1{number:06d}",
            "DA": day,
            "DT": f"{day}101112.{number:06d}",
            "TM": f"101112.{number:06d}",
            "DS": f"71{number:05d}93",
            "IS": f"71{number:05d}93",
        }.get(vr)
        if made is not None:
            self.places[made] = place
            return made
        if vr in _UNSEARCHABLE:
            return {"AS": "101Y", "US": 7}[vr]
        text = self.text(place)
        return text.encode() + b"\0" if vr in ("OB", "UN") else text

    def _new(self, pattern: str, place: str) -> str:
        made = pattern.format(len(self.places))
        self.places[made] = place
        return made


def e11_tags() -> list[int]:
    """Return every element of table E.1-1."""
    lines = [line.split(":") for line in E11.read_text().splitlines() if not line.startswith("#")]
    return [int(group + element, 16) for group, elements in lines for element in elements.split()]


def identified(planter: Planter, where: str, *, skip: frozenset[int] = frozenset()) -> Dataset:
    """Return a data set with a canary in every element of table E.1-1 but commands and file meta."""
    part = Dataset()
    for tag in e11_tags():
        if tag >> 16 <= 4 or tag in skip:
            continue
        vr, place = dictionary_VR(tag), f"{where} ({tag >> 16:04x},{tag & 0xFFFF:04x})"
        if vr == "SQ":
            item, deeper = Dataset(), Dataset()
            item.add_new(0x00104000, "LT", planter.text(f"{place}/PatientComments"))
            deeper.add_new(0x0040A123, "PN", planter.text(f"{place}/item/PersonName"))
            deeper.add_new(0x00081155, "UI", planter.of_vr("UI", f"{place}/item/ReferencedSOPInstanceUID"))
            item.add_new(0x0040A730, "SQ", Sequence([deeper]))
            part.add_new(tag, "SQ", Sequence([item]))
        else:
            part.add_new(tag, vr, planter.of_vr(vr, place))
    for place, tag in (("private text", 0x00091001), ("private text in an odd place", 0x7FE11001)):
        part.add_new(tag - 0x1001 + 0x10, "LO", planter.text(f"{where} {place}, creator"))
        part.add_new(tag, "LO", planter.text(f"{where} {place}"))
    inner, item = Dataset(), Dataset()
    inner.add_new(0x00111001, "UN", planter.text(f"{where} private sequence, private element").encode() + b" ")
    item.add_new(0x00100010, "PN", planter.text(f"{where} private sequence"))
    item.add_new(0x00111002, "SQ", Sequence([inner]))
    part.add_new(0x00110010, "LO", "MAKER")
    part.add_new(0x00111003, "SQ", Sequence([item]))
    for k in range(2):  # curves and overlays
        part.add_new(0x50003000 + (k << 17), "OB", planter.text(f"{where} curve {k}").encode() + b"\0")
        part.add_new(0x50000022 + (k << 17), "LO", planter.text(f"{where} curve label {k}"))
        part.add_new(0x60003000 + (k << 17), "OB", planter.text(f"{where} overlay {k}").encode() + b"\0")
        part.add_new(0x60004000 + (k << 17), "LT", planter.text(f"{where} overlay comments {k}"))
        part.add_new(0x60001500 + (k << 17), "LO", planter.text(f"{where} overlay label {k}"))
    icon = Dataset()
    icon.Rows, icon.Columns, icon.SamplesPerPixel, icon.BitsAllocated = 1, 14, 1, 8
    icon.PixelData = planter.text(f"{where} icon image").encode() + b"\0"
    part.add_new(0x00880200, "SQ", Sequence([icon]))
    return part


def image(planter: Planter, where: str, pixels: np.ndarray, kind: uid.UID, modality: str) -> Dataset:
    """Return an image of (rows, columns) uint8 with every element of table E.1-1."""
    part = identified(planter, where)
    part.SOPClassUID, part.Modality = kind, modality
    part.PatientSex = "O"
    part.Manufacturer, part.ManufacturerModelName = "Maker", "Model"
    part.Rows, part.Columns = pixels.shape
    part.SamplesPerPixel, part.PhotometricInterpretation, part.PixelRepresentation = 1, "MONOCHROME2", 0
    part.BitsAllocated = part.BitsStored = 8
    part.HighBit = 7
    part.PixelData = pixels.tobytes()
    part.file_meta = FileMetaDataset()
    part.file_meta.MediaStorageSOPClassUID = kind
    part.file_meta.MediaStorageSOPInstanceUID = planter.of_vr("UI", f"{where} file meta instance")
    part.file_meta.ImplementationClassUID = planter.of_vr("UI", f"{where} file meta implementation")
    part.file_meta.ImplementationVersionName = planter.text(f"{where} file meta version name")
    part.file_meta.SourceApplicationEntityTitle = planter.text(f"{where} file meta AE title")
    part.file_meta.PrivateInformationCreatorUID = planter.of_vr("UI", f"{where} file meta private creator")
    part.file_meta.PrivateInformation = planter.text(f"{where} file meta private information").encode() + b"\0"
    part.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    part.preamble = planter.text(f"{where} preamble").encode().ljust(128, b"\0")
    return part


def written(path: Path, part: Dataset, **how: object) -> None:
    """Write a data set as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, part, **({"enforce_file_format": True} | how))


def picture(random: np.random.Generator, patient: int) -> np.ndarray:
    """Return (32, 32) uint8 noise with a bright square for every other patient."""
    values = random.integers(0, 90, (32, 32), dtype=np.uint8)
    values[4:14, 4 + patient : 14 + patient] += np.uint8(120 if patient % 2 else 40)
    return values


def archive(folder: Path, planter: Planter) -> Path:
    """Write the archive, and return its label table."""
    random = np.random.default_rng(0)
    deep = folder / planter.path("folder") / planter.path("folder in a folder")
    rows = []
    for patient in range(PATIENTS):
        for kind, write in enumerate((_radiograph, _png, _jpeg, _tiff)):
            path = write(deep, planter, picture(random, patient), f"{write.__name__[1:]} {patient}", kind)
            rows.append((path, patient))
    _volumes(folder, planter, random)
    _others(folder, planter, random)
    _damaged(folder, planter, random)
    for patient in range(6):
        _radiograph(folder / "plain", planter, picture(random, patient), f"plain {patient}", 0)
    return _labels(folder, planter, rows)


def _radiograph(deep: Path, planter: Planter, pixels: np.ndarray, where: str, _: int) -> Path:
    path = deep / f"{planter.path(f'{where} file')}.dcm"
    written(path, image(planter, where, pixels, uid.DigitalXRayImageStorageForPresentation, "DX"))
    return path


def _png(deep: Path, planter: Planter, pixels: np.ndarray, where: str, _: int) -> Path:
    path = deep / f"{planter.path(f'{where} file')}.png"
    told = PngImagePlugin.PngInfo()
    told.add_text("Author", planter.text(f"{where} tEXt"))
    told.add_text("Description", planter.text(f"{where} zTXt"), zip=True)
    told.add_itxt("Title", planter.text(f"{where} iTXt"), "de", planter.text(f"{where} iTXt translated keyword"))
    told.add_itxt("XML:com.adobe.xmp", f"<x>{planter.text(f'{where} XMP')}</x>", zip=True)
    told.add_text(planter.text(f"{where} keyword"), "x")
    told.add(b"tIME", struct.pack(">H5B", 1999, 1, 2, 3, 4, 5))
    told.add(b"prVt", planter.text(f"{where} private chunk").encode())
    Pil.fromarray(pixels).save(path, pnginfo=told, exif=_exif(planter, where), icc_profile=_profile(planter, where))
    path.write_bytes(path.read_bytes() + planter.text(f"{where} after the end").encode() + b"IEND")
    return path


def _jpeg(deep: Path, planter: Planter, pixels: np.ndarray, where: str, _: int) -> Path:
    path = deep / f"{planter.path(f'{where} file')}.jpg"
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x>" + planter.text(f"{where} XMP").encode() + b"</x>"
    name = planter.text(f"{where} IPTC").encode()
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(name) + 5) + b"\x1c\x02\x50"
    iptc += struct.pack(">H", len(name)) + name
    made = io.BytesIO()
    Pil.fromarray(pixels).save(
        made, "JPEG", comment=planter.text(f"{where} comment"), exif=_exif(planter, where),
        icc_profile=_profile(planter, where), quality=95,
    )  # fmt: skip
    data = made.getvalue()
    segments = b"".join(
        b"\xff" + mark + struct.pack(">H", len(body) + 2) + body for mark, body in ((b"\xe1", xmp), (b"\xed", iptc))
    )
    path.write_bytes(data[:2] + segments + data[2:] + planter.text(f"{where} after the end").encode())
    return path


def _tiff(deep: Path, planter: Planter, pixels: np.ndarray, where: str, _: int) -> Path:
    path = deep / f"{planter.path(f'{where} file')}.tif"
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    words = {269: "DocumentName", 270: "ImageDescription", 271: "Make", 272: "Model", 285: "PageName", 305: "Software",
             315: "Artist", 316: "HostComputer", 33432: "Copyright", 65000: "private"}  # fmt: skip
    for tag, name in words.items():
        tags[tag] = planter.text(f"{where} {name}")
    Pil.fromarray(pixels).save(path, tiffinfo=tags)
    return path


def _exif(planter: Planter, where: str) -> Pil.Exif:
    exif = Pil.Exif()
    for tag, name in {270: "ImageDescription", 315: "Artist", 316: "HostComputer", 33432: "Copyright"}.items():
        exif[tag] = planter.text(f"{where} EXIF {name}")
    exif[0x9286] = b"ASCII\0\0\0" + planter.text(f"{where} EXIF UserComment").encode()
    exif[0x9C9D] = planter.text(f"{where} EXIF XPAuthor").encode("utf-16-le")
    return exif


def _profile(planter: Planter, where: str) -> bytes:
    """Return a colour profile of a description only."""
    return planter.text(f"{where} ICC profile").encode().ljust(200, b"\0")


def _volumes(folder: Path, planter: Planter, random: np.random.Generator) -> None:
    """Write NIfTI, NRRD, MetaImage, NumPy and Heidelberg files."""
    values = random.integers(0, 200, (8, 8, 4), dtype=np.int16)
    for name in ("a.nii", "a.nii.gz", "b.hdr"):
        image_ = (nib.Nifti1Pair if name.endswith("hdr") else nib.Nifti1Image)(values, np.eye(4))
        for key, size in {"descrip": 80, "aux_file": 24, "intent_name": 16, "db_name": 18}.items():
            image_.header[key] = planter.text(f"{name} {key}")[:size]
        image_.header.extensions.append(nib.nifti1.Nifti1Extension("comment", planter.text(f"{name} comment").encode()))
        dicom = Dataset()
        dicom.PatientName = planter.text(f"{name} DICOM extension")
        image_.header.extensions.append(nib.nifti1.Nifti1DicomExtension(2, dicom))
        nib.save(image_, folder / name)
    raw = values.astype("<i2").tobytes()
    told = "".join(
        f"{line}\n"
        for line in (
            "NRRD0005", f"# {planter.text('nrrd comment')}", "type: short", "dimension: 3", "sizes: 8 8 4",
            "endian: little", "encoding: raw", "spacings: 1 1 1", f'content: "{planter.text("nrrd content")}"',
            f"patient:={planter.text('nrrd key and value')}", f"{planter.text('nrrd key')}:=x",
        )
    )  # fmt: skip
    (folder / "a.nrrd").write_bytes(told.encode() + b"\n" + raw)
    detached = told + f"data file: {planter.path('nrrd data file')}.raw\n"
    (folder / "b.nhdr").write_text(detached)
    (folder / detached.splitlines()[-1].split(": ")[1]).write_bytes(raw)
    meta = (
        f"ObjectType = Image\nComment = {planter.text('MetaImage comment')}\nName = {planter.text('MetaImage name')}\n"
        f"PatientName = {planter.text('MetaImage own field')}\nNDims = 3\nDimSize = 8 8 4\nElementSpacing = 1 1 1\n"
        f"BinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nModality = {planter.text('MetaImage modality')}\n"
        f"AcquisitionDate = {planter.text('MetaImage date')}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (folder / "a.mha").write_bytes(meta.encode() + raw)
    np.savez(folder / "a.npz", **{planter.text("npz member"): values})
    with zipfile.ZipFile(folder / "a.npz", "a") as archived:
        archived.comment = planter.text("npz comment").encode()
    np.savez(folder / "several.npz", **{planter.text("npz member of several"): values, "x": values})
    _spectralis(folder / "a.vol", planter, random)


def _spectralis(path: Path, planter: Planter, random: np.random.Generator) -> None:
    """Write a raw export of 3 B-scans, with everything that its header can hold."""
    columns, scans, rows, scan_header = 16, 3, 12, 256
    head = bytearray(2048)
    fixed = (b"HSF-OCT-103", columns, scans, rows, 0.01, 0.1, 0.004, 4, 4, 0.1, 0.1, 0, 1.0, b"OD", 0, 3, scan_header)
    names = [planter.text(place).encode() for place in ("VOL id", "VOL reference id", "VOL patient id")]
    struct.pack_into("<12s3i3d2i2did4sq2i16s16si24s", head, 0, *fixed, *names[:2], 1, names[2])
    for place, offset in (("VOL padding", 220), ("VOL date of birth", 300), ("VOL name", 400), ("VOL visit", 1900)):
        struct.pack_into("<16s", head, offset, planter.text(place).encode())
    body = planter.text("VOL infrared picture").encode()[:16].ljust(16, b"\0")
    for number in range(scans):
        scan = bytearray(scan_header)
        struct.pack_into("<16s4d", scan, 0, b"HSF-BS-103", 0, 0.1 * number, 0.16, 0.1 * number)
        struct.pack_into("<16s", scan, 200, planter.text(f"VOL header of B-scan {number}").encode())
        body += bytes(scan) + random.random((rows, columns)).astype("<f4").tobytes()
    path.write_bytes(bytes(head) + body)


def _others(folder: Path, planter: Planter, random: np.random.Generator) -> None:
    """Write DICOM in other forms: a series, captures, documents, other transfer syntaxes and character sets."""
    values = random.integers(0, 200, (16, 16), dtype=np.uint8)
    series, study, frame = (planter.of_vr("UI", f"CT {name}") for name in ("series", "study", "frame of reference"))
    for k in range(3):
        part = image(planter, f"CT {k}", values, uid.CTImageStorage, "CT")
        part.SeriesInstanceUID, part.StudyInstanceUID, part.FrameOfReferenceUID = series, study, frame
        part.ImagePositionPatient, part.ImageOrientationPatient = [0, 0, 2 * k], [1, 0, 0, 0, 1, 0]
        part.PixelSpacing = [1, 1]
        written(folder / "series" / f"{planter.path(f'CT {k} file')}.dcm", part)
    made = {
        "capture": uid.SecondaryCaptureImageStorage,
        "ultrasound": uid.UltrasoundImageStorage,
        "implicit": uid.DigitalXRayImageStorageForPresentation,
        "big": uid.DigitalXRayImageStorageForPresentation,
        "deflated": uid.DigitalXRayImageStorageForPresentation,
        "bare": uid.DigitalXRayImageStorageForPresentation,
        "burned": uid.DigitalXRayImageStorageForPresentation,
        "cyrillic": uid.DigitalXRayImageStorageForPresentation,
        "padded": uid.DigitalXRayImageStorageForPresentation,
    }
    syntaxes = {"implicit": uid.ImplicitVRLittleEndian, "big": uid.ExplicitVRBigEndian,
                "deflated": uid.DeflatedExplicitVRLittleEndian}  # fmt: skip
    for name, kind in made.items():
        part = image(planter, name, values, kind, "US" if name == "ultrasound" else "DX")
        part.file_meta.TransferSyntaxUID = syntaxes.get(name, uid.ExplicitVRLittleEndian)
        if name == "burned":
            part.BurnedInAnnotation = "YES"
        if name == "cyrillic":
            part.SpecificCharacterSet = "ISO_IR 192"
            part.PatientName = planter.text("cyrillic patient name") + "^Ж"
        if name == "bare":
            part.file_meta, part.preamble = FileMetaDataset(), None
            pydicom.dcmwrite(folder / name, part, implicit_vr=True, little_endian=True, enforce_file_format=False)
            continue
        written(folder / f"{name}.dcm", part)
    with (folder / "padded.dcm").open("ab") as handle:
        handle.write(planter.text("after the last element").encode())
    for name, kind in {"report": uid.BasicTextSRStorage, "document": uid.EncapsulatedPDFStorage}.items():
        part = image(planter, name, values, kind, "SR")
        del part.PixelData, part.Rows, part.Columns
        written(folder / f"{name}.dcm", part)
    (folder / f"{planter.path('text file')}.txt").write_text(planter.text("text file"))
    (folder / "list.xml").write_text(f"<patient>{planter.text('XML file')}</patient>")
    (folder / "packed.gz").write_bytes(gzip.compress(planter.text("gzip file").encode()))


def _damaged(folder: Path, planter: Planter, random: np.random.Generator) -> None:
    """Write files whose reasons could quote them."""
    values = random.integers(0, 200, (16, 16), dtype=np.uint8)
    place = folder / "damaged"
    place.mkdir()
    kind = uid.DigitalXRayImageStorageForPresentation

    def dicom(name: str, change) -> None:
        part = image(planter, name, values, kind, "DX")
        change(part)
        written(place / f"{name}.dcm", part)

    def lie(tag: int, vr: str, value: bytes):
        raw = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True, True)
        return lambda part: part.add(raw)

    def told(text: str) -> bytes:
        return planter.text(text).encode().ljust(14)

    with pydicom.config.disable_value_validation():
        dicom("frames", lie(0x00280008, "IS", told("NumberOfFrames")))
        dicom("spacing", lie(0x00280030, "DS", told("PixelSpacing")))
        dicom("position", lie(0x00200032, "DS", told("ImagePositionPatient")))
        dicom("photometric", lambda part: setattr(part, "PhotometricInterpretation", planter.text("photometric")))
        dicom("modality", lambda part: setattr(part, "Modality", planter.text("modality").lower()))
        dicom("laterality", lambda part: setattr(part, "Laterality", planter.text("laterality")))
        dicom("charset", lambda part: setattr(part, "SpecificCharacterSet", planter.text("character set")))
        dicom("class", lambda part: setattr(part, "SOPClassUID", planter.of_vr("UI", "SOP class")))
        dicom("image-type", lambda part: setattr(part, "ImageType", ["ORIGINAL", planter.text("image type")]))
        dicom("rescale", lambda part: setattr(part, "RescaleType", planter.text("rescale type")))

        part = image(planter, "syntax", values, kind, "DX")
        part.file_meta.TransferSyntaxUID = planter.of_vr("UI", "transfer syntax")
        written(place / "syntax.dcm", part, implicit_vr=False, little_endian=True, enforce_file_format=False)
    whole = (place / "frames.dcm").read_bytes()
    (place / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    (place / "start.dcm").write_bytes(bytes(128) + b"DICM" + told("no element"))
    nrrd = "NRRD0004\ntype: {}\ndimension: 2\nsizes: 2 2\nencoding: {}\n{}\nabcd"
    (place / "a.nrrd").write_text(nrrd.format("uchar", planter.text("encoding"), ""))
    (place / "b.nrrd").write_text(nrrd.format(planter.text("nrrd type"), "raw", ""))
    unit = planter.text("unit")
    (place / "unit.nrrd").write_text(nrrd.format("uchar", "raw", f'spacings: 1 1\nunits: "{unit}" "mm"\n'))
    (place / "gone.nhdr").write_text(
        nrrd.format("uchar", "raw", f"data file: {planter.text('missing data file')}.raw\n")
    )
    meta = "ObjectType = Image\n{}NDims = {}\nDimSize = 2 2\nElementType = {}\nElementDataFile = LOCAL\nabcd"
    (place / "line.mha").write_text(meta.format(planter.text("line without a sign") + "\n", 2, "MET_UCHAR"))
    (place / "axes.mha").write_text(meta.format("", planter.text("axes"), "MET_UCHAR"))
    (place / "kind.mha").write_text(meta.format("", 2, planter.text("element type")))
    header = f"{{'descr': '{planter.text('npy type')}', 'fortran_order': False, 'shape': (2, 2)}}\n".encode()
    (place / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"abcd")
    chunk = planter.text("PNG chunk").encode()
    ihdr = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + ihdr + struct.pack(">I", zlib.crc32(b"IHDR" + ihdr))
    (place / "a.png").write_bytes(png + struct.pack(">I", len(chunk)) + chunk[-4:] + chunk)
    (place / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + told("TIFF directory"))
    (place / "a.jpg").write_bytes(b"\xff\xd8\xff\xe1\0\x20Exif\0\0" + told("JPEG"))
    nifti = nib.Nifti1Image(np.zeros((4, 4, 2), np.int16), np.eye(4)).to_bytes()
    (place / "a.nii").write_bytes(nifti[:148] + told("cut NIfTI") + nifti[162:360])
    (place / f"{planter.path('damaged file')}.dcm").write_bytes(b"")
    vol = bytearray((folder / "a.vol").read_bytes())
    vol[84:88] = b"ZQCA"
    (place / "eye.vol").write_bytes(bytes(vol))


def _labels(folder: Path, planter: Planter, rows: list[tuple[Path, int]]) -> Path:
    """Write the label table beside the archive: patients are ids of real people there, and a column of notes."""
    ids = {patient: planter.text(f"label table patient {patient}") for patient in range(PATIENTS)}
    table = folder.parent / "labels.csv"
    lines = ["file,patient_id,study_id,disease,note"]
    for path, patient in rows:
        place = path.relative_to(folder.parent).as_posix()
        study = planter.of_vr("UI", "label table study")
        lines.append(f"{place},{ids[patient]},{study},{'yes' if patient % 2 else 'no'},{planter.user('note')}")
    lines.append(f"{planter.path('label table, no such file')}.png,{planter.text('label table, nobody')},,yes,")
    table.write_text("\n".join(lines) + "\n")
    return table
