"""Pixels of a DICOM object in real units.

Single frames are decoded by pydicom. Those of multi-frame objects go through highdicom, which applies each frame's own
rescale; where it refuses one, pydicom reads it. Volumes, of one file or of several, are put together here.
Photometric interpretation MONOCHROME1 (low values are bright) is inverted within the range of the stored bits.
"""

import logging
import threading
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut

from medssl.data.image import Display, Image
from medssl.data.readers.parts.colour import channels_first
from medssl.data.readers.parts.dicom_frames import layout
from medssl.data.readers.parts.dicom_header import (
    frame_count,
    group_item,
    integer,
    misplaced,
    named,
    syntax,
    word,
)
from medssl.data.readers.parts.dicom_padding import stored_padding
from medssl.data.readers.parts.dicom_palette import coloured
from medssl.data.readers.parts.dicom_rows import spacing_of
from medssl.data.readers.parts.dicom_source import Source, open_source
from medssl.data.readers.parts.dicom_stored import stored
from medssl.data.readers.parts.dicom_voi import voi_of
from medssl.data.readers.parts.planes import Steps, affine, plane_of, steps, tilted
from medssl.data.readers.parts.said import said
from medssl.data.readers.parts.suv import Uptake, uptake
from medssl.errors import DataError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME = 1e-4  # relative difference of two factors that are one
_INTEGERS = (np.uint8, np.uint16, np.int16, np.int32, np.int64)
_MOST_BITS = 64
_EXACT = 2**53  # whole numbers below it are exact in double precision, too
_TABLES = ("ModalityLUTSequence", "RealWorldValueMappingSequence")
_ONE_AT_A_TIME = threading.Lock()  # a lazily opened file has one position


class Rescale(NamedTuple):
    """Real value = slope x stored + intercept; `units` as the header names them."""

    slope: float
    intercept: float
    units: str | None


def header_of(path: Path) -> Dataset:
    """Return the elements before the pixels, kept for the frames that are read next.

    Raises:
        DataError: The header cannot be parsed.
    """
    return _source(str(path), _stamp(path)).dataset


def read_plane(path: Path, frame: int | None) -> Image:
    """Return one plane, (C, rows, columns): the only one, or a frame of a multi-frame object.

    Raises:
        DataError: It cannot be decoded, or there is no such frame.
    """
    dataset = header_of(path)
    frames = frame_count(dataset)
    if (frame or 0) >= frames:
        raise DataError(f"There is no frame {frame}: the file has {frames}", where=path)
    own_groups = "PerFrameFunctionalGroupsSequence" in dataset
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rescale, spacing, remark, plain = _facts(str(path), _stamp(path), (frame or 0) if own_groups else 0)
            values, decoder = _plane_values(path, dataset, frame or 0, plain=plain or frames == 1)
            as_stored = decoder == "pydicom" and values.ndim == 2 and "ModalityLUTSequence" not in dataset
            array, remarks = channels_first(values)
            provenance = _provenance(path, dataset, frame, decoder, rescale)
            linear = (rescale.slope, rescale.intercept) if as_stored else (1.0, 0.0)
            array = _finished(array, dataset, rescale, linear, provenance)
    except DataError:
        raise
    except Exception as error:  # decoders raise anything on foreign bytes
        raise _cannot_decode(path, dataset, error, frame) from error
    grey, inverted = array.shape[0] == 1, provenance["inverted"]
    told, known = uptake_of(dataset, rescale), grey and not inverted
    padding, note = _padding(dataset, rescale, plain=plain, inverted=inverted) if grey else (None, None)
    return Image(
        array,
        spacing,
        None,
        told.units if known else None,
        provenance,
        [text for text in (remark, *remarks, told.remark, note) if text],
        told.scales if known else {},
        padding,
        voi_of(dataset, frame or 0, _range(dataset, rescale), inverted=inverted) if grey else None,
    )


def read_volume(path: Path) -> Image:
    """Return a volume, (1, slices, rows, columns), sorted along its normal, with its affine in RAS mm.

    Raises:
        DataError: Its frames are no regular stack, or one cannot be decoded.
    """
    dataset = header_of(path)
    found = layout(dataset)
    if found.kind != "volume":
        why = found.remark or "its frames are images of their own"
        raise DataError(f"This object is not one volume: {why}", where=path, fix="Read it frame by frame")
    places = [group_item(dataset, frame, "PlanePositionSequence") for frame in range(frame_count(dataset))]
    positions = np.array([[float(x) for x in place.ImagePositionPatient] for place in places if place is not None])
    turned = group_item(dataset, 0, "PlaneOrientationSequence")
    assert turned is not None  # noqa: S101 (`layout` has looked)
    orientation = np.array([float(x) for x in turned.ImageOrientationPatient])
    stepped = steps(positions, orientation)
    slices = [read_plane(path, int(frame)) for frame in stepped.order]
    if slices[0].spacing_mm is None:
        raise DataError("This volume has no spacing", where=path, fix="Read it frame by frame")
    return _stacked(slices, positions[stepped.order[0]], orientation, stepped, {"frame": None})


