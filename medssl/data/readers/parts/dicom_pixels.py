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
from pydicom import Dataset, dcmread, uid
from pydicom.pixels import apply_modality_lut, pixel_array

from medssl.data.image import Image
from medssl.data.readers.parts.colour import channels_first
from medssl.data.readers.parts.dicom_frames import layout
from medssl.data.readers.parts.dicom_header import (
    declare_syntax,
    first_line,
    frame_count,
    group_item,
    integer,
    is_bare,
    open_header,
    syntax,
    word,
)
from medssl.data.readers.parts.dicom_palette import coloured
from medssl.data.readers.parts.dicom_rows import spacing_of
from medssl.data.readers.parts.planes import Steps, affine, plane_of, steps, tilted
from medssl.errors import DataError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_INTEGERS = (np.uint8, np.uint16, np.int16, np.int32, np.int64)
_ONE_AT_A_TIME = threading.Lock()  # a lazily opened file has one position


class Rescale(NamedTuple):
    """Real value = slope x stored + intercept; `units` as the header names them."""

    slope: float
    intercept: float
    units: str | None


def read_plane(path: Path, frame: int | None) -> Image:
    """Return one plane, (C, rows, columns): the only one, or a frame of a multi-frame object.

    Raises:
        DataError: It cannot be decoded, or there is no such frame.
    """
    dataset = _without_pixels(str(path), _stamp(path))
    frames = frame_count(dataset)
    if (frame or 0) >= frames:
        raise DataError(f"There is no frame {frame}: the file has {frames}", where=path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values, decoder = _plane_values(path, dataset, frame or 0, frames)
    except Exception as error:  # decoders raise anything on foreign bytes
        raise _cannot_decode(path, dataset, error, frame) from error
    rescale = rescale_of(dataset, frame or 0)
    spacing, remark = spacing_of(dataset, frame)
    array, remarks = channels_first(values)
    provenance = _provenance(path, dataset, frame, decoder, rescale)
    array = _finished(array, dataset, rescale, provenance)
    units = None if provenance["inverted"] or array.shape[0] > 1 else rescale.units
    return Image(array, spacing, None, units, provenance, [*([remark] if remark else []), *remarks])


def read_volume(path: Path) -> Image:
    """Return a volume, (1, slices, rows, columns), sorted along its normal, with its affine in RAS mm.

    Raises:
        DataError: Its frames are no regular stack, or one cannot be decoded.
    """
    dataset = _without_pixels(str(path), _stamp(path))
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
        place = plane_of(_without_pixels(str(path), _stamp(path)))
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
    )


def rescale_of(dataset: Dataset, frame: int) -> Rescale:
    """Return the modality rescale of a frame; slope 1 and intercept 0 where the header has none."""
    group = group_item(dataset, frame, "PixelValueTransformationSequence")
    source = dataset if group is None else group
    if "RescaleSlope" not in source:
        return Rescale(1.0, 0.0, None)
    units = word(source.get("RescaleType")) or ("HU" if dataset.get("Modality") == "CT" else None)
    units = None if units == "US" else units  # "unspecified"
    return Rescale(float(source.RescaleSlope), float(source.get("RescaleIntercept", 0)), units)


def _plane_values(path: Path, dataset: Dataset, frame: int, frames: int) -> tuple[np.ndarray, str]:
    """Return (rows, columns[, 3]) rescaled values and who decoded them."""
    if frames > 1 and dataset.get("PhotometricInterpretation") != "PALETTE COLOR":
        try:
            with _ONE_AT_A_TIME:
                opened = _open_lazily(str(path), _stamp(path))
                plane = opened.get_frame(frame + 1, apply_presentation_lut=False, apply_icc_profile=False)
            return plane, "highdicom"
        except (KeyError, AttributeError, ValueError, TypeError, OSError, EOFError):
            pass  # refused over its header or its end; the pixels may be sound
    return _decoded_by_pydicom(path, dataset, frame if frames > 1 else None), "pydicom"


