"""NIfTI, NRRD, MetaImage and NumPy files with random fields."""

import gzip
import struct

from tests.data.readers.drawing import Random, number, pick, real


def nifti(random: Random) -> tuple[str, bytes]:
    """Return NIfTI-1 or 2 of either byte order with random fields."""
    order, two, packed = pick(random, "<>"), random.random() < 0.3, random.random() < 0.3
    small = [int(random.integers(1, 6)) for _ in range(7)]
    dim = [int(random.integers(1, 8)), *small]
    if random.random() < 0.4:
        dim[int(random.integers(8))] = pick(random, (-1, 0, 7, 8, 32767, -32768))
    kind, bits = pick(random, ((2, 8), (4, 16), (8, 32), (16, 32), (64, 64), (128, 24), (1792, 128), (0, 0), (999, 16)))
    bits = bits if random.random() < 0.9 else number(random, 15)
    pixdim, places = [real(random) for _ in range(8)], [real(random) for _ in range(18)]
    codes = [pick(random, (0, 1, 2, 4, 9, -1)) for _ in range(2)]
    units, offset = int(random.integers(0, 256)), pick(random, (352, 352, 544, 0, -1, 1e9))
    if two:
        offset = int(pick(random, (544, 544, 0, -1, 2**62)))
        head = struct.pack(
            order + "i8s2h8q3d8dq2d3d",
            540,
            b"n+2\0\r\n\x1a\n",
            kind,
            bits,
            *dim,
            *[0.0] * 3,
            *pixdim,
            offset,
            real(random),
            real(random),
            0,
            0,
            0,
        )
        head = head.ljust(344, b"\0") + struct.pack(order + "2i18d", *codes, *places)
        head = head.ljust(500, b"\0") + struct.pack(order + "i", units)
        head = head.ljust(544, b"\0")
    else:
        head = struct.pack(order + "i", 348).ljust(40, b"\0") + struct.pack(order + "8h", *dim)
        head = head.ljust(70, b"\0") + struct.pack(
            order + "3h8f3f", kind, bits, 0, *pixdim, offset, real(random), real(random)
        )
        head = head.ljust(123, b"\0") + bytes([units])
        head = head.ljust(252, b"\0") + struct.pack(order + "2h18f", *codes, *places)
        head = head.ljust(344, b"\0") + pick(random, (b"n+1\0", b"n+1\0", b"ni1\0", b"n+9\0")) + bytes(4)
    data = head + random.bytes(int(random.integers(0, 4000)))
    return ("nii.gz", gzip.compress(data, 1)) if packed else ("nii", data)


def _text_number(random: Random) -> bytes:
    return pick(
        random,
        (b"1", b"2", b"3", b"4", b"7", b"0", b"-1", b"nan", b"1e400", b"99999999999999999999", b"none", b"", b"0x4"),
    )


def _numbers(random: Random, least: int = 0) -> bytes:
    return b" ".join(_text_number(random) for _ in range(int(random.integers(least, 5))))


_CALM_NRRD = {b"type": b"short", b"dimension": b"3", b"sizes": b"3 4 5", b"encoding": b"raw", b"endian": b"little"}
_CALM_META = {b"NDims": b"3", b"DimSize": b"3 4 5", b"ElementType": b"MET_SHORT"}


def _vectors(random: Random) -> bytes:
    """Return vectors as NRRD writes them."""
    one = [b"(" + b",".join(_text_number(random) for _ in range(3)) + b")" for _ in range(int(random.integers(0, 5)))]
    return b" ".join(one)


