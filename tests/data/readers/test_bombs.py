"""Small files that unpack to much, and sizes beyond every type: one sentence each, within the limits of a child.

Limits are a fifth of those of a scan here, so that bombs of a fifth do.
"""

import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import imagecodecs
import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from medssl.data import apart
from medssl.data.readers import read_file
from medssl.data.scan import describe
from medssl.errors import MedsslError

SECONDS, MEMORY = 8.0, 200 * 2**20
MUCH = 600 * 2**20  # bytes
ZEROS = bytes(2**20)


def shipped(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def packed(count: int, wbits: int = zlib.MAX_WBITS, before: bytes = b"") -> bytes:
    """So many zeros, deflated."""
    packing = zlib.compressobj(9, wbits=wbits)
    parts = [packing.compress(before), *(packing.compress(ZEROS) for _ in range(count // 2**20)), packing.flush()]
    return b"".join(parts)


def _png(path: Path, rows: int, columns: int, *, text: bytes = b"") -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", packed(rows * (columns * 6 + 1)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + text + pixels + chunk(b"IEND", b""))


def png_pixels(path):
    _png(path, 10_000, 10_500)


def png_sizes(path):
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0, 0)
    )


def png_text(path):
    body = b"a\0\0" + packed(MUCH)
    text = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    _png(path, 4, 4, text=text)


def jpeg_sizes(path):
    data = bytearray(imagecodecs.jpeg8_encode(np.zeros((64, 64, 3), np.uint8)))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65_500, 65_500)
    path.write_bytes(data)


def bmp_sizes(path):
    head = struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + head + bytes(100))


def _tiff(path, entries, after=b"", following=0):
    body = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    path.write_bytes(body + struct.pack("<I", following) + after)


def tiff_pixels(path):
    strip = packed(MUCH)
    entries = [(256, 4, 1, 24_000), (257, 4, 1, 25_000), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    at = 8 + 2 + 12 * 9 + 4
    _tiff(path, [*entries, (273, 4, 1, at), (277, 3, 1, 1), (278, 4, 1, 25_000), (279, 4, 1, len(strip))], strip)


def tiff_counts(path):
    _tiff(path, [(256, 4, 2**32 - 1, 8), (257, 4, 2**32 - 1, 8), (273, 4, 2**32 - 1, 8)])


def tiff_pages(path):
    page = struct.pack("<H", 2) + struct.pack("<HHIIHHII", 256, 4, 1, 4, 257, 4, 1, 4)
    size = len(page) + 4
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8) + b"".join(page + struct.pack("<I", 8 + size * (n + 1)) for n in range(200_000))
    )


def nifti_gzip(path):
    head = nib.Nifti1Header()
    head.set_data_shape((MUCH // 2**20, 1024, 1024))
    head.set_data_dtype(np.uint8)
    head["vox_offset"] = 352
    path.write_bytes(packed(MUCH + 2**20, 31, head.binaryblock + bytes(4)))


def nifti_sizes(path):
    head = nib.Nifti1Header()
    head["dim"], head["datatype"], head["bitpix"], head["vox_offset"] = [7, *[32_767] * 7], 64, 64, 352
    path.write_bytes(head.binaryblock + bytes(400))


def npz_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (600, 512, 256)})
        for _ in range(600):
            member.write(ZEROS)


def npy_sizes(path):
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": "<f8", "fortran_order": False, "shape": (10**9,) * 3})


def npy_header(path):
    path.write_bytes(b"\x93NUMPY\x02\0" + struct.pack("<I", 2**32 - 1) + b"(" * 10**6)


def nrrd_gzip(path):
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 600 1024 512\nendian: little\nencoding: gzip\n\n"
    path.write_bytes(head + packed(MUCH, 31))


def nrrd_sizes(path):
    path.write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2000000000 2000000000 2000000000\nencoding: raw\n\n")


def mha_zlib(path):
    head = b"ObjectType = Image\nNDims = 3\nDimSize = 600 1024 512\nCompressedData = True\nElementType = MET_SHORT\n"
    path.write_bytes(head + b"ElementDataFile = LOCAL\n" + packed(MUCH))


def mha_sizes(path):
    head = b"ObjectType = Image\nNDims = 3\nDimSize = 99999999999 99999999999 99999999999\nElementType = MET_SHORT\n"
    path.write_bytes(head + b"ElementDataFile = LOCAL\n" + bytes(100))


