"""A DICOM header at a glance: the wanted elements of a plain file from its first kilobytes, as pydicom would give them.

pydicom keeps every element; a row of a manifest needs thirty. This walks the same bytes in the same order, keeps the
wanted ones and has them converted by pydicom's own converters, whose answers are remembered. It gives up at the first
thing that is odd, and then pydicom reads the file: so a header from here is never a guess. Odd is what is neither
explicit nor implicit little endian, deflated, without preamble, cut off, of another VR than the dictionary's,
multi-frame with functional groups, or just not understood.
"""

import math
import re
import struct
import warnings
from typing import Any, NamedTuple

from pydicom import uid
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.values import convert_string

from medssl.data.readers.parts.dicom_header import Header
from medssl.data.readers.parts.dicom_walk import LONG_VRS, SHORT_VRS, OddError, Walk, Walked

WANTED = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "Modality", "Manufacturer", "ManufacturerModelName", "InstitutionName", "ImageType", "NumberOfFrames", "Rows",
    "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PhotometricInterpretation", "PixelSpacing",
    "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImageLaterality", "Laterality", "ImagePositionPatient",
    "ImageOrientationPatient", "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "DiffusionBValue",
    "AcquisitionNumber", "InstanceNumber", "PatientName", "IssuerOfPatientID", "StudyDate", "AcquisitionDate",
    "BurnedInAnnotation", "ConversionType", "HighBit",
)  # fmt: skip
"""Whatever rows ask a header for. A question for anything else is odd: the file is read by pydicom, and slowly."""
_NEVER = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_CHARSET = "SpecificCharacterSet"
_TAGS = {name: int(tag_for_keyword(name) or 0) for name in (*WANTED, _CHARSET)}
_VRS = {name: dictionary_VR(tag) for name, tag in _TAGS.items()}
_SYNTAXES = {
    str(code).encode(): code for code in uid.AllTransferSyntaxes if code.is_little_endian and not code.is_deflated
}
_IMPLICIT = {code for code in _SYNTAXES.values() if code.is_implicit_VR}
_MOST_KEPT = 20_000

_DIGITS, _NUMBERS = b"0123456789.", b"0123456789+-.eE \\"


def _plain_uid(raw: bytes) -> str | None:
    text = raw.rstrip(b"\0")
    return None if text.translate(None, _DIGITS) or not text else text.decode("ascii")


def _plain_position(raw: bytes) -> tuple[float, ...] | None:
    if raw.translate(None, _NUMBERS) or raw.count(b"\\") != 2:
        return None
    try:
        found = tuple(map(float, raw.split(b"\\")))
    except ValueError:
        return None
    return found if math.isfinite(sum(found)) else None


def _plain_number(raw: bytes) -> int | None:
    text = raw.rstrip(b" ")
    return int(text) if text.isdigit() and len(text) < _MOST_DIGITS else None


_MOST_DIGITS = 10
APART = {"SOPInstanceUID": _plain_uid, "ImagePositionPatient": _plain_position, "InstanceNumber": _plain_number}
"""What differs within a series, with what converts it where it is plain; None from that is for pydicom."""
# pydicom counts complaints about these two, and a row repeats the count.
_REGULAR = {
    "NumberOfFrames": re.compile(rb"(?:0|[1-9][0-9]{0,8}) ?"),
    "SOPClassUID": re.compile(rb"(?=.{1,64}\0?$)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\0?"),
}

_NOTHING: Any = object()
_EMPTY: dict[str, Any] = dict.fromkeys((*WANTED, *_NEVER), _NOTHING)
_WALKS = {
    implicit: Walk({_TAGS[name]: (name, _VRS[name]) for name in _TAGS}, frozenset(APART), _NEVER, implicit=implicit)
    for implicit in (False, True)
}