def nrrd(random: Random) -> tuple[str, bytes]:
    """Return an NRRD with random fields."""
    calm = random.random() < 0.5
    lines = {
        b"type": pick(random, (b"short", b"uchar", b"float", b"double", b"int64", b"block", b"")),
        b"dimension": pick(random, (b"2", b"3", b"3", b"3", b"4", b"0", b"17", b"x")),
        b"sizes": b"3 4 5" if random.random() < 0.5 else _numbers(random),
        b"encoding": pick(random, (b"raw", b"raw", b"gzip", b"ascii", b"hex", b"bzip2", b"zzz")),
        b"endian": pick(random, (b"little", b"big", b"middle")),
    }
    lines |= _CALM_NRRD if calm else {}
    others = {
        b"space": pick(random, (b"left-posterior-superior", b"RAS", b"3D", b"")),
        b"space directions": _vectors(random),
        b"space origin": _vectors(random),
        b"kinds": pick(random, (b"domain domain domain", b"RGB-color list", b"")),
        b"spacings": _numbers(random),
        b"data file": pick(random, (b"x.raw", b"../../etc/passwd", b"LIST", b"/dev/zero", b"x%03d.raw 1 9 1")),
        b"line skip": _text_number(random),
        b"byte skip": _text_number(random),
        b"space units": b'"mm" "\xff"',
    }
    kept = [(name, value) for name, value in lines.items() if calm or random.random() < 0.95]
    kept += [(name, value) for name, value in others.items() if random.random() < (0.05 if calm else 0.25)]
    if random.random() < 0.2:
        random.shuffle(kept)
    text = b"NRRD000" + pick(random, (b"1", b"4", b"4", b"5", b"9")) + b"\n"
    text += b"".join(name + b": " + value + b"\n" for name, value in kept)
    return pick(random, ("nrrd", "nhdr")), text + b"\n" + random.bytes(120 if calm else int(random.integers(0, 300)))


def meta_image(random: Random) -> tuple[str, bytes]:
    """Return a MetaImage with random fields."""
    calm = random.random() < 0.5
    lines = {
        b"ObjectType": b"Image",
        b"NDims": pick(random, (b"2", b"3", b"3", b"0", b"4", b"-1")),
        b"DimSize": b"3 4 5" if random.random() < 0.5 else _numbers(random),
        b"ElementType": pick(random, (b"MET_SHORT", b"MET_UCHAR", b"MET_DOUBLE", b"MET_STRING", b"MET_X", b"")),
    }
    lines |= _CALM_META if calm else {}
    others = {
        b"BinaryData": pick(random, (b"True", b"False", b"x")),
        b"CompressedData": pick(random, (b"False", b"True")),
        b"CompressedDataSize": _text_number(random),
        b"TransformMatrix": _numbers(random),
        b"Offset": _numbers(random),
        b"ElementSpacing": _numbers(random),
        b"ElementNumberOfChannels": _text_number(random),
        b"HeaderSize": _text_number(random),
    }
    kept = [(name, value) for name, value in lines.items() if calm or random.random() < 0.95]
    kept += [(name, value) for name, value in others.items() if random.random() < (0.1 if calm else 0.4)]
    places = (b"LOCAL", b"LOCAL", b"x.raw", b"LIST", b"/dev/zero", b"x%d.raw 1 2 1", b"")
    kept.append((b"ElementDataFile", b"LOCAL" if calm else pick(random, places)))
    text = b"".join(name + b" = " + value + b"\n" for name, value in kept)
    return pick(random, ("mha", "mhd")), text + random.bytes(120 if calm else int(random.integers(0, 300)))


def array(random: Random) -> tuple[str, bytes]:
    """Return an `.npy` with a random header."""
    shape = tuple(pick(random, (0, 1, 3, 4, 5, -1, 2**40)) for _ in range(int(random.integers(0, 5))))
    head = {
        "descr": pick(random, ("<i2", ">f8", "|u1", "|O", "<c16", "<M8[s]", "<U5", "<f2", "?", [("a", "<i2")], "x")),
        "fortran_order": pick(random, (True, False, None, "no")),
        "shape": shape,
    }
    text = repr(head) if random.random() < 0.9 else "__import__('os').abort()"
    major = pick(random, (1, 1, 2, 3, 4))
    size = struct.pack(
        "<H" if major == 1 else "<I", len(text) + (0 if random.random() < 0.9 else number(random, 16)) % 60_000
    )
    return "npy", b"\x93NUMPY" + bytes([major, 0]) + size + text.encode() + random.bytes(int(random.integers(0, 500)))
