"""The few identifiers at the head of a DICOM file that say where it belongs; pixels are never touched."""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydicom import uid
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import BaseTag

from medssl.errors import DataError

_UID = re.compile(r"[0-9.]{1,64}")
_TAGS = {"SOPClassUID": 0x00080016, "SOPInstanceUID": 0x00080018, "StudyInstanceUID": 0x0020000D,
         "SeriesInstanceUID": 0x0020000E}  # fmt: skip
_LAST = 0x0020000E
_INFLATED = 1 << 22  # bytes of a deflated data set that are looked at: a few bytes can inflate to gigabytes


class Header(NamedTuple):
    """Where an instance belongs.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        instance: SOP Instance UID.
        syntax: Transfer syntax UID.
        begins: Offset of the data set, behind the file meta information.
    """

    study: str
    series: str
    instance: str
    syntax: str
    begins: int


def is_uid(value: object) -> bool:
    """Tell whether a value may stand where a UID is meant; anything else could be a path."""
    return isinstance(value, str) and _UID.fullmatch(value) is not None


def read_header(path: Path) -> Header:
    """Read where a DICOM file belongs.

    Raises:
        DataError: It is no DICOM file with file meta information, or an identifier is missing or no UID.
    """
    try:
        meta = read_file_meta_info(path)
        begins = 132 + 12 + int(meta.FileMetaInformationGroupLength)
        syntax = uid.UID(str(meta.TransferSyntaxUID))
        with path.open("rb") as handle:
            handle.seek(begins)
            values = _identifiers(handle, syntax)
    except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError, EOFError, NotImplementedError,
            struct.error, zlib.error, RecursionError) as error:  # fmt: skip
        raise DataError("What came is no DICOM file that can be parsed") from error
    for name, value in values.items():
        if not is_uid(value):
            raise DataError(f"What came has no proper {name}")
    found = values["StudyInstanceUID"], values["SeriesInstanceUID"], values["SOPInstanceUID"]
    return Header(*found, str(syntax), begins)


def _identifiers(handle: BinaryIO, syntax: uid.UID) -> dict[str, str]:
    source = handle
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        source = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(handle.read(), _INFLATED))
    dataset = read_dataset(source, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=_past)
    return {name: _plain(dataset.get_item(tag)) for name, tag in _TAGS.items()}


def _plain(element: Any) -> str:
    """Return a value from its bytes: pydicom would convert it, and warn of a bad one in words that hold it."""
    value = getattr(element, "value", None)
    return value.rstrip(b"\0 ").decode("ascii", "replace") if isinstance(value, bytes) else ""


def _past(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag > _LAST