def read_stack(paths: Sequence[Path]) -> Image:
    """Return the slices of several files as one volume, (1, slices, rows, columns), with its affine in RAS mm.

    A gantry tilt is kept: the affine is then sheared, and nothing is resampled.

    Args:
        paths: In the order of slices.

    Raises:
        DataError: A slice cannot be decoded, or they are no regular stack (any more).
    """
    slices, places = [read_plane(path, None) for path in paths], []
    for path, image in zip(paths, slices, strict=True):
        place = plane_of(header_of(path))
        if place is None or image.spacing_mm is None or image.array.shape != slices[0].array.shape:
            raise DataError("This slice does not fit to the others of its volume", where=path, fix="Scan again")
        places.append(place)
    orientation = np.array(places[0].orientation)
    found = steps(np.array([place.position for place in places]), orientation)
    if found.problem or not np.array_equal(found.order, np.arange(len(paths))):
        why = found.problem or "have changed their order"
        raise DataError(f"The slices of this volume {why}", where=paths[0].parent, fix="Scan the folder again")
    about = {"slices": len(slices), "last": str(paths[-1])}
    return _stacked(slices, np.array(places[0].position), orientation, found, about)


def _padding(
    dataset: Dataset, rescale: Rescale, *, plain: bool, inverted: bool
) -> tuple[tuple[float, float] | None, str | None]:
    """Return the lowest and the highest real value that is padding, or why that is unknown."""
    found = stored_padding(dataset)
    if found is None or rescale.slope == 0:
        return None, None
    if not plain:
        return None, "padding is not told apart: a table makes real values of stored ones"
    low, high = sorted(rescale.slope * value + rescale.intercept for value in found)
    if inverted:
        low, high = (sum(_range(dataset, rescale)) - end for end in (high, low))
    slack = abs(rescale.slope) / 4  # of one step, as single precision rounds
    return (low - slack, high + slack), None


def _stacked(
    slices: list[Image], corner: np.ndarray, orientation: np.ndarray, found: Steps, about: dict[str, Any]
) -> Image:
    """Return sorted slices (1, rows, columns) as one volume in a type that holds all of them, float32 at the widest.

    Args:
        slices: Along the normal.
        corner: Position of the first, (3,) mm LPS.
        orientation: (6,) direction cosines.
        found: How they step.
        about: What the provenance of the volume says over that of its first slice.
    """
    first, spacing = slices[0], slices[0].spacing_mm
    assert spacing is not None  # noqa: S101 (both callers have looked)
    array = np.stack([image.array for image in slices], axis=1)
    array = array.astype(np.float32) if array.dtype == np.float64 else array
    matrix = affine(corner, orientation, found.step, (spacing[0], spacing[1]))
    remarks = list(dict.fromkeys(remark for image in slices for remark in image.remarks))
    if not found.along_normal:
        remarks.append(tilted(found))
    return Image(
        array,
        (found.length, *spacing),
        _LPS_TO_RAS @ matrix,
        first.units if len({image.units for image in slices}) == 1 else None,
        {**first.provenance, **about},
        remarks,
        _common([image.scales for image in slices], remarks),
        _padding_of_all(slices, remarks),
        _shown_of_all(slices, remarks),
    )


def _padding_of_all(slices: Sequence[Image], remarks: list[str]) -> tuple[float, float] | None:
    """Return the padding that all slices share; says where they differ."""
    found = {image.padding for image in slices}
    if len(found) > 1:
        remarks.append("padding is not told apart: slices name different values")
        return None
    return found.pop()


def _shown_of_all(slices: Sequence[Image], remarks: list[str]) -> Display | None:
    """Return how all slices are to be shown: as the middle one says, or the nearest whose VOI LUT can be applied."""
    middle = len(slices) // 2
    found = [slices[place].voi for place in sorted(range(len(slices)), key=lambda place: abs(place - middle))]
    shown = next((voi for voi in found if voi is not None and voi.usable), found[0])
    if shown is not found[0]:
        remarks.append("the middle slice has no VOI LUT that can be applied: that of the nearest slice that has one is")
    return shown


