"""From element to element of a little-endian DICOM data set, up to its pixels.

The 8 bytes before a short value say its tag, VR and length, and repeat from file to file: what to do at them is looked
up instead of worked out. Whatever pydicom would read otherwise than by these plain rules is odd.
"""

import os
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from medssl.data.readers.parts.dicom_header import PIXEL_TAGS

SHORT_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_WINDOW, _WIDE_WINDOW = 8192, 1 << 20
_UNDEFINED = 0xFFFFFFFF
_LONGEST = 4096  # of a wanted value
_DEEPEST = 8  # sequences in each other
_MOST_KEPT, _MOST_STRETCHES = 20_000, 2000
_LEAST_RUN = 3
_SELDOM, _BEGINNING = 20, 100  # a head that changes in one file of twenty ends a stretch
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


class _Met(NamedTuple):
    """An element of a run: its head, its size with it, and its name if it is wanted."""

    head: bytes
    size: int
    name: str | None


class _Stretch(NamedTuple):
    """Elements that were met in a row.

    Attributes:
        heads: Unpacks all heads.
        expected: What they should be: then every element lies where it lay.
        wanted: Unpacks the wanted elements.
        apart: Unpacks the values of those that differ from file to file.
        names: Of these.
        size: Bytes of all.
    """

    heads: Callable[[bytes, int], tuple[bytes, ...]]
    expected: tuple[bytes, ...]
    wanted: Callable[[bytes, int], tuple[bytes, ...]]
    apart: Callable[[bytes, int], tuple[bytes, ...]]
    names: tuple[str, ...]
    size: int

    def fits(self, window: bytes, at: int) -> bool:
        """Return whether these very heads stand at a place."""
        return at + self.size <= len(window) and self.heads(window, at) == self.expected

    @classmethod
    def of(cls, run: list[_Met], apart: frozenset[str]) -> "_Stretch":
        """Return the stretch of a run."""
        heads = _format(f"{len(met.head)}s{met.size - len(met.head)}x" for met in run)
        wanted = _format(f"{met.size}{'s' if met.name and met.name not in apart else 'x'}" for met in run)
        moving = _format(
            f"{len(met.head)}x{met.size - len(met.head)}s" if met.name in apart else f"{met.size}x" for met in run
        )
        return cls(
            heads.unpack_from,
            tuple(met.head for met in run),
            wanted.unpack_from,
            moving.unpack_from,
            tuple(met.name for met in run if met.name in apart),
            heads.size,
        )


def _format(parts: Iterable[str]) -> struct.Struct:
    return struct.Struct("<" + "".join(parts))


class Walked(NamedTuple):
    """What was met on the way.

    Attributes:
        elements: The wanted elements, each with its head.
        apart: Values of those that differ from file to file, by name.
        pixels_at: Place of the pixel data element.
        value_at: Place of its value.
        length: Bytes that its head says.
    """

    elements: list[bytes]
    apart: dict[str, bytes]
    pixels_at: int
    value_at: int
    length: int


