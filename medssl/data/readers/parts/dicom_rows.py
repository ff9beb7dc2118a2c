"""Manifest rows from a DICOM header."""

import math
import re
from pathlib import Path
from typing import Any

from pydicom import Dataset, uid
from pydicom.pixels import get_decoder

from medssl.data.columns import iso_day
from medssl.data.readers.parts.dicom_burned import burned_in
from medssl.data.readers.parts.dicom_bytes import pixels_missing
from medssl.data.readers.parts.dicom_frames import Layout, layout
from medssl.data.readers.parts.dicom_header import (
    Header,
    frame_count,
    group_item,
    integer,
    misplaced,
    named,
    open_header,
    sop_class,
    syntax,
    word,
)
from medssl.data.readers.parts.planes import plane_of

_NOT_IMAGES = {
    uid.MediaStorageDirectoryStorage: "a DICOMDIR, an index of other files",
    uid.SegmentationStorage: "a segmentation: a label, not an image",
    uid.RTDoseStorage: "a radiotherapy dose, not an image",
}
MOSAIC = "a mosaic: many slices side by side in one picture, not taken apart"
_WHOLE_SLIDE = uid.VLWholeSlideMicroscopyImageStorage
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_PHOTOMETRIC = {
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB",
}  # fmt: skip
_MANY = 10_000  # frames that are believed without a look at the size
_MOST_DEFLATED = 1032  # bytes that a byte can unpack to
_SIDES = {"R", "L", "B", "U"}
_SPACINGS = {  # where a spacing may stand, best first, and what to say of it
    "PixelSpacing": None,
    "ImagerPixelSpacing": "spacing is at the detector (ImagerPixelSpacing), not corrected for magnification",
    "NominalScannedPixelSpacing": "spacing is that of the film scanner",
}


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, from its header alone; that of a slice tells its `plane`, which is no column.

    Raises:
        DataError: The header cannot be parsed.
    """
    return rows_of(path, open_header(path))


def rows_of(path: Path, header: Header) -> list[dict[str, Any]]:
    """Return the rows of a file whose header is open."""
    dataset, rows = header.dataset, _identity(header)
    skipped = _not_an_image(header)
    if skipped:
        return [{**rows, "status": "skipped", "reason": skipped}]
    problem = _why_unreadable(path, header)
    if problem:
        return [{**rows, "status": "unreadable", "reason": problem}]
    found = layout(dataset)
    if found.kind == "frames":
        return [_described(header, found, rows, frame) for frame in range(frame_count(dataset))]
    plane = plane_of(dataset) if found.kind == "image" and not _is_mosaic(dataset) else None
    return [_described(header, found, rows, None) | ({"plane": plane} if plane else {})]


def spacing_of(dataset: Dataset, frame: int | None) -> tuple[tuple[float, float] | None, str | None]:
    """Return (row, column) spacing in mm, or None, and a remark on where it comes from."""
    measures = group_item(dataset, frame or 0, "PixelMeasuresSequence")
    for source in (measures, dataset):
        for name, remark in _SPACINGS.items():
            value = source.get(name) if source is not None else None
            if value is None or value == "":
                continue
            spacing = _two_lengths(value)
            return (spacing, remark) if spacing else (None, f"{name} is not two positive lengths: spacing unknown")
    return None, None


def _two_lengths(value: object) -> tuple[float, float] | None:
    try:
        row, column = (float(x) for x in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    good = all(math.isfinite(x) and x > 0 for x in (row, column))
    return (row, column) if good else None


def _identity(header: Header) -> dict[str, Any]:
    dataset = header.dataset
    names = {
        "patient_id": "PatientID",
        "study_id": "StudyInstanceUID",
        "series_id": "SeriesInstanceUID",
        "instance_id": "SOPInstanceUID",
        "modality": "Modality",
        "manufacturer": "Manufacturer",
        "model": "ManufacturerModelName",
        "site": "InstitutionName",
        "patient_name": "PatientName",  # this and the next are looked at by the scan, and dropped
        "issuer_of_patient_id": "IssuerOfPatientID",
    }
    remarks = ["no preamble and no file meta information"] if header.bare else []
    if header.warnings:
        what = "1 header value breaks" if header.warnings == 1 else f"{header.warnings} header values break"
        remarks.append(f"{what} the DICOM standard")
    told = {name: word(dataset.get(keyword)) for name, keyword in names.items()}
    return told | {
        "modality": _code(told["modality"]),
        "study_date": study_date(dataset),
        "burned_in": burned_in(dataset),
        "remarks": remarks,
    }


def study_date(dataset: Dataset) -> str | None:
    """Return the day of the study as YYYY-MM-DD: StudyDate, which archives sort by, else AcquisitionDate; or None.

    A StudyDate may be empty (type 2) where the device knew when it acquired. What is no day is unknown.
    """
    for keyword in ("StudyDate", "AcquisitionDate"):
        day = iso_day(word(dataset.get(keyword)) or "")
        if day:
            return day
    return None


def _code(text: str | None) -> str | None:
    """Return a coded word (VR CS); anything else could be a person's."""
    return text if text is not None and _CODE.fullmatch(text) else None