class Glance:
    """The wanted elements, asked for like those of a pydicom data set.

    Attributes:
        file_meta: Holds the transfer syntax alone.
        original_encoding: Whether VRs are implicit, and the byte order little endian.
    """

    __slots__ = ("_values", "file_meta", "original_encoding")

    def __init__(self, values: dict[str, Any], file_meta: FileMetaDataset, implicit: bool) -> None:
        self._values, self.file_meta, self.original_encoding = values, file_meta, (implicit, True)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default where the file has none.

        Raises:
            OddError: Nobody looked for this element.
        """
        value = self._values.get(name)
        if value is _NOTHING:
            return default
        if value is None and name not in self._values:
            raise OddError(name)
        return value

    def __contains__(self, name: str) -> bool:
        return self.get(name, _NOTHING) is not _NOTHING

    def __getattr__(self, name: str) -> Any:
        value = self.get(name, _NOTHING)
        if value is _NOTHING:
            raise AttributeError(name)
        return value


class Glimpse(NamedTuple):
    """What was walked through: nothing is converted yet.

    Attributes:
        code: The transfer syntax.
        walked: The elements.
        size: Of the file, in bytes.
    """

    code: uid.UID
    walked: Walked
    size: int

    @property
    def pixel_bytes(self) -> tuple[int, int]:
        """How many bytes follow the head of the pixel data element, and how many it says."""
        return self.size - self.walked.value_at, self.walked.length

    def header(self) -> Header:
        """Return the header with its values.

        Raises:
            OddError: pydicom should read this file.
        """
        implicit = self.code.is_implicit_VR
        dataset: Any = Glance(_converted(_WALKS[implicit], self.walked), _meta_of(self.code), implicit)
        return Header(dataset, self.walked.pixels_at, False, 0, self.pixel_bytes)


def glimpse(handle: int, head: bytes, size: int) -> Glimpse:
    """Walk through an open file.

    Args:
        handle: The file.
        head: Its first bytes, some thousands.
        size: Of the file, in bytes.

    Raises:
        OddError: pydicom should read this file.
    """
    try:
        code, at = _meta(head)
        return Glimpse(code, _WALKS[code in _IMPLICIT].through(handle, head, at), size)
    except (struct.error, OSError) as error:
        raise OddError from error


def _meta(head: bytes) -> tuple[uid.UID, int]:
    """Return the transfer syntax, and where the data set begins."""
    if head[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise OddError
    known = _meta_layouts.get(head[140:152])
    if known is not None and known.fits(head):
        return known.code, known.end
    return _learn_meta(head)


class _Meta(NamedTuple):
    """File meta information whose elements lie as they lay before."""

    heads: struct.Struct
    expected: tuple[bytes, ...]
    code: uid.UID
    end: int

    def fits(self, head: bytes) -> bool:
        """Return whether the same heads, the same transfer syntax and another group behind them are there."""
        return (
            self.end + 8 <= len(head)
            and self.heads.unpack_from(head, _META_AT) == self.expected
            and head[self.end : self.end + 2] != _GROUP
        )


_META_AT, _GROUP = 144, b"\x02\x00"
_meta_layouts: dict[bytes, _Meta] = {}


def _learn_meta(head: bytes) -> tuple[uid.UID, int]:
    at, code, parts, expected = _META_AT, None, [], []
    while head[at : at + 2] == _GROUP:
        element, vr, length = struct.unpack_from("<H2sH", head, at + 2)
        size = 8
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<L", head, at + 8)
            size = 12
        elif vr not in SHORT_VRS:
            raise OddError
        if element == 0x10:
            if code is not None or vr != b"UI":
                raise OddError
            code, size, length = _SYNTAXES.get(head[at + 8 : at + 8 + length].rstrip(b"\0")), 8 + length, 0
        if at + size + length > len(head) or length > len(head):
            raise OddError
        parts.append(f"{size}s{length}x")
        expected.append(head[at : at + size])
        at += size + length
    if code is None or at + 8 > len(head):
        raise OddError
    if len(_meta_layouts) > _MOST_KEPT:
        _meta_layouts.clear()
    _meta_layouts[head[140:152]] = _Meta(struct.Struct("<" + "".join(parts)), tuple(expected), code, at)
    return code, at


_metas: dict[uid.UID, FileMetaDataset] = {}


def _meta_of(code: uid.UID) -> FileMetaDataset:
    if code not in _metas:
        _metas[code] = FileMetaDataset()
        _metas[code].TransferSyntaxUID = code
    return _metas[code]


class _Converted:
    """Values by name and bytes, in one character set."""

    def __init__(self, charset: bytes | None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                self.encodings = convert_encodings(convert_string(charset, True) if charset else None)
            except Exception as error:
                raise OddError from error
        self.known: dict[tuple[str, bytes], Any] = {}

    def value(self, name: str, raw: bytes) -> Any:
        """Return what pydicom makes of a value."""
        quick = APART.get(name)
        if quick is not None and (value := quick(raw)) is not None:
            return value
        if name in _REGULAR and raw and not _REGULAR[name].fullmatch(raw):
            raise OddError
        vr = _VRS[name]
        given: Any = raw or empty_value_for_VR(vr, raw=True)
        element = RawDataElement(BaseTag(_TAGS[name]), vr, len(raw), given, 0, False, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = convert_raw_data_element(element, encoding=self.encodings).value
            except Exception as error:
                raise OddError from error
        if len(self.known) > _MOST_KEPT:
            self.known.clear()
        self.known[name, raw] = value
        return value


_by_charset: dict[bytes | None, _Converted] = {}


def _converted(walk: Walk, walked: Walked) -> dict[str, Any]:
    raw = [walk.value(element) for element in walked.elements]
    charset = raw.pop(0)[1] if raw and raw[0][0] == _CHARSET else None
    if charset not in _by_charset:
        if len(_by_charset) > _MOST_KEPT:
            _by_charset.clear()
        _by_charset[charset] = _Converted(charset)
    converted = _by_charset[charset]
    known, values = converted.known, _EMPTY.copy()
    for item in (*raw, *walked.apart.items()):
        value = known.get(item, _NOTHING)
        values[item[0]] = converted.value(*item) if value is _NOTHING else value
    if _CHARSET in values or not values["SOPClassUID"] or values["SOPClassUID"] is _NOTHING:
        raise OddError
    return values
