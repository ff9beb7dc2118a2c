"""What an image file holds, as its reader understands it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from medssl.data.image import Image
from medssl.data.masking import KINDS, Names
from medssl.data.readers import read_file
from medssl.data.scan import describe
from medssl.errors import DataError
from medssl.report.inspected import Fact, Inspected, drawn, evenly, is_colour, listed
from medssl.report.sheet import Cell
from medssl.report.words import count, plural, significant

_MOST_PLANES = 16
_AXES = {2: ("rows", "columns"), 3: ("slices", "rows", "columns")}
_PERCENTILES = (1, 50, 99)


def inspect(path: Path, *, ids: bool) -> Inspected:
    """Return the facts of an image file and pictures of up to 16 evenly spaced slices or frames.

    Raises:
        DataError: It is no image that can be read.
    """
    rows = describe(path)
    usable = [row for row in rows if row["status"] == "ok"]
    if not usable:
        raise DataError(f"This is no image that can be used: {rows[0]['reason']}", where=path)
    places = evenly(len(usable), _MOST_PLANES)
    images = [read_file(path, usable[place].get("frame")) for place in places]
    names = Names(shown=ids, table=pd.DataFrame([{name: usable[0].get(name) for name in KINDS} | {"path": path.name}]))
    about = [*_identity(path, usable[0], names), *_pixels(usable, images), *_remarks(usable, images, names)]
    captions = [f"frame {place + 1} of {len(usable)}" for place in places] if len(usable) > 1 else ["image"]
    return Inspected(about, _cells(images, captions, usable[0].get("photometric")))


def _identity(path: Path, row: Mapping[str, Any], names: Names) -> list[Fact]:
    device = " ".join(str(row[name]) for name in ("manufacturer", "model") if row.get(name))
    facts = [("file", str(path) if names.shown else names.of("path", path.name))]
    facts += [("format", f"{row['format']}, {count(row['file_bytes'])} bytes")]
    facts += [(name.removesuffix("_id"), names.of(name, row[name])) for name in KINDS if row.get(name)]
    optional = {"modality": row.get("modality"), "device": device, "site": row.get("site") and names.site(row["site"])}
    optional["laterality"] = row.get("laterality")
    return facts + [(name, names.text(str(value))) for name, value in optional.items() if value]


def _pixels(rows: list[dict[str, Any]], images: list[Image]) -> list[Fact]:
    image, row = images[0], rows[0]
    axes = _AXES[image.spatial_dims]
    shape = " x ".join(map(str, image.array.shape[1:]))
    facts = [("frames", f"{len(rows)}, images of their own")] if len(rows) > 1 else []
    facts += [("shape", f"{shape} ({', '.join(axes)}), {plural(len(image.array), 'channel')}")]
    stored = ", ".join(filter(None, [f"{row.get('bits', 'unknown')} bits stored", row.get("photometric")]))
    facts += [("type", f"{image.array.dtype}, {stored}")]
    facts += [("spacing", _spacing(image, axes)), ("units", image.units or "unknown")]
    facts += [("orientation", _orientation(image))] if image.spatial_dims == 3 else []
    return [*facts, *_values(images, len(rows))]


def _spacing(image: Image, axes: tuple[str, ...]) -> str:
    spacing = image.spacing_mm or (float("nan"),) * len(axes)
    if not np.isfinite(spacing).any():
        return "unknown"
    told = [f"{axis} {f'{mm:.4g} mm' if np.isfinite(mm) else 'unknown'}" for axis, mm in zip(axes, spacing)]
    return ", ".join(told)


def _orientation(image: Image) -> str:
    """Say where slices, rows and columns go as their number grows: to the patient's R or L, A or P, S or I."""
    if image.affine is None:
        return "unknown"
    codes = nib.orientations.aff2axcodes(image.affine)
    return ", ".join(f"{axis} to {code or 'unknown'}" for axis, code in zip(_AXES[3], codes))


def _values(images: list[Image], frames: int) -> list[Fact]:
    values = np.concatenate([image.measured for image in images])
    finite = values[np.isfinite(values)]
    if not finite.size:
        return [("values", "none is finite" if values.size else "nothing but padding")]
    shown = f" (of the {len(images)} frames drawn)" if frames > len(images) else ""
    told = [("values", f"{_number(finite.min())} to {_number(finite.max())}{shown}")]
    quantiles = np.percentile(finite, _PERCENTILES)
    told += [("percentiles", ", ".join(f"{p} %: {_number(q)}" for p, q in zip(_PERCENTILES, quantiles)))]
    missing, everything = values.size - finite.size, sum(image.array.size for image in images)
    told += [("not finite", f"{count(missing)} of {count(values.size)} values")] if missing else []
    padded = everything - values.size
    return told + ([("padding", f"{count(padded)} of {count(everything)} values, not counted")] if padded else [])


def _number(value: Any) -> str:
    return str(int(value)) if float(value).is_integer() else significant(float(value), 4)


def _remarks(rows: list[dict[str, Any]], images: list[Image], names: Names) -> list[Fact]:
    said = [remark for row in rows for remark in row.get("remarks") or []]
    said += [remark for image in images for remark in image.remarks]
    return listed("remarks", dict.fromkeys(names.text(remark) for remark in said)) or [("remarks", "none")]


def _cells(images: list[Image], captions: list[str], photometric: object) -> list[Cell]:
    first = images[0].unpadded().array
    if images[0].spatial_dims == 3:
        places = evenly(first.shape[1], _MOST_PLANES)
        planes = [first[:, place] for place in places]
        captions = [f"slice {place + 1} of {first.shape[1]}" for place in places]
    else:
        planes = [image.unpadded().array for image in images]
    shown = drawn(planes, colour=is_colour(images[0], photometric))
    return [Cell(caption, picture) for caption, picture in zip(captions, shown, strict=True)]
