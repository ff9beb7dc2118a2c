"""NRRD and MetaImage, voxels within the file or in one beside it, recognised by content and decoded by SimpleITK.

ITK's axes run (column, row, slice) in patient LPS mm; they are returned as (C, slice, row, column) with the affine in
RAS permuted to match. Components of a voxel become channels. A spacing or orientation that the header does not state
is unknown, whatever ITK fills in.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from medssl.data.image import Image
from medssl.data.readers.parts.itk_header import Header, check_length, header_of, is_meta_image, is_nrrd
from medssl.data.readers.parts.said import plain
from medssl.data.readers.parts.values import as_values
from medssl.errors import DataError

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PERMUTE = np.eye(4)[[2, 1, 0, 3]]  # (slice, row, column) to (column, row, slice)
_BITS = {"8-bit": 8, "16-bit": 16, "32-bit": 32, "64-bit": 64}


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """Return whether the first bytes are an NRRD or MetaImage header; the name does not matter."""
    return is_nrrd(head) or is_meta_image(head)


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the row of a file from its header; `data_file`, no column, names the file beside it with its voxels.

    Raises:
        DataError: The header cannot be parsed, or the voxels are not all there.
    """
    header, reader = _opened(path, whole=False)
    columns, rows, slices = (*reader.GetSize(), 1)[:3]
    _, spacing, remarks = _place(header, reader)
    volume = slices > 1
    row = {
        "status": "ok",
        "ndim": 3 if volume else 2,
        "channels": reader.GetNumberOfComponents(),
        "rows": rows,
        "columns": columns,
        "slices": slices if volume else None,
        "row_spacing_mm": spacing[1],
        "column_spacing_mm": spacing[2],
        "slice_spacing_mm": spacing[0] if volume else None,
        "bits": _bits(reader, path),
        "remarks": remarks,
    }
    return [row | ({"data_file": header.data} if header.data != path else {})]


def read(path: Path, frame: int | None = None) -> Image:
    """Return a volume (C, slices, rows, columns), or a plane (C, rows, columns) where there is one slice.

    Raises:
        DataError: It cannot be read.
    """
    import SimpleITK as sitk  # noqa: N813

    header, reader = _opened(path, whole=True)
    try:
        values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise DataError(f"Cannot read the voxels: {_said(error)}", where=path) from error
    values = np.moveaxis(values, -1, 0) if reader.GetNumberOfComponents() > 1 else values[None]
    affine, spacing, remarks = _place(header, reader)
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    volume = values.ndim == 4
    provenance = {"path": str(path), "frame": frame, "inverted": False}
    array = np.ascontiguousarray(as_values(values, path))
    return Image(array, spacing if volume else spacing[1:], affine if volume else None, None, provenance, remarks)


def _opened(path: Path, *, whole: bool) -> tuple[Header, Any]:
    """Return the header, and ITK's reader that has read it, once the voxels are known to be there."""
    import SimpleITK as sitk  # noqa: N813

    header = header_of(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO({"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}[header.name])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"The {header.name} header cannot be parsed: {_said(error)}", where=path) from error
    size = [int(n) for n in reader.GetSize()]
    if len(size) not in (2, 3):
        raise DataError(f"The {header.name} has {len(size)} axes, only 2 and 3 are supported", where=path)
    if not all(0 < n < 2**31 - 1 for n in size):
        raise DataError(f"The {header.name} header has impossible dimensions {size}", where=path)
    turn = np.reshape(reader.GetDirection(), (len(size), len(size)))
    if not all(0 < step < math.inf for step in reader.GetSpacing()) or not abs(np.linalg.det(turn)) > 0:
        raise DataError(
            f"The {header.name} header has a spacing or directions that make no volume: "
            f"{list(reader.GetSpacing())}, {turn.ravel().tolist()}",
            where=path,
        )
    check_length(header, math.prod(size) * reader.GetNumberOfComponents() * _bits(reader, path) // 8, whole=whole)
    return header, reader


def _bits(reader: Any, path: Path) -> int:
    import SimpleITK as sitk  # noqa: N813

    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = next((b for word, b in _BITS.items() if word in kind), None)
    if bits is None or "complex" in kind:
        raise DataError(f"Voxels of type '{kind}' are not supported", where=path)
    return bits


def _place(header: Header, reader: Any) -> tuple[np.ndarray | None, tuple[float, float, float], list[str]]:
    """Return the affine, where it is stated, (slice, row, column) spacing in mm with NaN, and remarks."""
    axes, remarks = reader.GetDimension(), list(header.remarks)
    matrix = np.eye(4)
    matrix[:axes, :axes] = np.reshape(reader.GetDirection(), (axes, axes)) * reader.GetSpacing()
    matrix[:axes, 3] = reader.GetOrigin()
    matrix[:3] *= header.unit
    stated = header.spacing if len(header.spacing) == axes else (False,) * axes
    lengths = np.linalg.norm(matrix[:3, :axes], axis=0)
    known = [float(n) if ok and n > 0 and math.isfinite(n) else math.nan for n, ok in zip(lengths, stated, strict=True)]
    known += [math.nan] * (3 - axes)
    spacing = (known[2], known[1], known[0])
    if axes == 2 or reader.GetSize()[2] == 1:
        return None, spacing, remarks
    if not header.oriented or any(math.isnan(n) for n in spacing):
        return None, spacing, [*remarks, "the header does not state spacing and orientation: orientation unknown"]
    if not header.positioned:
        remarks.append("the header states no position: the first voxel is placed at the origin")
    return _TO_RAS @ matrix @ _PERMUTE, spacing, remarks


def _said(error: RuntimeError) -> str:
    """Return the last line of what ITK said, its root cause; MetaIO gives the last error of the system, often none."""
    last = str(error).strip().splitlines()[-1].strip(" .!")
    return "it breaks the format" if last.startswith("Reason:") else plain(last)