def _common(scales: Sequence[dict[str, float]], remarks: list[str]) -> dict[str, float]:
    """Return the factors that all slices share; says where they differ."""
    first = scales[0]
    if any(each.keys() != first.keys() for each in scales):
        remarks.append("SUV is unknown: some slices do not give it")
        return {}
    if any(abs(each[unit] / first[unit] - 1) > _SAME for each in scales for unit in first):
        remarks.append("SUV is unknown: slices give different factors")
        return {}
    return first


def uptake_of(dataset: Dataset, rescale: Rescale) -> Uptake:
    """Return what rescaled values are, and what they can be turned into; more than the unit for PET only."""
    return uptake(dataset) if dataset.get("Modality") == "PT" else Uptake(rescale.units, {}, None)


def forget() -> None:
    """Drop what is kept of files that were read; only a measurement needs it."""
    _source.cache_clear()
    _facts.cache_clear()
    _open_lazily.cache_clear()


def rescale_of(dataset: Dataset, frame: int) -> Rescale:
    """Return the modality rescale of a frame; slope 1 and intercept 0 where the header has none."""
    group = group_item(dataset, frame, "PixelValueTransformationSequence")
    source = dataset if group is None else group
    if "RescaleSlope" not in source:
        return Rescale(1.0, 0.0, None)
    units = word(source.get("RescaleType")) or ("HU" if dataset.get("Modality") == "CT" else None)
    units = None if units == "US" else units  # "unspecified"
    return Rescale(float(source.RescaleSlope), float(source.get("RescaleIntercept", 0)), units)


def _plane_values(path: Path, dataset: Dataset, frame: int, *, plain: bool) -> tuple[np.ndarray, str]:
    """Return (rows, columns[, 3]) and who made them: "highdicom" has rescaled them, "pydicom" gives what is stored."""
    if not plain and dataset.get("PhotometricInterpretation") != "PALETTE COLOR":
        try:
            with _ONE_AT_A_TIME:
                opened = _open_lazily(str(path), _stamp(path))
                plane = opened.get_frame(frame + 1, apply_presentation_lut=False, apply_icc_profile=False)
            return plane, "highdicom"
        except (KeyError, AttributeError, ValueError, TypeError, OSError, EOFError):
            pass  # refused over its header or its end; the pixels may be sound
    return _looked_up(stored(_source(str(path), _stamp(path)), frame), dataset), "pydicom"


def _plain(dataset: Dataset, frame: int) -> bool:
    """Return whether real values are slope x stored + intercept: no table of values, real-world mapping or palette."""
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return False
    if any(name in dataset for name in _TABLES):
        return False
    return all(group_item(dataset, frame, name) is None for name in _TABLES[1:])


