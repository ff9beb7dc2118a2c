"""Damaged files of every format: our own errors, within the limits, and the parent alive.

`MEDSSL_FUZZ` sets how many are tried (2,000 in the suite, 20,000 by `make fuzz`), `MEDSSL_FUZZ_SEED` which ones.
"""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.data import get_testdata_file

from medssl.data import apart
from medssl.data.readers import all_readers, read_file
from medssl.data.scan import describe
from medssl.errors import MedsslError
from tests.data.readers import vendor_oct
from tests.data.readers.test_heidelberg_vol import vol

COUNT = int(os.environ.get("MEDSSL_FUZZ", "2000"))
SEED = int(os.environ.get("MEDSSL_FUZZ_SEED", "0"))
_DICOM = (
    "CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "JPGExtended.dcm", "image_dfl.dcm", "examples_palette.dcm",
)  # fmt: skip
_EDGES = (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00", b"\xfe\xff\x00\xe0")


def examples(folder: Path) -> dict[str, list[Path]]:
    """Write or find small sound files, by reader."""
    random = np.random.default_rng(0)
    plane = random.integers(0, 255, (24, 31)).astype(np.uint8)
    colour = random.integers(0, 255, (20, 17, 3)).astype(np.uint8)
    result: dict[str, list[Path]] = {name: [] for name in all_readers()}
    for name, array, options in (
        ("grey.png", plane, {}), ("deep.png", plane.astype(np.uint16) * 200, {}), ("colour.png", colour, {}),
        ("grey.jpg", plane, {"quality": 90}), ("colour.jpg", colour, {}), ("grey.tif", plane, {}),
        ("packed.tif", colour, {"compression": "tiff_lzw"}),
        ("deflated.tif", plane, {"compression": "tiff_adobe_deflate"}),
    ):  # fmt: skip
        Image.fromarray(array).save(folder / name, **options)
        result["raster"].append(folder / name)
    volume = random.integers(-100, 900, (6, 7, 8)).astype(np.int16)
    for name in ("volume.nii", "volume.nii.gz"):
        nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1.0, 2.0, 1.0])), folder / name)
        result["nifti"].append(folder / name)
    nib.save(nib.Nifti2Image(volume.astype(np.float32), np.eye(4)), folder / "volume2.nii")
    result["nifti"].append(folder / "volume2.nii")
    for ending in ("nrrd", "mha"):
        sitk.WriteImage(sitk.GetImageFromArray(volume), str(folder / f"volume.{ending}"), ending == "mha")
        result["itk"].append(folder / f"volume.{ending}")
    np.save(folder / "volume.npy", volume)
    np.savez_compressed(folder / "plane.npz", plane)
    result["numpy_array"] += [folder / "volume.npy", folder / "plane.npz"]
    pixels = np.stack([plane] * 3)
    np.savez_compressed(folder / "set.npz", train_images=pixels, train_labels=[[0], [1], [0]], test_images=pixels[:1])
    np.savez(folder / "stored.npz", val_images=np.stack([colour] * 2), val_labels=[[0], [1]])
    result["medmnist"] += [folder / "set.npz", folder / "stored.npz"]
    result["heidelberg_vol"].append(vol(folder / "volume.vol"))
    result["heidelberg_e2e"].append(vendor_oct.e2e(folder / "both.e2e", {1: {"eye": b"R"}, 2: {"pattern": 5}})[0])
    result["topcon"] += [vendor_oct.topcon(folder / "plain.fds"), vendor_oct.topcon(folder / "coded.fda", coded=True)]
    result["zeiss_img"].append(vendor_oct.zeiss(folder)[0])
    result["dicom"] += [Path(str(get_testdata_file(name, download=False))) for name in _DICOM]
    return result


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Return bytes with a few of the faults that disks, networks and people make."""
    result = bytearray(data)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(0, max(1, min(len(result), int(random.choice([64, 512, 4096, 2**31]))))))
        kind = random.integers(0, 7)
        if kind == 0:
            del result[place:]
        elif kind == 1:
            result[place : place + 1] = bytes([int(random.integers(0, 256))])
        elif kind == 2:
            result[place : place + 4] = random.choice(_EDGES)
        elif kind == 3:
            result[place : place + int(random.integers(1, 64))] = random.bytes(int(random.integers(0, 64)))
        elif kind == 4:
            result[place:place] = result[place : place + int(random.integers(1, 400))]
        elif kind == 5:
            result[place : place + int(random.integers(1, 200))] = b""
        elif result:
            result[place % len(result)] ^= 1 << int(random.integers(0, 8))
    return bytes(result)


def tried(item: tuple[Path, bytes]) -> str:
    """Describe and read one damaged file, and return what came of it."""
    path, data = item
    path.write_bytes(data)
    try:
        rows = describe(path)
        for row in rows[:3]:
            if row["status"] != "ok":
                if not row["reason"]:
                    return f"no reason: {row}"
                continue
            try:
                image = read_file(path, row.get("frame"))
            except MedsslError as error:
                if "\n" in str(error):
                    return f"more than a sentence: {error}"
            else:
                if image.array.ndim not in (3, 4):
                    return f"odd image: {image.array.shape}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


def test_damaged_files_are_errors_of_ours_within_the_limits(tmp_path):
    sources = examples(tmp_path)
    files = [(name, path.read_bytes(), path.suffix) for name, paths in sources.items() for path in paths]
    random = np.random.default_rng(SEED)
    chosen = [files[number % len(files)] for number in range(COUNT)]
    items = [
        (tmp_path / f"fuzz-{number % 64}{suffix}", damaged(data, random))
        for number, (_, data, suffix) in enumerate(chosen)
    ]
    bad = []
    for number, result in enumerate(apart.each(tried, items, processes=2)):
        if result != "fine":
            bad.append((number, chosen[number][0], items[number][0].suffix, result))
            (Path(os.environ.get("MEDSSL_FUZZ_KEEP", tmp_path)) / f"bad-{number}").write_bytes(items[number][1])
    assert not bad, f"{len(bad)} of {COUNT}: {bad[:20]}"


@pytest.mark.parametrize("name", sorted(all_readers()))
def test_every_reader_has_examples(name, tmp_path):
    assert examples(tmp_path)[name]
    for path in examples(tmp_path)[name]:
        assert describe(path)[0]["status"] == "ok", path
