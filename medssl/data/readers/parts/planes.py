"""Where slices lie in the patient, and whether they step evenly: the geometry that frames and files share.

Positions and directions are DICOM's (LPS, mm). Only `ImagePositionPatient` and `ImageOrientationPatient` are believed:
slice thickness, `SpacingBetweenSlices`, slice location and the gantry tilt element are known to lie.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from pydicom import Dataset

from medssl.data.readers.parts.dicom_header import word

MOST_ANGLE = 1e-3  # of a direction cosine
MOST_STEP = 0.01  # relative deviation of a step from the mean step
_LEAST_STEP = 1e-3  # mm
_KIND = ("ImageType", "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "DiffusionBValue", "FrameOfReferenceUID")
_ORDER = ("AcquisitionNumber", "InstanceNumber")


class Plane(NamedTuple):
    """A slice of a stack.

    Attributes:
        position: Of the centre of its first pixel, (3,) mm.
        orientation: Direction cosines of a row and of a column, (6,).
        kind: What is equal among the slices of one stack: image type, echo, time, diffusion, frame of reference.
        order: Acquisition and instance number, infinite where unknown.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    kind: tuple[str | None, ...]
    order: tuple[float, ...]


class Steps(NamedTuple):
    """How slices step.

    Attributes:
        order: Places of the slices along their normal, (n,).
        step: From one slice to the next, (3,) mm; the mean.
        lengths: Of each step, (n - 1,) mm.
        tilt_degrees: Between the step and the normal.
        problem: Why they do not step evenly, or None.
    """

    order: np.ndarray
    step: np.ndarray
    lengths: np.ndarray
    tilt_degrees: float
    problem: str | None

    @property
    def length(self) -> float:
        """From one slice to the next, in mm."""
        return float(np.linalg.norm(self.step))

    @property
    def along_normal(self) -> bool:
        """Whether the slices step along their normal: there is no tilt."""
        return bool(np.tan(np.radians(self.tilt_degrees)) <= MOST_STEP)


def plane_of(dataset: Dataset) -> Plane | None:
    """Return where a single-frame object lies, or None where its header does not say."""
    try:
        position = tuple(float(x) for x in dataset.ImagePositionPatient)
        orientation = tuple(float(x) for x in dataset.ImageOrientationPatient)
    except (AttributeError, TypeError, ValueError):
        return None
    if len(position) != 3 or len(orientation) != 6 or not all(map(math.isfinite, (*position, *orientation))):
        return None
    row, column = orientation[:3], orientation[3:]
    if abs(_dot(row, column)) > 0.01 or min(_dot(row, row), _dot(column, column)) < 0.9:
        return None
    return Plane(position, orientation, tuple(_words(dataset, name) for name in _KIND), _numbers(dataset))


def _dot(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def same_direction(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two orientations (6,) are equal."""
    return bool(np.abs(np.asarray(one) - np.asarray(other)).max() <= MOST_ANGLE)


def normal_of(orientation: np.ndarray) -> np.ndarray:
    """Return the unit vector that rows, columns and it are right-handed with, (6,) -> (3,)."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def steps(positions: np.ndarray, orientation: np.ndarray) -> Steps:
    """Sort slices of one orientation along their normal, and say whether they step evenly.

    Args:
        positions: (n, 3) in mm, n at least 2.
        orientation: (6,) direction cosines.
    """
    normal = normal_of(orientation)
    order = np.argsort(positions @ normal, kind="stable")
    each = np.diff(positions[order], axis=0)
    along, step = each @ normal, each.mean(axis=0)
    mean = float(along.mean())
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(step - mean * normal), max(mean, _LEAST_STEP))))
    problem = None
    if along.min() < _LEAST_STEP * max(mean, 1.0):
        problem = "repeat a position"
    elif np.abs(along - mean).max() > MOST_STEP * mean:
        problem = f"step unevenly ({along.min():.3g} to {along.max():.3g} mm)"
    elif np.abs(each - step).max() > MOST_STEP * mean:
        problem = "do not step along one line"
    return Steps(order, step, np.linalg.norm(each, axis=1), tilt, problem)


def tilted(found: Steps) -> str:
    """Return the remark on slices that step obliquely."""
    return f"gantry tilt: slices step {found.tilt_degrees:.1f} degrees off their normal, the affine is sheared"


def affine(position: np.ndarray, orientation: np.ndarray, step: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Return the (4, 4) matrix from (slice, row, column) indices to LPS mm; sheared where the step is oblique.

    Args:
        position: Of the first slice, (3,).
        orientation: (6,).
        step: From one slice to the next, (3,).
        spacing: From one row to the next, and from one column to the next, in mm.
    """
    result = np.eye(4)
    result[:3, 0], result[:3, 3] = step, position
    result[:3, 1] = np.asarray(orientation[3:]) * spacing[0]  # row numbers grow along a column
    result[:3, 2] = np.asarray(orientation[:3]) * spacing[1]
    return result


def _words(dataset: Dataset, name: str) -> str | None:
    value: Any = dataset.get(name)
    return "\\".join(map(str, value)) if name == "ImageType" and value is not None else word(value)


def _numbers(dataset: Dataset) -> tuple[float, ...]:
    found = []
    for name in _ORDER:
        try:
            found.append(float(dataset.get(name)))
        except (TypeError, ValueError):
            found.append(float("inf"))
    return tuple(found)
