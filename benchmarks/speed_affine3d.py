"""3D affine augmentation of a batch of 96^3 patches: medssl beside MONAI's RandAffined.

    OMP_NUM_THREADS=1 python benchmarks/speed_affine3d.py [--batch 4] [--side 96] [--rounds 9] [--kept]

Rotation about each axis by up to 15 degrees and zoom 0.8 to 1.25, linear, mirrored (`reflection`) at the border, as
medssl does it, and with the border repeated, the quickest of MONAI's. Parameters are drawn in both.
"""

import argparse
import logging
import math
from functools import partial

import numpy as np
import torch
from monai.transforms import RandAffined
from racing import race, rates, ratio, show, show_machine
from scipy.ndimage import affine_transform

from medssl.augment import geometry
from medssl.chance import Chance, key
from medssl.training.device import keep_freed_memory

SETTINGS = geometry.Settings(rotation_degrees=15, zoom=(0.8, 1.25))


def main(batch: int, side: int, rounds: int, *, kept: bool) -> None:
    """Race, and print."""
    logging.getLogger("monai").setLevel(logging.ERROR)
    if kept:
        keep_freed_memory()
    images = torch.from_numpy(np.random.default_rng(0).random((batch, 1, side, side, side), dtype=np.float32))
    print(f"largest difference from scipy's spline of order 1, inside: {difference(images[:1]):.2g}")
    singles = [{"image": image} for image in images]
    epochs = iter(range(10**9))
    contestants = {
        "medssl": lambda: ours(images, next(epochs)),
        "RandAffined, reflection": partial(theirs, monai("reflection"), singles),
        "RandAffined, border": partial(theirs, monai("border"), singles),
    }
    speed = rates(race(contestants, rounds), dict.fromkeys(contestants, batch))
    show_machine("monai")
    show(f"affines of {batch} volumes of {side}^3", speed, "volumes/s")
    for rival in list(contestants)[1:]:
        print(f"medssl / {rival}: {ratio(speed['medssl'], speed[rival])}")


def ours(images: torch.Tensor, epoch: int) -> torch.Tensor:
    """Draw and apply the geometry of a view for each image."""
    chance = Chance([key(0, epoch, place) for place in range(len(images))])
    return geometry.apply(images, geometry.sample(chance, SETTINGS, 3))


def theirs(affine: RandAffined, singles: list[dict[str, torch.Tensor]]) -> list[object]:
    """Apply MONAI's affine to each image."""
    return [affine(one) for one in singles]


def monai(padding: str) -> RandAffined:
    """Return MONAI's affine of the same ranges."""
    return RandAffined(
        "image", prob=1.0, rotate_range=(math.radians(15),) * 3, scale_range=(0.25,) * 3, padding_mode=padding
    )


def difference(image: torch.Tensor) -> float:
    """Return how far a warp is from scipy's, where scipy reads no pixel beyond the border."""
    drawn = geometry.sample(Chance([1]), geometry.Settings(rotation_degrees=15, zoom=(1.5, 1.5)), 3)
    n = image.shape[-1]
    normal = geometry.matrix(drawn, image.shape[2:])[0].numpy()
    offset = (normal @ [*[(1 - n) / n] * 3, 1] + 1) * n / 2 - 0.5
    theirs = affine_transform(image[0, 0].numpy(), normal[:, :3], offset, order=1, mode="mirror")
    return float(np.abs(geometry.apply(image, drawn)[0, 0].numpy() - theirs).max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--kept", action="store_true", help="keep freed memory, as training does")
    chosen = parser.parse_args()
    main(chosen.batch, chosen.side, chosen.rounds, kept=chosen.kept)
