"""Random 96^3 patches of volumes: medssl's store beside MONAI's PersistentDataset and CacheDataset.

    OMP_NUM_THREADS=1 python benchmarks/speed_store.py [--volumes 6] [--rounds 7] [--kept]

Volumes of 256 x 256 x 160 voxels are made here: smooth structure with noise of a few HU and air around, so that they
compress about as a CT does. Each contestant gives patches as a training takes them: MONAI's lists give float32 tensors
scaled to 0..1, medssl's store 16-bit integers that become float on the device; `as float` makes them float32 here.
medssl fills one buffer again and again unless `new memory` says otherwise; `views` copies as little as CacheDataset
with `copy_cache=False`, whose patches are views of its volumes; `batch` copies them into a batch.
All files lie in the page cache, times are CPU time.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from monai.data import CacheDataset, PersistentDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandSpatialCropd, ScaleIntensityRanged
from racing import race, rates, ratio, show, show_machine

from medssl.data.image import Image
from medssl.data.scan import scan
from medssl.data.store import Store, pack
from medssl.training.device import keep_freed_memory

SHAPE, SIDE = (256, 256, 160), 96
PATCHES = 8  # a batch; each call gives as many batches as there are volumes


def main(volumes: int, rounds: int, *, kept: bool) -> None:
    """Write the volumes, race, and print."""
    logging.getLogger("monai").setLevel(logging.ERROR)
    if kept:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        files = write_volumes(folder, volumes)
        store = packed(folder)
        contestants, memory = monai(files, Path(scratch) / "cache")
        random = np.random.default_rng(0)
        used = np.empty((PATCHES, 1, SIDE, SIDE, SIDE), np.uint16)
        floats = torch.empty(used.shape)
        contestants = {
            "medssl": lambda: [patches(store, random, used) for _ in range(volumes)],
            "medssl, new memory": lambda: [patches(store, random) for _ in range(volumes)],
            "medssl, as float": lambda: [torch.mul(patches(store, random, used), 1 / 65535, out=floats) for _ in files],
            "medssl, views": lambda: [view(store, random) for _ in range(PATCHES * volumes)],
            **contestants,
        }
        seconds = race(contestants, rounds)
    work = {name: volumes * (1 if "Persistent" in name else PATCHES) for name in contestants}
    speed = rates(seconds, work)
    show_machine("monai")
    show(f"{SIDE}^3 patches of {volumes} volumes of {' x '.join(map(str, SHAPE))}", speed, "patches/s")
    for ours in list(contestants)[:4]:
        for rival in list(contestants)[4:]:
            print(f"{ours} / {rival}: {ratio(speed[ours], speed[rival])}")
    print(f"bytes held: store {store.images.nbytes / 1e6:.0f} MB (mapped), CacheDataset {memory / 1e6:.0f} MB")


def write_volumes(folder: Path, count: int) -> list[dict[str, str]]:
    """Write volumes as NIfTI and return what MONAI reads."""
    folder.mkdir()
    for number in range(count):
        volume = nibabel.Nifti1Image(volume_of(number), np.diag([0.8, 0.8, 1.0, 1.0]))
        nibabel.save(volume, folder / f"{number}.nii.gz")
    return [{"image": str(folder / f"{number}.nii.gz")} for number in range(count)]


def volume_of(seed: int) -> np.ndarray:
    """Return int16 values of smooth structure, noise and air around a cylinder."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(0, 150, (1, 1, 16, 16, 10)).astype(np.float32))
    volume = F.interpolate(coarse, SHAPE, mode="trilinear")[0, 0].numpy() + rng.normal(0, 12, SHAPE)
    rows, columns = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), indexing="ij")
    volume[rows**2 + columns**2 > 0.8] = -1024
    return volume.astype(np.int16)


def packed(folder: Path) -> Store:
    """Return the store of the volumes at full size, windowed to 16 bits."""

    def prepare(image: Image) -> np.ndarray:
        return np.rint((image.array.astype(np.float32).clip(-1000, 1000) + 1000) * (65535 / 2000)).astype(np.uint16)

    table: pd.DataFrame = scan([folder]).table
    assert (table["status"] == "ok").all()
    return pack(scan([folder]), prepare, {"benchmark": "patches"}, cache=folder.parent / "store")


def view(store: Store, random: np.random.Generator) -> np.ndarray:
    """Return a patch where it lies, (1, 96, 96, 96): nothing is copied, as by CacheDataset without copies."""
    x, y, z = random.integers(0, np.array(store.images.shape[2:]) - SIDE + 1).tolist()
    return store.images[random.integers(len(store)), :, x : x + SIDE, y : y + SIDE, z : z + SIDE]


def patches(store: Store, random: np.random.Generator, out: np.ndarray | None = None) -> torch.Tensor:
    """Return a batch of patches at random places of random volumes, (PATCHES, 1, 96, 96, 96) uint16."""
    rows = random.integers(0, len(store), PATCHES)
    corners = random.integers(0, np.array(store.images.shape[2:]) - SIDE + 1, (PATCHES, 3))
    return torch.from_numpy(store.images.boxes(rows, corners, (SIDE,) * 3, out))


def monai(files: list[dict[str, str]], cache: Path) -> tuple[dict[str, Callable[[], object]], int]:
    """Return MONAI's contestants, and the bytes that its cache holds."""
    fixed = [LoadImaged("image"), EnsureChannelFirstd("image"), ScaleIntensityRanged("image", -1000, 1000, 0, 1)]
    steps = Compose([*fixed, RandSpatialCropd("image", (SIDE,) * 3, random_size=False)])
    persistent = PersistentDataset(files, steps, cache_dir=cache)
    cached = CacheDataset(files, steps, progress=False)
    bare = CacheDataset(files, steps, progress=False, copy_cache=False)
    count = PATCHES * len(files)
    random = np.random.default_rng(1)
    held = sum(entry["image"].numel() * entry["image"].element_size() for entry in bare._cache)
    return {
        "PersistentDataset": lambda: [persistent[k] for k in range(len(files))],
        "CacheDataset": lambda: [cached[k % len(files)] for k in range(count)],
        "CacheDataset, no copies": lambda: [bare[k % len(files)] for k in range(count)],
        "CacheDataset, no copies, batch": lambda: [
            torch.stack([bare[k]["image"].as_tensor() for k in random.integers(0, len(files), PATCHES)]) for _ in files
        ],
    }, held


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--kept", action="store_true", help="keep freed memory, as training does; MONAI gains by it, too"
    )
    chosen = parser.parse_args()
    main(chosen.volumes, chosen.rounds, kept=chosen.kept)