def _decoded_by_pydicom(path: Path, dataset: Dataset, frame: int | None) -> np.ndarray:
    try:
        values = pixel_array(_source(path, dataset), index=frame)
    except EOFError:
        values = pixel_array(_closed(path), index=frame)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return coloured(values, dataset)
    if "ModalityLUTSequence" in dataset:
        return apply_modality_lut(values, dataset)
    rescale = rescale_of(dataset, frame or 0)
    if values.ndim > 2 or (rescale.slope, rescale.intercept) == (1, 0):
        return values
    return values.astype(np.float64) * rescale.slope + rescale.intercept


def _source(path: Path, dataset: Dataset) -> Path | Dataset:
    """Return what pydicom decodes frames from: the file, or all of it where it cannot look for the pixels there."""
    with path.open("rb") as handle:
        bare = is_bare(handle.read(132))
    as_declared = dataset.original_encoding[0] == syntax(dataset).is_implicit_VR
    if not bare and as_declared and syntax(dataset) != uid.DeflatedExplicitVRLittleEndian:
        return path
    whole = dcmread(path, force=True)
    declare_syntax(whole)
    return whole


def _closed(path: Path) -> Dataset:
    """Return a data set whose compressed frames end as they should, where the file lost its last bytes."""
    header = open_header(path)
    if header.pixels_at is None or not syntax(header.dataset).is_encapsulated:
        raise EOFError("the file ends too early")
    items = path.read_bytes()[header.pixels_at + (8 if header.dataset.original_encoding[0] else 12) :]
    header.dataset.add_new("PixelData", "OB", items + b"\xfe\xff\xdd\xe0\0\0\0\0")
    header.dataset["PixelData"].is_undefined_length = True
    return header.dataset


def _finished(array: np.ndarray, dataset: Dataset, rescale: Rescale, provenance: dict[str, Any]) -> np.ndarray:
    """Return values inverted if need be, in the smallest type that holds all that the header can express."""
    array = _invert_if_needed(array, dataset, rescale, provenance)
    whole_numbers = rescale.slope.is_integer() and rescale.intercept.is_integer()
    if not whole_numbers or "FloatPixelData" in dataset or not np.array_equal(array, np.rint(array)):
        return array.astype(np.float32)
    expressible = _range(dataset, rescale) if array.shape[0] == 1 else (0.0, 255.0)
    low, high = min(*expressible, float(array.min())), max(*expressible, float(array.max()))
    kind = next(k for k in _INTEGERS if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    return np.ascontiguousarray(array.astype(kind))


def _invert_if_needed(array: np.ndarray, dataset: Dataset, rescale: Rescale, provenance: dict[str, Any]) -> np.ndarray:
    provenance["inverted"] = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    if not provenance["inverted"]:
        return array
    provenance["inversion"] = "MONOCHROME1: low + high - value, over the range of the stored bits"
    return (sum(_range(dataset, rescale)) - array.astype(np.float64)).astype(
        array.dtype if array.dtype.kind == "f" else float
    )


def _range(dataset: Dataset, rescale: Rescale) -> tuple[float, float]:
    """Return the real values of the lowest and the highest stored value."""
    bits = integer(dataset.get("BitsStored")) or 16
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
    code = syntax(dataset)
    which = "pixels" if frame is None else f"frame {frame}"
    return DataError(f"Cannot decode {which}, transfer syntax {code} ({code.name}): {first_line(error)}", where=path)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _without_pixels(path: str, _stamp: tuple[int, int]) -> Dataset:
    return open_header(Path(path)).dataset


@lru_cache(maxsize=4)
def _open_lazily(path: str, _stamp: tuple[int, int]) -> Any:
    import highdicom  # 0.5 s, and the scan of headers never needs it

    logging.getLogger("highdicom").setLevel(logging.CRITICAL)
    return highdicom.imread(path, lazy_frame_retrieval=True)
