"""What the text of an NRRD or MetaImage header says, and what it leaves unsaid.

ITK fills in a spacing of 1 and an identity orientation where a header is silent, and follows a header's data file
anywhere; so the text is read here before ITK sees the file. Formats: teem.sourceforge.net/nrrd/format.html, and
MetaIO's documentation at itk.org/Wiki/MetaIO/Documentation.
"""

import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from medssl.errors import DataError

_LONGEST = 1 << 20  # bytes of a header
_OTHERS = {"bzip2", "bz2", "ascii", "text", "txt", "hex"}
_FEW = re.compile(r"\d{1,3}")
_MM = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "micron": 0.001}
_SPACES = {"right-anterior-superior", "left-anterior-superior", "left-posterior-superior", "ras", "las", "lps"}
_SPATIAL = {"domain", "space", "???"}
_RAW, _GZIP = {"raw"}, {"gzip", "gz"}
_LONGEST_LINE, _LONGEST_FOREIGN_LINE = 250, 5000  # characters of a MetaImage field, and of one that it does not know
_LISTS = {"DimSize": 1, "ElementSpacing": 1, "ElementSize": 1, "Offset": 1, "Origin": 1, "Position": 1}
_LISTS |= {"CenterOfRotation": 1, "TransformMatrix": 2, "Rotation": 2, "Orientation": 2}
_MOST = 1032  # bytes that one byte of a deflated stream can unpack to


@dataclass(frozen=True)
class Header:
    """What a header states.

    Attributes:
        name: "NRRD" or "MetaImage".
        data: The file that holds the voxels: the header's own, or one beside it.
        start: At least so many bytes come before the voxels.
        packed: Whether they are deflated.
        packed_bytes: Length of the deflated voxels, where stated.
        spacing: Whether the spacing along (x, y[, z]) is stated.
        oriented: Whether directions are stated, in a space that is the patient's.
        positioned: Whether the position of the first voxel is stated.
        unit: Millimetres in the unit of length; NaN where the unit is not known.
        remarks: What a person should know.
    """

    name: str
    data: Path
    start: int
    packed: bool
    packed_bytes: int | None
    spacing: tuple[bool, ...]
    oriented: bool
    positioned: bool
    unit: float
    remarks: tuple[str, ...]


def is_nrrd(head: bytes) -> bool:
    """Return whether these are the first bytes of an NRRD header."""
    return re.match(rb"NRRD000[1-5]\r?\n", head) is not None


def is_meta_image(head: bytes) -> bool:
    """Return whether these are the first bytes of a MetaImage header: its keys come in this order or another."""
    first = re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType|ID|Name)\s*=", head)
    kind = re.search(rb"^\s*ObjectType\s*=\s*(\w+)", head, re.M)
    return bool(first and re.search(rb"^\s*NDims\s*=\s*\d", head, re.M) and (kind is None or kind[1] == b"Image"))


def header_of(path: Path) -> Header:
    """Return what the header of a file states.

    Raises:
        DataError: It cannot be parsed, its encoding is not supported, or its voxels are not there.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(_LONGEST)
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    return _nrrd(path, head) if is_nrrd(head) else _meta_image(path, head)


def check_length(header: Header, needed: int, *, whole: bool) -> None:
    """Compare what is there of the voxels with what the header describes, before anything is allocated.

    Args:
        header: The header.
        needed: Bytes of the unpacked voxels.
        whole: Unpack a deflated file to count, even where the length that it states fits.

    Raises:
        DataError: Voxels are missing.
    """
    there = header.data.stat().st_size - header.start
    if not header.packed:
        found = there
    elif needed > _MOST * max(there, 0):
        raise DataError(
            f"The header describes {needed} bytes of voxels, more than {max(there, 0)} packed bytes can hold",
            where=header.data,
        )
    else:
        found = needed if not whole and _says(header, there, needed) else _unpacked_size(header, needed)
    if found < needed:
        raise DataError(f"The file is truncated: {needed - found} bytes of voxels are missing", where=header.data)


def _says(header: Header, there: int, needed: int) -> bool:
    """Return whether a deflated stream has the length that is stated of it: by the header, or at a gzip's end."""
    if header.packed_bytes is not None:
        return there >= header.packed_bytes > 0
    with header.data.open("rb") as handle:
        handle.seek(header.start)
        if handle.read(2) != b"\x1f\x8b":
            return False
        handle.seek(-4, 2)
        return struct.unpack("<I", handle.read(4))[0] == needed % 2**32