def _dicom(path, name, *, rows=None, frames=None, stream=None):
    data = dcmread(shipped(name))
    if rows:
        data.Rows = data.Columns = rows
    if frames:
        data.NumberOfFrames = frames
    if stream:
        data.PixelData = encapsulate([stream])
    data.save_as(path)


def dicom_deflate(path):
    data = shipped("image_dfl.dcm").read_bytes()
    path.write_bytes(data[: 144 + int.from_bytes(data[140:144], "little")] + packed(MUCH, -15))


def dicom_sizes(path):
    _dicom(path, "CT_small.dcm", rows=65_535)


def dicom_frames(path):
    _dicom(path, "SC_rgb_rle_2frame.dcm", frames=2**31 - 1)


def dicom_jpeg2000_pixels(path):
    plane = np.zeros((14_000, 14_000), np.uint16)
    _dicom(path, "MR_small_jp2klossless.dcm", rows=14_000, stream=imagecodecs.jpeg2k_encode(plane, codecformat="j2k"))


def dicom_jpeg2000_sizes(path):
    stream = bytearray(imagecodecs.jpeg2k_encode(np.zeros((64, 64), np.uint8), codecformat="j2k"))
    at = stream.index(b"\xff\x51")
    for offset in (6, 22):  # of the image, of a tile
        struct.pack_into(">II", stream, at + offset, 2**31, 2**31)
    _dicom(path, "MR_small_jp2klossless.dcm", rows=60_000, stream=bytes(stream))


def dicom_run_lengths(path):
    segment = b"\x81\x00" * 3_000_000
    head = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13)
    _dicom(path, "MR_small_RLE.dcm", rows=14_000, stream=head + segment + segment)


def dicom_nesting(path):
    data = shipped("CT_small.dcm").read_bytes()
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
    path.write_bytes(data[: 144 + int.from_bytes(data[140:144], "little")] + nested)


BOMBS = {
    png_pixels: "png", png_sizes: "png", png_text: "png", jpeg_sizes: "jpg", bmp_sizes: "bmp", tiff_pixels: "tif",
    tiff_counts: "tif", tiff_pages: "tif", nifti_gzip: "nii.gz", nifti_sizes: "nii", npz_zip: "npz", npy_sizes: "npy",
    npy_header: "npy", nrrd_gzip: "nrrd", nrrd_sizes: "nrrd", mha_zlib: "mha", mha_sizes: "mha", dicom_deflate: "dcm",
    dicom_sizes: "dcm", dicom_frames: "dcm", dicom_jpeg2000_pixels: "dcm", dicom_jpeg2000_sizes: "dcm",
    dicom_run_lengths: "dcm", dicom_nesting: "dcm",
}  # fmt: skip


SOUND = {dicom_jpeg2000_pixels}
"""A true image of 392 MB: a child that inherited as much free address space may read it within its limit."""


def reason_of(path: Path) -> str:
    """Describe and read a file; return why that cannot be done, or an empty text."""
    row = describe(path)[0]
    if row["status"] != "ok":
        return str(row["reason"])
    try:
        read_file(path, row.get("frame"))
    except MedsslError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_bomb_is_one_sentence_within_the_limits(tmp_path, bomb):
    path = tmp_path / f"bomb.{BOMBS[bomb]}"
    bomb(path)
    found, after = apart.each(reason_of, [path, shipped("CT_small.dcm")], processes=1, seconds=SECONDS, memory=MEMORY)
    reason = found.reason if isinstance(found, apart.Lost) else found
    assert reason or bomb in SOUND
    assert "\n" not in reason
    assert "SIG" not in reason
    assert after == ""


def test_a_long_gzip_tail_is_not_unpacked(tmp_path):
    head = nib.Nifti1Header()
    head.set_data_shape((4, 4, 4))
    head["vox_offset"] = 352
    with gzip.open(tmp_path / "x.nii.gz", "wb", 9) as packing:
        packing.write(head.binaryblock + bytes(4 + 256))
        for _ in range(300):
            packing.write(ZEROS)
    assert list(apart.each(reason_of, [tmp_path / "x.nii.gz"], seconds=SECONDS, memory=MEMORY)) == [""]
