"""Vendor OCT files with random sizes and chunks."""

import struct

from tests.data.readers.drawing import Random, number, pick, real


def topcon(random: Random) -> tuple[str, bytes]:
    """Return a Topcon file whose chunks are in form and random in content."""
    head = struct.pack(
        "<B4IBI",
        pick(random, (2, 2, 3, 0, 255)),
        *(number(random, 32) for _ in range(2)),
        pick(random, (16, 16, 8)),
        number(random, 32),
        0,
        0,
    )
    coded = struct.pack("<B6I", 2, 1, 1, 4, 4, pick(random, (1, 2, 2**32 - 1)), 1) + struct.pack(
        "<I", number(random, 32)
    )
    chunks = {
        b"@PARAM_SCAN_04": bytes(12) + struct.pack("<3d", *(real(random) for _ in range(3))),
        b"@CAPTURE_INFO": b"\1",
        b"@PATIENT_INFO_02": random.bytes(40),
        pick(random, (b"@IMG_SCAN_03", b"@IMG_MOT_COMP_03")): head + random.bytes(400),
        b"@IMG_JPEG": coded + random.bytes(60),
        b"": b"",
    }
    data = b"FOCTFDA" + bytes(8)
    for name, body in chunks.items():
        if random.random() < 0.7:
            size = len(body) if random.random() < 0.95 else number(random, 32)
            data += bytes([len(name)]) + name + struct.pack("<I", size) + body
    return "fda", data + b"\0"


def heidelberg(random: Random) -> tuple[str, bytes]:
    """Return a raw export with random sizes."""
    sizes = [number(random, 31) if random.random() < 0.2 else int(random.integers(0, 6)) for _ in range(5)]
    lengths = [real(random) for _ in range(3)]
    head = struct.pack(
        "<12s3i3d2i2did4sq2i",
        b"HSF-OCT-103",
        *sizes[:3],
        *lengths,
        *sizes[3:],
        0,
        0,
        0,
        0,
        pick(random, (b"OD", b"OS", b"\xff")),
        0,
        number(random, 3),
        pick(random, (64, 300, 0, 2**31 - 1)),
    )
    return "vol", head.ljust(2048, b"\0") + random.bytes(int(random.integers(0, 3000)))