def _unpacked_size(header: Header, needed: int) -> int:
    """Return the size, up to `needed`, of what a gzip or zlib stream holds."""
    unpack, found = zlib.decompressobj(47), 0
    with header.data.open("rb") as handle:
        handle.seek(header.start)
        try:
            while found < needed and (chunk := handle.read(1 << 16)):
                found += len(unpack.decompress(chunk))
                while unpack.eof and (rest := unpack.unused_data):  # a gzip of several members
                    unpack = zlib.decompressobj(47)
                    found += len(unpack.decompress(rest))
        except zlib.error:
            pass
    return found


def _nrrd(path: Path, head: bytes) -> Header:
    text, attached, _ = (
        re.split(rb"(\r?\n\r?\n)", head, maxsplit=1) if re.search(rb"\n\r?\n", head) else (head, b"", b"")
    )
    fields = _fields(text, rb"^([\w ]+?):(?!=) ?(.*?)[ \t\r]*$", path, fold=True)
    name = fields.get("data file", fields.get("datafile"))
    if name is None and not attached:
        raise DataError("The NRRD header has no end and names no data file", where=path)
    encoding = fields.get("encoding", "").lower()
    if encoding not in _RAW | _GZIP:
        named = f"NRRD encoding '{encoding}'" if encoding in _OTHERS else "This NRRD encoding"
        raise DataError(f"{named} is not supported, only raw and gzip are", where=path)
    skip = int(_number(fields.get("byte skip", fields.get("byteskip", "0"))))
    start = len(text) + len(attached) if name is None else 0
    spacing, unit, remarks = _nrrd_spacing(fields)
    return Header(
        name="NRRD",
        data=path if name is None else _beside(path, name),
        start=start + (max(skip, 0) if encoding in _RAW else 0),
        packed=encoding in _GZIP,
        packed_bytes=None,
        spacing=spacing,
        oriented="space directions" in fields and fields.get("space", "").lower() in _SPACES,
        positioned="space origin" in fields,
        unit=unit,
        remarks=tuple(remarks),
    )


def _nrrd_spacing(fields: dict[str, str]) -> tuple[tuple[bool, ...], float, list[str]]:
    """Return which spacings are stated, the millimetres of their unit, and remarks."""
    kinds = fields.get("kinds", "").lower().split()
    if "space directions" in fields:
        axes = re.findall(r"\(([^)]*)\)", fields["space directions"])
        stated = [all(math.isfinite(_number(x)) for x in axis.split(",")) for axis in axes]
        units = fields.get("space units")
    else:
        values = fields.get("spacings", "").split()
        spatial = [v for n, v in enumerate(values) if n >= len(kinds) or kinds[n] in _SPATIAL]
        stated = [math.isfinite(_number(value)) and _number(value) != 0 for value in spatial]
        units = fields.get("units")
    words = {word for word in re.findall(r'"([^"]*)"', units or "") if word}
    return tuple(stated), *_unit(words, any(stated))


