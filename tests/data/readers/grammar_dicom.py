"""DICOM data sets whose elements have random VRs, lengths, values and nesting."""

import struct
import zlib

from tests.data.readers.drawing import EDGES, Random, number, pick

_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.102",
    "",
    "1.2.3",
    "x\\y",
)
_LONG = ("OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UR", "UT", "UN", "SV", "UV")
_SHORT = (
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "SL",
    "SS",
    "ST",
    "TM",
    "UI",
    "UL",
    "US",
)
_TAGS = {  # what the reader asks for, with the VR it should have
    0x00080008: "CS",
    0x00080005: "CS",
    0x00080016: "UI",
    0x00080018: "UI",
    0x00080060: "CS",
    0x00100020: "LO",
    0x0020000D: "UI",
    0x0020000E: "UI",
    0x00200013: "IS",
    0x00200032: "DS",
    0x00200037: "DS",
    0x00200060: "CS",
    0x00280002: "US",
    0x00280004: "CS",
    0x00280006: "US",
    0x00280008: "IS",
    0x00280010: "US",
    0x00280011: "US",
    0x00280030: "DS",
    0x00280100: "US",
    0x00280101: "US",
    0x00280102: "US",
    0x00280103: "US",
    0x00281052: "DS",
    0x00281053: "DS",
    0x00281101: "US",
    0x00281201: "OW",
    0x00283000: "SQ",
    0x00409096: "SQ",
    0x52009229: "SQ",
    0x52009230: "SQ",
    0x7FE00001: "OV",
    0x7FE00010: "OW",
}
_SOUND: dict[int, int | bytes] = {  # 8 x 8 pixels of 16 bits
    0x00080005: b"ISO_IR 100", 0x00080016: b"1.2.840.10008.5.1.4.1.1.2", 0x00280002: 1, 0x00280004: b"MONOCHROME2",
    0x00280006: 0, 0x00280008: b"1", 0x00280010: 8, 0x00280011: 8, 0x00280030: b"0.5\\0.5", 0x00280100: 16,
    0x00280101: 12, 0x00280102: 11, 0x00280103: 0, 0x00281052: b"-1024", 0x00281053: b"1",
}  # fmt: skip
_WORDS = (
    b"",
    b"1",
    b"0",
    b"-1",
    b"16",
    b"nan",
    b"inf",
    b"1e999",
    b"99999999999",
    b"MONOCHROME1",
    b"MONOCHROME2",
    b"RGB",
    b"YBR_FULL_422",
    b"PALETTE COLOR",
    b"ISO 2022 IR 87",
    b"\xff\xfe",
    b"1.2.840.10008.5.1.4.1.1.2",
    b"0\\0\\1",
    b"1\\0\\0\\0\\1\\0",
    b"0.5\\0.5",
    b"a\nb",
    b"CT",
    b"\0",
    b"1.2.840.10008.5.1.4.1.1.77.1.5.4",
    b"\\" * 9,
)


def _value(random: Random, tag: int, vr: str, order: str, wild: float) -> bytes:
    if tag in _SOUND and random.random() > wild:
        sound = _SOUND[tag]
        return struct.pack(order + "H", sound) if isinstance(sound, int) else sound
    if vr in ("US", "SS") and random.random() < 0.9:
        return struct.pack("<H", number(random, 16)) * (1 if random.random() < 0.9 else 3)
    if vr in ("OB", "OW", "UN", "OV"):
        return random.bytes(int(random.integers(0, 600)))
    return pick(random, _WORDS)


def _element(random: Random, tag: int, vr: str, *, implicit: bool, order: str, depth: int, wild: float) -> bytes:
    vr = vr if random.random() > wild / 4 else pick(random, (*_LONG, *_SHORT, "??", "\0\0"))
    undefined = vr == "SQ" and random.random() < 0.5
    if vr == "SQ" and depth:
        body = _items(random, implicit=implicit, order=order, depth=depth - 1, wild=wild)
    else:
        body = _value(random, tag, vr, order, wild)
    length = len(body) if random.random() > wild / 8 else pick(random, EDGES)
    length = 2**32 - 1 if undefined else length
    body += b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined and random.random() < 0.9 else b""
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack(order + "I", length) + body
    code = vr.encode("latin-1")
    if vr in _LONG:
        return head + code + b"\0\0" + struct.pack(order + "I", length) + body
    return head + code + struct.pack(order + "H", length % 65536) + body


def _items(random: Random, **how) -> bytes:
    result = b""
    for _ in range(int(random.integers(0, 3))):
        tags = [pick(random, tuple(_TAGS)) for _ in range(int(random.integers(0, 4)))]
        inside = b"".join(_element(random, tag, _TAGS[tag], **how) for tag in tags)
        known = random.random() < 0.6
        result += b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inside) if known else 2**32 - 1) + inside
        result += b"" if known else b"\xfe\xff\x0d\xe0\0\0\0\0"
    return result


def _pixels(random: Random, order: str, *, implicit: bool, compressed: bool) -> bytes:
    head = struct.pack(order + "HH", 0x7FE0, pick(random, (0x10, 0x10, 0x10, 8, 9)))
    head += b"" if implicit else pick(random, (b"OW", b"OB", b"OW", b"UN")) + b"\0\0"
    if not compressed:
        data = random.bytes(128 if random.random() < 0.5 else int(random.integers(0, 2000)))
        return head + struct.pack(order + "I", len(data) if random.random() < 0.9 else pick(random, EDGES)) + data
    body = struct.pack("<I", 2**32 - 1)
    for _ in range(int(random.integers(0, 4))):
        data = pick(random, (b"", b"\xff\xd8\xff", b"\xff\x4f\xff\x51", struct.pack("<16I", 1, 64, *[0] * 14)))
        data += random.bytes(int(random.integers(0, 200)))
        body += (
            b"\xfe\xff\x00\xe0" + struct.pack("<I", len(data) if random.random() < 0.9 else pick(random, EDGES)) + data
        )
    return head + body + (b"\xfe\xff\xdd\xe0\0\0\0\0" if random.random() < 0.8 else b"")


def dicom(random: Random) -> tuple[str, bytes]:
    """Return a data set whose elements have random VRs, lengths, values and nesting."""
    syntax = pick(random, _SYNTAXES)
    implicit, order = syntax == _SYNTAXES[0], ">" if syntax == _SYNTAXES[2] else "<"
    tags = sorted(tag for tag in _TAGS if tag != 0x7FE00010 and random.random() < 0.8)
    if random.random() < 0.2:
        tags.append(int(random.integers(0, 2**32)))
    if random.random() < 0.1:
        random.shuffle(tags)
    how = {"implicit": implicit, "order": order, "depth": int(random.integers(0, 6))}
    how["wild"] = pick(random, (0.0, 0.05, 0.2, 0.5))
    data = b"".join(_element(random, tag, _TAGS.get(tag, "UN"), **how) for tag in tags)
    compressed = syntax.startswith(("1.2.840.10008.1.2.4", "1.2.840.10008.1.2.5")) != (random.random() < 0.1)
    data += _pixels(random, order, implicit=implicit, compressed=compressed) if random.random() < 0.95 else b""
    if syntax == _SYNTAXES[3]:
        packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = packing.compress(data) + packing.flush()
    if random.random() < 0.1:
        return "dcm", data  # bare
    name = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(name)) + name
    size = len(meta) if random.random() < 0.9 else pick(random, EDGES)
    return "dcm", bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, size) + meta + data
