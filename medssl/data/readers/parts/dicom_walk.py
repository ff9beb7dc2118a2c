"""From element to element of a little-endian DICOM data set, up to its pixels.

The 8 bytes before a short value say its tag, VR and length, and repeat from file to file: what to do at them is looked
up instead of worked out. Whatever pydicom would read otherwise than by these plain rules is odd.
"""

import os
import struct
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from medssl.data.readers.parts.dicom_header import PIXEL_TAGS

SHORT_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
Raw = tuple[str, bytes]
"""Name and value of an element."""
_WINDOW, _WIDE_WINDOW = 8192, 1 << 20
_UNDEFINED = 0xFFFFFFFF
_LONGEST = 4096  # of a wanted value
_DEEPEST = 8  # sequences in each other
_MOST_KEPT = 20_000
_PIXEL_VRS = frozenset((b"OB", b"OW", b"OF", b"OD"))
_PIXELS = frozenset(group << 16 | element for group, element in PIXEL_TAGS)
_EXPLICIT, _IMPLICIT, _LENGTH = struct.Struct("<HH2sH"), struct.Struct("<HHL"), struct.Struct("<L")
_ITEM, _ITEM_END, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
_NESTED_CHARSET = 0x00080005


class OddError(Exception):
    """This file, or a question about it, is for pydicom."""


class _Step(NamedTuple):
    """What to do at an element.

    Attributes:
        tag: Group and element in one number.
        vr: As the file or the dictionary says; None for an unknown tag of implicit VR.
        head: Bytes before the value.
        length: Bytes of the value; None where they stand in the last 4 bytes of a head of 12.
        name: Of a wanted element.
    """

    tag: int
    vr: str | None
    head: int
    length: int | None
    name: str | None


class Walk:
    """A way through data sets of one encoding; it remembers what it met.

    Args:
        wanted: Name and VR of each wanted tag.
        never: Keywords of elements that make a file odd.
        implicit: VRs are not written.
    """

    def __init__(self, wanted: dict[int, tuple[str, str]], never: tuple[str, ...], *, implicit: bool) -> None:
        self.wanted, self.implicit = wanted, implicit
        self.never = {int(tag_for_keyword(name) or 0) for name in never}
        self.skip: dict[bytes, int] = {}
        self.steps: dict[bytes, _Step] = {}

    def through(self, handle: int, window: bytes, at: int) -> tuple[list[Raw], int, int, int]:
        """Return the wanted elements, the places of the pixel data element and of its value, and the value's length.

        Args:
            handle: An open file.
            window: Its first bytes.
            at: Where the data set begins.

        Raises:
            OddError: pydicom should read this file.
        """
        self._check_encoding(window, at)
        base, raw, skip, steps = 0, [], self.skip, self.steps
        while True:
            head = window[at : at + 8]
            plain = skip.get(head)
            if plain is not None:
                at += plain
                continue
            if at + 12 > len(window):
                base, window, at = base + at, _read(handle, base + at, _WINDOW), 0
                head = window[:8]
            step = steps.get(head) or self._learn(head)
            length = step.length
            if length is None:
                (length,) = _LENGTH.unpack_from(window, at + 8)
            if step.tag in _PIXELS:
                return raw, base + at, base + at + step.head, length
            if length == _UNDEFINED:
                try:
                    at = self._after_sequence(window, at + step.head, step, _DEEPEST)
                except struct.error:
                    base, window = base + at, _read(handle, base + at, _WIDE_WINDOW)
                    at = self._after_sequence(window, step.head, step, _DEEPEST)
                continue
            start = at + step.head
            if step.name is not None:
                if length > _LONGEST:
                    raise OddError
                if start + length > len(window):
                    base, window, start = base + at, _read(handle, base + at, _WINDOW), step.head
                value = window[start : start + length]
                if len(value) < length:
                    raise OddError
                raw.append((step.name, value))
            at = start + length

    def _check_encoding(self, window: bytes, at: int) -> None:
        """Refuse what pydicom would find to be of the other encoding, and elements of groups that are no data set's."""
        letters = all(0x40 < byte < 0x5B for byte in window[at + 4 : at + 6])
        if letters == self.implicit or window[at : at + 2] in (b"\0\0", b"\2\0"):
            raise OddError

    def _learn(self, head: bytes) -> _Step:
        """Work out what to do at an element, and remember it."""
        if len(head) < 8:
            raise OddError
        step = self._implicit(head) if self.implicit else self._explicit(head)
        if step.tag in self.never or step.tag >> 16 >= 0x7FE0 and step.tag not in _PIXELS:
            raise OddError
        if len(self.skip) + len(self.steps) > _MOST_KEPT:
            self.skip.clear()
            self.steps.clear()
        if step.name is None and step.length is not None and step.length != _UNDEFINED and step.tag not in _PIXELS:
            self.skip[head] = step.head + step.length
        self.steps[head] = step
        return step

    def _explicit(self, head: bytes) -> _Step:
        group, element, code, length = _EXPLICIT.unpack(head)
        name, vr = self.wanted.get(group << 16 | element, (None, None))
        known = _PIXEL_VRS if group << 16 | element in _PIXELS else SHORT_VRS | LONG_VRS
        if code not in known or (vr is not None and vr.encode() != code):
            raise OddError
        long = code in LONG_VRS
        return _Step(group << 16 | element, code.decode(), 12 if long else 8, None if long else length, name)

    def _implicit(self, head: bytes) -> _Step:
        group, element, length = _IMPLICIT.unpack(head)
        tag = group << 16 | element
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            vr = None
        return _Step(tag, vr, 8, length, self.wanted.get(tag, (None, None))[0])

    def _after_sequence(self, window: bytes, at: int, step: _Step, depth: int) -> int:
        """Return where a sequence of undefined length ends; its items are looked through, as pydicom does.

        Raises:
            struct.error: It goes on behind the window.
        """
        unknown = step.vr is None and window[at : at + 4] == _ITEM
        if not depth or not (step.vr == "SQ" or unknown):
            raise OddError
        while True:
            tag, length = window[at : at + 4], _LENGTH.unpack_from(window, at + 4)[0]
            at += 8
            if tag == _SEQUENCE_END:
                return at
            if tag != _ITEM:
                raise OddError
            at = self._after_item(window, at, None if length == _UNDEFINED else at + length, depth)

    def _after_item(self, window: bytes, at: int, end: int | None, depth: int) -> int:
        """Return where an item ends: at its delimiter, or where its length says, to the byte."""
        first = True
        while end is None or at < end:
            head = window[at : at + 8]
            if end is None and head[:4] == _ITEM_END:
                return at + 8
            if first:
                _LENGTH.unpack_from(head, 4)
                self._check_encoding(window, at)
                first = False
            step = self.steps.get(head) or self._learn(_whole(head))
            if step.tag == _NESTED_CHARSET or step.tag in _PIXELS:
                raise OddError
            length = _LENGTH.unpack_from(window, at + 8)[0] if step.length is None else step.length
            at += step.head
            at = self._after_sequence(window, at, step, depth - 1) if length == _UNDEFINED else at + length
        if at != end:
            raise OddError
        return at


def _whole(head: bytes) -> bytes:
    if len(head) < 8:
        raise struct.error
    return head


def _read(handle: int, place: int, count: int) -> bytes:
    window = os.pread(handle, count, place)
    if len(window) < 12:
        raise OddError
    return window