def _meta_image(path: Path, head: bytes) -> Header:
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*[=:][^\n]*\n?", head, re.M)
    if end is None:
        raise DataError("The MetaImage header names no ElementDataFile", where=path)
    fields = _fields(head[: end.end()], rb"^[ \t]*(\w+)[ \t]*[=:][ \t]*(.*?)[ \t\r]*$", path, fold=False)
    _check_meta_image(fields, head[: end.start()], path)
    name = fields["ElementDataFile"]
    if fields.get("BinaryData", "true").lower() not in ("true", "1"):
        raise DataError("MetaImage voxels as text are not supported, only binary ones are", where=path)
    local, packed = name in ("LOCAL", "Local", "local"), fields.get("CompressedData", "false").lower() in ("true", "1")
    size = fields.get("CompressedDataSize", "")
    lengths = [_number(x) for x in fields.get("ElementSpacing", fields.get("ElementSize", "")).split()]
    stated = [math.isfinite(x) and x != 0 for x in lengths]
    unit, remarks = _unit({fields.get("DistanceUnits", "?").lower()} - {"?"}, any(stated))
    if _number(fields.get("ElementToIntensityFunctionSlope", "1")) != 1 or _number(
        fields.get("ElementToIntensityFunctionOffset", "0")
    ):
        remarks.append("ElementToIntensityFunction is not applied: values are as stored")
    return Header(
        name="MetaImage",
        data=path if local else _beside(path, name),
        start=(end.end() if local else 0) + max(int(_number(fields.get("HeaderSize", "0"))), 0),
        packed=packed,
        packed_bytes=int(size) if size.isdecimal() else None,
        spacing=tuple(stated),
        oriented=bool({"TransformMatrix", "Rotation", "Orientation"} & set(fields)),
        positioned=bool({"Offset", "Origin", "Position"} & set(fields)),
        unit=unit,
        remarks=tuple(remarks),
    )


def _check_meta_image(fields: dict[str, str], text: bytes, path: Path) -> None:
    """Refuse what MetaIO would not survive: it copies lines and lists of numbers into arrays of fixed length."""
    axes = fields.get("NDims", "")
    if axes not in ("2", "3"):
        raise DataError(
            f"The MetaImage has {axes if _FEW.fullmatch(axes) else 'no number of'} axes, only 2 and 3 are supported",
            where=path,
        )
    seen = set()
    for number, line in enumerate(text.decode("latin-1").split("\n"), start=1):
        key, sign, _ = re.split(r"([=:]|$)", line.strip(), maxsplit=1)
        key = key.strip().lower()
        longest = _LONGEST_LINE if key.isalpha() else _LONGEST_FOREIGN_LINE
        if line.strip() and (not sign or key in seen or len(line) > longest):
            said = f"line {number}: it is no field, there twice, or longer than {longest}"
            raise DataError(f"The MetaImage header has a line that cannot be used, {said}", where=path)
        seen.add(key)
    for key, power in _LISTS.items():
        numbers = fields.get(key, "").split()
        if key in fields and (len(numbers) != int(axes) ** power or not all(map(math.isfinite, map(_number, numbers)))):
            raise DataError(f"The MetaImage header has a {key} that is not {int(axes) ** power} numbers", where=path)
    for key in ("ElementNumberOfChannels", "HeaderSize", "CompressedDataSize"):
        if not re.fullmatch(r"-?\d{1,15}", fields.get(key, "0")):
            raise DataError(f"The MetaImage header has a {key} that is no whole number", where=path)


def _fields(text: bytes, pattern: bytes, path: Path, *, fold: bool) -> dict[str, str]:
    """Return the fields of a header, names in lower case where case means nothing (`fold`).

    A data file that is named twice could be read in two ways.
    """
    if len(re.findall(rb"(?i)(?:element|^)data ?file\s*[=:]", text, re.M)) > 1:
        raise DataError("The header names its data file twice", where=path)
    found = re.findall(pattern, text, re.M)
    texts = [(key.decode("latin-1"), value.decode("utf-8", "replace")) for key, value in found]
    return {key.lower() if fold else key: value for key, value in texts}


def _beside(path: Path, name: str) -> Path:
    """Return the data file that a header names; it is in the header's folder or below."""
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    if any(kind.is_absolute() or kind.drive or ".." in kind.parts for kind in kinds) or name.startswith(
        ("\\", "-", "~")
    ):
        raise DataError("The header names a data file outside its own folder", where=path)
    if "%" in name or name.split()[:1] == ["LIST"]:
        raise DataError("Voxels in several data files are not supported", where=path, fix="Convert it to one file")
    if not (path.parent / name).is_file():
        raise DataError("The data file that the header names is not there", where=path)
    return path.parent / name


def _unit(words: set[str], stated: bool) -> tuple[float, list[str]]:
    if not words:
        return 1.0, ["the header names no unit of length: taken as mm"] if stated else []
    if len(words) == 1 and next(iter(words)) in _MM:
        return _MM[words.pop()], []
    return math.nan, ["the unit of length is not known here: spacing unknown"]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