def _looked_up(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return stored values through the tables of the header; without any, as they are."""
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return coloured(values, dataset)
    return apply_modality_lut(values, dataset) if "ModalityLUTSequence" in dataset else values


def _finished(
    array: np.ndarray, dataset: Dataset, rescale: Rescale, linear: tuple[float, float], provenance: dict[str, Any]
) -> np.ndarray:
    """Return real values, inverted if need be, in the smallest type that holds all that the header can express.

    Args:
        array: (C, rows, columns).
        dataset: The header.
        rescale: What the header says.
        linear: Slope and intercept that are still to be applied.
        provenance: Told whether it was inverted.
    """
    whole_numbers = rescale.slope.is_integer() and rescale.intercept.is_integer() and "FloatPixelData" not in dataset
    if whole_numbers and array.dtype.kind in "iu":
        provenance |= _inversion(dataset)
        found = _whole(array, dataset, rescale, linear, inverted=provenance["inverted"])
        if found is not None:
            return found
    if linear != (1, 0):
        array = array.astype(np.float64) * linear[0] + linear[1]
    array = _invert_if_needed(array, dataset, rescale, provenance)
    if not whole_numbers or not np.array_equal(array, np.rint(array)):
        return array.astype(np.float32)
    kind = _smallest(float(array.min()), float(array.max()), array, dataset, rescale)
    return np.ascontiguousarray(array.astype(kind))


def _whole(
    array: np.ndarray, dataset: Dataset, rescale: Rescale, linear: tuple[float, float], *, inverted: bool
) -> np.ndarray | None:
    """Return integers computed as integers, a tenth of the time that double precision takes; None where they are huge.

    Sums and products are modulo the size of the type, so that only the result has to fit.
    """
    slope, intercept = (int(value) for value in linear)
    if inverted:
        slope, intercept = -slope, int(sum(_range(dataset, rescale))) - intercept
    if (slope, intercept, array.dtype) == (1, 0, np.uint8) and _expressible(array, dataset, rescale) == (0, 255):
        return np.ascontiguousarray(array)
    ends = [slope * int(value) + intercept for value in (array.min(), array.max())]
    if max(map(abs, (*ends, slope, intercept))) >= _EXACT:
        return None
    kind = _smallest(min(ends), max(ends), array, dataset, rescale)
    values: np.ndarray = np.ascontiguousarray(array, dtype=kind)  # fresh from the decoder: it may be worked on in place
    if slope != 1:
        values *= np.int64(slope).astype(kind)
    if intercept:
        values += np.int64(intercept).astype(kind)
    return values


def _smallest(low: float, high: float, array: np.ndarray, dataset: Dataset, rescale: Rescale) -> type:
    first, last = _expressible(array, dataset, rescale)
    low, high = min(first, last, low), max(first, last, high)
    kind = next((k for k in _INTEGERS if np.iinfo(k).min <= low and high <= np.iinfo(k).max), None)
    if kind is None:
        raise ValueError(f"values from {low:g} to {high:g} fit in no type of whole numbers")
    return kind


def _expressible(array: np.ndarray, dataset: Dataset, rescale: Rescale) -> tuple[float, float]:
    return _range(dataset, rescale) if array.shape[0] == 1 else (0.0, 255.0)


def _inversion(dataset: Dataset) -> dict[str, Any]:
    if dataset.get("PhotometricInterpretation") != "MONOCHROME1":
        return {"inverted": False}
    return {"inverted": True, "inversion": "MONOCHROME1: low + high - value, over the range of the stored bits"}


def _invert_if_needed(array: np.ndarray, dataset: Dataset, rescale: Rescale, provenance: dict[str, Any]) -> np.ndarray:
    provenance |= _inversion(dataset)
    if not provenance["inverted"]:
        return array
    return (sum(_range(dataset, rescale)) - array.astype(np.float64)).astype(
        array.dtype if array.dtype.kind == "f" else float
    )


def _range(dataset: Dataset, rescale: Rescale) -> tuple[float, float]:
    """Return the real values of the lowest and the highest stored value."""
    bits = integer(dataset.get("BitsStored")) or 16
    if not 0 < bits <= _MOST_BITS:
        raise ValueError(f"{bits} bits stored")
    low = -(2 ** (bits - 1)) if integer(dataset.get("PixelRepresentation")) else 0
    return tuple(rescale.slope * v + rescale.intercept for v in (low, low + 2**bits - 1))  # type: ignore[return-value]


def _provenance(path: Path, dataset: Dataset, frame: int | None, decoder: str, rescale: Rescale) -> dict[str, Any]:
    return {
        "path": str(path),
        "frame": frame,
        "decoder": decoder,
        "transfer_syntax": str(syntax(dataset)),
        "photometric": word(dataset.get("PhotometricInterpretation")),
        "rescale": (rescale.slope, rescale.intercept),
    }


def _cannot_decode(path: Path, dataset: Dataset, error: Exception, frame: int | None) -> DataError:
    which = "pixels" if frame is None else f"frame {frame}"
    return DataError(f"Cannot decode {which}, {named(syntax(dataset))}: {said(error)}", where=path)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _source(path: str, _stamp: tuple[int, int]) -> Source:
    return open_source(Path(path))


@lru_cache(maxsize=4)
def _facts(path: str, stamp: tuple[int, int], frame: int) -> tuple[Rescale, Any, str | None, bool]:
    """Return rescale, spacing, a remark on the spacing, and whether the values of a frame are plain."""
    dataset = _source(path, stamp).dataset
    problem = misplaced(dataset)
    if problem:
        raise DataError(problem[0].upper() + problem[1:], where=path)
    return rescale_of(dataset, frame), *spacing_of(dataset, frame), _plain(dataset, frame)


@lru_cache(maxsize=4)
def _open_lazily(path: str, _stamp: tuple[int, int]) -> Any:
    import highdicom  # 0.5 s, and the scan of headers never needs it

    logging.getLogger("highdicom").setLevel(logging.CRITICAL)
    return highdicom.imread(path, lazy_frame_retrieval=True)
