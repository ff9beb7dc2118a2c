"""TIFF and PNG files with random entries and chunks."""

import struct
import zlib

from tests.data.readers.drawing import Random, number, pick


def tiff(random: Random) -> tuple[str, bytes]:
    """Return a TIFF with random entries, directories that may lead to each other."""
    order, big = pick(random, "<>"), random.random() < 0.2
    sound = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: 64, 284: 1, 317: 1, 339: 1, 274: 1}
    data = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    data += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
    pages = int(random.integers(1, 4))
    for page in range(pages):
        tags = sorted(tag for tag in sound if random.random() < 0.95)
        tags += [number(random, 16) for _ in range(int(random.integers(0, 3)))]
        data += struct.pack(order + ("Q" if big else "H"), len(tags) if random.random() < 0.95 else number(random, 16))
        for tag in tags:
            value = sound.get(tag, 1) if random.random() < 0.8 else number(random, 32)
            kind, count = (
                (pick(random, (3, 4)), 1) if random.random() < 0.9 else (number(random, 5), number(random, 32))
            )
            short = kind == 3 and count == 1
            cell = struct.pack(order + "HH", value % 65536, 0) if short else struct.pack(order + "I", value)
            counted = struct.pack(order + ("Q" if big else "I"), count)
            data += struct.pack(order + "HH", tag, kind % 65536) + counted + cell.ljust(8 if big else 4, b"\0")
        size = 8 if big else 4
        following = len(data) + size if page < pages - 1 else 0
        following = pick(random, (8, 16, 2**32 - 1)) if random.random() < 0.1 else following
        data += struct.pack(order + ("Q" if big else "I"), following)
    return "tif", data + random.bytes(int(random.integers(0, 300)))


def png(random: Random) -> tuple[str, bytes]:
    """Return a PNG whose chunks are in form and random in content."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body) if random.random() < 0.97 else 0
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    columns, rows = (int(random.integers(1, 9)) if random.random() < 0.9 else number(random, 32) for _ in range(2))
    bits, colour = pick(random, (1, 2, 4, 8, 16, 16, 3)), pick(random, (0, 2, 3, 4, 6, 6, 1))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, pick(random, (0, 0, 1, 2))))]
    others = {
        b"PLTE": random.bytes(int(random.integers(0, 770))),
        b"tRNS": random.bytes(int(random.integers(0, 9))),
        b"eXIf": pick(random, (b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", b"x")),
        b"zTXt": b"Raw profile type exif\0\0" + zlib.compress(random.bytes(20)),
        b"acTL": random.bytes(8),
        b"iCCP": b"a\0\0" + random.bytes(30),
        b"sBIT": random.bytes(3),
        b"abCd": b"",
    }
    parts += [chunk(name, body) for name, body in others.items() if random.random() < 0.25]
    lines = random.bytes(int(random.integers(0, 9 * 9 * 8 + 9)))
    parts.append(chunk(b"IDAT", zlib.compress(lines) if random.random() < 0.95 else lines))
    parts.append(chunk(b"IEND", b""))
    return "png", b"\x89PNG\r\n\x1a\n" + b"".join(parts)
