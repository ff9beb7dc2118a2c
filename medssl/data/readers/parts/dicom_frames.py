"""What the frames of a multi-frame object are: images of their own, or the planes of one volume.

B-scans of ophthalmic tomography, ultrasound, angiography and photographs are images. Frames with positions are one
volume when all have one orientation and step evenly along its normal. Anything else (three orientations in one file,
repeated positions, a tilt, a gap) is left as single frames, with a remark that says why.
"""

from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from medssl.data.readers.parts.dicom_header import frame_count, group_item, sop_class
from medssl.data.readers.parts.planes import MOST_ANGLE, steps

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_FRAMES_ARE_IMAGES = {
    f"{_STORAGE}{suffix}": what
    for suffix, what in {
        "77.1.5.4": "ophthalmic tomography",
        "3": "ultrasound",
        "3.1": "ultrasound",
        "12.1": "angiography",
        "12.1.1": "angiography",
        "12.2": "fluoroscopy",
        "12.2.1": "fluoroscopy",
        "7.1": "secondary capture",
        "7.2": "secondary capture",
        "7.3": "secondary capture",
        "7.4": "secondary capture",
        "77.1.1.1": "endoscopy",
        "77.1.4.1": "photography",
        "77.1.5.1": "ophthalmic photography",
        "77.1.5.2": "ophthalmic photography",
    }.items()
}


class Layout(NamedTuple):
    """The meaning of an object's frames.

    Attributes:
        kind: "image" (one plane), "frames" (each a row) or "volume".
        slice_spacing_mm: Of a volume.
        remark: Why frames with positions are no volume.
    """

    kind: str
    slice_spacing_mm: float | None = None
    remark: str | None = None


def layout(dataset: Dataset) -> Layout:
    """Return what the frames of an object are."""
    frames = frame_count(dataset)
    if frames == 1:
        return Layout("image")
    if sop_class(dataset) in _FRAMES_ARE_IMAGES:
        return Layout("frames")
    try:
        return _stack(dataset, frames)
    except (AttributeError, TypeError, ValueError, IndexError):
        return Layout("frames", remark="frames without usable positions: read as single images")


def _stack(dataset: Dataset, frames: int) -> Layout:
    positions, orientations = [], []
    for frame in range(frames):
        position = group_item(dataset, frame, "PlanePositionSequence")
        orientation = group_item(dataset, frame, "PlaneOrientationSequence")
        if position is None or orientation is None:
            return Layout("frames", remark="frames without positions: read as single images")
        positions.append([float(x) for x in position.ImagePositionPatient])
        orientations.append([float(x) for x in orientation.ImageOrientationPatient])
    return _regular(np.array(positions), np.array(orientations))


def _regular(positions: np.ndarray, orientations: np.ndarray) -> Layout:
    """Return the layout of planes with (n, 3) corner positions in mm and (n, 6) direction cosines."""
    distinct = len(np.unique(np.round(orientations / MOST_ANGLE), axis=0))
    if np.abs(orientations - orientations[0]).max() > MOST_ANGLE:
        return _apart(f"frames have {distinct} orientations")
    found = steps(positions, orientations[0])
    if found.problem:
        return _apart(f"frames {found.problem}")
    if not found.along_normal:
        return _apart("frames step obliquely to their normal (tilt)")
    return Layout("volume", found.length)


def _apart(why: str) -> Layout:
    return Layout("frames", remark=f"{why}: read as single images")