class Walk:
    """A way through data sets of one encoding; it remembers what it met.

    Args:
        wanted: Name and VR of each wanted tag.
        apart: Names of wanted elements whose values differ from file to file.
        never: Keywords of elements that make a file odd.
        implicit: VRs are not written.
    """

    def __init__(
        self, wanted: dict[int, tuple[str, str]], apart: frozenset[str], never: tuple[str, ...], *, implicit: bool
    ) -> None:
        self.wanted, self.apart, self.implicit = wanted, apart, implicit
        self.never = {int(tag_for_keyword(name) or 0) for name in never}
        self.steps: dict[bytes, _Step] = {}
        self.stretches: dict[bytes, _Stretch] = {}
        self.last: dict[int, bytes] = {}  # head that a tag was met with
        self.changes: dict[int, int] = {}  # how often it was another than before
        self.walks = 0

    def value(self, element: bytes) -> tuple[str, bytes]:
        """Return the name and the value of a wanted element."""
        step = self.steps.get(element[:8]) or self._learn(element[:8])
        return str(step.name), element[step.head :]

    def through(self, handle: int, window: bytes, at: int) -> Walked:
        """Walk up to the pixels.

        Args:
            handle: An open file.
            window: Its first bytes.
            at: Where the data set begins.

        Raises:
            OddError: pydicom should read this file.
        """
        self._check_encoding(window, at)
        self.walks += 1
        elements: list[bytes] = []
        apart: dict[str, bytes] = {}
        run: list[_Met] = []
        base, stretches, steps = 0, self.stretches, self.steps
        while True:
            head = window[at : at + 8]
            stretch = stretches.get(head)
            if stretch is not None and stretch.fits(window, at):
                elements += stretch.wanted(window, at)
                self._take_apart(zip(stretch.names, stretch.apart(window, at), strict=True), apart)
                at += stretch.size
                run = self._remember(run)
                continue
            if at + 12 > len(window):
                base, window, at = base + at, _read(handle, base + at, _WINDOW), 0
                head = window[:8]
            step = steps.get(head) or self._learn(head)
            length = step.length
            if length is None:
                head = window[at : at + 12]
                (length,) = _LENGTH.unpack_from(head, 8)
            if step.tag in _PIXELS:
                self._remember(run)
                return Walked(elements, apart, base + at, base + at + step.head, length)
            if length == _UNDEFINED:
                base, window, at = self._behind_sequence(handle, base, window, at, step)
                run = self._remember(run)
                continue
            size = step.head + length
            if step.name is not None:
                if at + size > len(window):
                    base, window, at = base + at, _read(handle, base + at, _WINDOW), 0
                self._take(step, window[at : at + size], size, elements, apart)
            if self._changes(step.tag, head) or size > _LONGEST:
                run = self._remember(run)
            else:
                run.append(_Met(head, size, step.name))
            at += size

    def _take(self, step: _Step, element: bytes, size: int, elements: list[bytes], apart: dict[str, bytes]) -> None:
        """Keep a wanted element."""
        if len(element) < size:
            raise OddError
        if step.name in self.apart:
            self._take_apart([(str(step.name), element[step.head :])], apart)
        else:
            elements.append(element)

    def _take_apart(self, found: Iterable[tuple[str, bytes]], apart: dict[str, bytes]) -> None:
        for name, value in found:
            if name in apart:
                raise OddError
            apart[name] = value

    def _changes(self, tag: int, head: bytes) -> bool:
        """Return whether an element has another head in many files: no stretch leads over it."""
        before = self.last.get(tag)
        if before != head:
            self.last[tag] = head
            if before is not None:
                self.changes[tag] = self.changes.get(tag, 0) + 1
        return self.changes.get(tag, 0) * _SELDOM > self.walks + _BEGINNING

    def _remember(self, run: list[_Met]) -> list[_Met]:
        """Make elements that were met in a row a stretch, which is compared as a whole; return a new run."""
        if len(run) >= _LEAST_RUN:
            if len(self.stretches) > _MOST_STRETCHES:
                self.stretches.clear()
            self.stretches[run[0].head[:8]] = _Stretch.of(run, self.apart)
        return [] if run else run

    def _behind_sequence(self, handle: int, base: int, window: bytes, at: int, step: _Step) -> tuple[int, bytes, int]:
        """Return (base, window, place) behind a sequence of undefined length."""
        try:
            return base, window, self._after_sequence(window, at + step.head, step, _DEEPEST)
        except struct.error:
            base, window = base + at, _read(handle, base + at, _WIDE_WINDOW)
            return base, window, self._after_sequence(window, step.head, step, _DEEPEST)

    def _check_encoding(self, window: bytes, at: int) -> None:
        """Refuse what pydicom would find to be of the other encoding, and elements of groups that are no data set's."""
        letters = 0x40 < window[at + 4] < 0x5B and 0x40 < window[at + 5] < 0x5B
        if letters == self.implicit or window[at : at + 2] in (b"\0\0", b"\2\0"):
            raise OddError

    def _learn(self, head: bytes) -> _Step:
        """Work out what to do at an element, and remember it."""
        if len(head) < 8:
            raise OddError
        step = self._implicit(head) if self.implicit else self._explicit(head)
        if step.tag in self.never or (step.tag >> 16 >= 0x7FE0 and step.tag not in _PIXELS):
            raise OddError
        if len(self.steps) > _MOST_KEPT or len(self.last) > _MOST_KEPT:
            self.steps.clear()
            self.last.clear()
            self.changes.clear()
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
