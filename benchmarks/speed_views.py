"""How fast are two views an image? medssl from its packed store against MONAI's dictionary transforms.

    OMP_NUM_THREADS=1 python benchmarks/speed_views.py

The same list for both, in kind, range and probability, not bit by bit: crop, rotation and flip; gamma, contrast and
brightness; blur; normalisation to mean 0 and standard deviation 1; 224 x 224 grey. MONAI's geometry is one
`RandAffined` and a flip, the quickest way to say it there. MONAI starts from PNG files, or from arrays kept in memory;
medssl from the memory-mapped store. Freed memory is kept, as in every training of medssl: MONAI gains by it, too. The
pictures are smooth noise: no operation looks at what they show.
"""

import argparse
import logging
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianSmoothd,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    ScaleIntensityRanged,
)
from PIL import Image
from racing import race, rates, ratio, show, show_machine
from scipy.ndimage import gaussian_filter

from medssl.data.loader import Loader
from medssl.data.scan import scan
from medssl.data.store import pack
from medssl.methods.parts.wish import ViewWish
from medssl.modalities.oct import MODALITY
from medssl.training.device import keep_freed_memory
from medssl.training.views import make_views

SIDE = 224


def main(images: int, rounds: int) -> None:
    """Write the pictures, race, and print."""
    logging.getLogger("monai").setLevel(logging.ERROR)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        files = write_pictures(folder, images)
        load, view = monai_lists()
        kept = [load({"image": file}) for file in files]
        contestants: dict[str, Callable[[], object]] = {
            "medssl, from the store": views_of_store(folder),
            "MONAI, from memory": lambda: [(view(one), view(one)) for one in kept],
            "MONAI, from files": lambda: [(view(one), view(one)) for one in (load({"image": file}) for file in files)],
        }
        seconds = race(contestants, rounds)
    speed = rates(seconds, dict.fromkeys(contestants, images))
    ours, *rivals = contestants
    show_machine("monai")
    show(f"two views an image, {images} images of {SIDE} x {SIDE}", speed, "images/s")
    for rival in rivals:
        print(f"medssl / {rival}: {ratio(speed[ours], speed[rival])}")


def write_pictures(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Write smooth noise as 8-bit PNG files and return their names."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    names = []
    for number in range(count):
        field = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3) * 600 + rng.normal(0, 8, (SIDE, SIDE)) + 110
        names.append(str(folder / f"{number:04}.png"))
        Image.fromarray(field.clip(0, 255).astype(np.uint8)).save(names[-1])
    return names


def views_of_store(folder: Path) -> Callable[[], list[torch.Tensor]]:
    """Pack the pictures; return a call that makes two strong views of all of them, without speckle."""
    modality = MODALITY.with_augment({"speckle": {"probability": 0.0}})
    prepare = partial(modality.prepare, size=SIDE)
    store = pack(scan([folder]), prepare, modality.key_parts(SIDE), cache=folder.parent / "store")
    loader = Loader(store, np.arange(len(store)), batch_size=len(store), seed=0, workers=0)
    wish = [ViewWish(count=2, strength="strong")]
    return lambda: make_views(loader.batch(0), wish, modality, seed=0, epoch=0)


def monai_lists() -> tuple[Compose, Compose]:
    """Return MONAI's loading, and its list for a view with the ranges of medssl's strong OCT views."""
    least = math.sqrt(0.3) - 1  # crops of 0.3 to 1 of the area
    key = "image"
    load = [LoadImaged(key, reader="PILReader"), EnsureChannelFirstd(key), ScaleIntensityRanged(key, 0, 255, 0, 1)]
    view = [
        RandAffined(
            key,
            prob=1.0,
            rotate_range=math.radians(10),
            scale_range=((least, 0.0), (least, 0.0)),
            translate_range=SIDE // 8,
            padding_mode="reflection",
        ),
        RandFlipd(key, prob=0.5, spatial_axis=1),
        RandAdjustContrastd(key, prob=0.8, gamma=(0.7, 1.4)),
        RandScaleIntensityFixedMeand(key, prob=0.8, factors=(-0.3, 0.4)),
        RandShiftIntensityd(key, prob=0.8, offsets=0.1),
        RandGaussianSmoothd(key, prob=0.5, sigma_x=(0.1, 2.0), sigma_y=(0.1, 2.0)),
        NormalizeIntensityd(key),
    ]
    return Compose(load), Compose(view)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    main(chosen.images, chosen.rounds)