def _not_an_image(header: Header) -> str | None:
    dataset, kind = header.dataset, sop_class(header.dataset)
    if kind in _NOT_IMAGES:
        return _NOT_IMAGES[kind]
    has_pixels = header.pixels_at is not None or syntax(dataset) == uid.DeflatedExplicitVRLittleEndian
    if not kind or "Rows" in dataset or has_pixels or "Image Storage" in kind.name:
        return None
    name = kind.name if kind.name != kind else "an object of no standard class"
    return f"{name} without pixels, not an image"


def _why_unreadable(path: Path, header: Header) -> str | None:
    dataset = header.dataset
    deflated = syntax(dataset) == uid.DeflatedExplicitVRLittleEndian
    if header.pixels_at is None and not deflated:
        return "there is no pixel data: the file is truncated, or its pixels were removed"
    if not (integer(dataset.get("Rows")) and integer(dataset.get("Columns"))):
        return "the header gives no rows and columns"
    if sop_class(dataset) == _WHOLE_SLIDE:
        return "whole-slide microscopy is not supported yet"
    frames = frame_count(dataset)
    if frames > _MANY and frames > path.stat().st_size * 8 * (_MOST_DEFLATED if deflated else 1):
        return f"the header counts {frames} frames, more than the file has bits for"
    return _no_decoder(syntax(dataset)) or misplaced(dataset) or pixels_missing(path, header)


def _no_decoder(code: uid.UID) -> str | None:
    try:
        decoder = get_decoder(code)
    except NotImplementedError:
        return f"there is no decoder for {named(code)}"
    if decoder.is_available:
        return None
    missing = "; ".join(sorted(decoder.missing_dependencies))
    return f"no decoder is installed for {named(code)}: {missing}"


def _described(header: Header, found: Layout, identity: dict[str, Any], frame: int | None) -> dict[str, Any]:
    dataset = header.dataset
    spacing, remark = spacing_of(dataset, frame)
    photometric = word(dataset.get("PhotometricInterpretation"))
    remarks = [*identity["remarks"], *(r for r in (remark, found.remark) if r)]
    if photometric is not None and photometric not in _PHOTOMETRIC:
        photometric = None
        remarks.append("PhotometricInterpretation is no word of the standard")
    if photometric == "MONOCHROME1":
        remarks.append("MONOCHROME1: inverted on reading")
    if _is_mosaic(dataset):
        remarks.append(MOSAIC)
    return identity | {
        "frame": frame,
        "status": "ok",
        "ndim": 3 if found.kind == "volume" else 2,
        "channels": 3 if photometric == "PALETTE COLOR" else integer(dataset.get("SamplesPerPixel")) or 1,
        "rows": integer(dataset.Rows),
        "columns": integer(dataset.Columns),
        "slices": frame_count(dataset) if found.kind == "volume" else None,
        "row_spacing_mm": spacing[0] if spacing else None,
        "column_spacing_mm": spacing[1] if spacing else None,
        "slice_spacing_mm": found.slice_spacing_mm,
        "bits": integer(dataset.get("BitsStored")),
        "photometric": photometric,
        "laterality": _laterality(dataset, frame),
        "remarks": remarks,
    }


def _is_mosaic(dataset: Dataset) -> bool:
    """Return whether the picture is a contact sheet of slices, as Siemens (MOSAIC) and UIH (VFRAME) name it."""
    kinds = dataset.get("ImageType") or ()
    return not {"MOSAIC", "VFRAME"}.isdisjoint([kinds] if isinstance(kinds, str) else kinds)


def _laterality(dataset: Dataset, frame: int | None) -> str | None:
    anatomy = group_item(dataset, frame or 0, "FrameAnatomySequence")
    values = [anatomy.get("FrameLaterality") if anatomy is not None else None]
    values += [dataset.get("ImageLaterality"), dataset.get("Laterality")]
    return next((w for w in map(word, values) if w in _SIDES), None)
