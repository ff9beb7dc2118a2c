"""Which copies of real images are found by their look, and how often distinct images are taken for copies.

    python benchmarks/copies_found.py FOLDER... [--images 300] [--many 100000]

Each folder holds pictures and `labels.csv` with a column patient_id. Of the first images in a fixed random order a copy
of each kind is made and compared with its original. Then all images are compared with each other; pairs across patients
are false alarms, or copies that the set's makers did not know of: look at them.
"""

import argparse
import io
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from medssl.data import alike, duplicates
from medssl.data.look import TURNS, look
from medssl.data.readers import read_image
from medssl.data.scan import scan


def _jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    def compress(plane: np.ndarray) -> np.ndarray:
        kept = io.BytesIO()
        Image.fromarray(plane).save(kept, format="JPEG", quality=quality)
        return np.asarray(Image.open(kept))

    return compress


def _sized(plane: np.ndarray, rows: int, columns: int, how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize((columns, rows), how))


def _cut(share: float) -> Callable[[np.ndarray], np.ndarray]:
    def cut(plane: np.ndarray) -> np.ndarray:
        y, x = (max(1, round(share * n)) for n in plane.shape)
        return plane[y:-y, x:-x]

    return cut


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG quality 50": _jpeg(50),
    "JPEG quality 10": _jpeg(10),
    "half size": lambda a: _sized(a, a.shape[0] // 2, a.shape[1] // 2, Image.Resampling.BICUBIC),
    "96 x 96, proportions lost": lambda a: _sized(a, 96, 96, Image.Resampling.BILINEAR),
    "gamma 1.3": lambda a: np.rint(255 * (a / 255) ** 1.3).astype(np.uint8),
    "windowed (30 to 226)": lambda a: np.clip((a - 30.0) * 1.3, 0, 255).astype(np.uint8),
    "noise, deviation 8": lambda a: np.clip(a + np.random.default_rng(0).normal(0, 8, a.shape), 0, 255).astype(
        np.uint8
    ),
    "flipped left-right": np.fliplr,
    "turned by 90 degrees, JPEG 50": lambda a: _jpeg(50)(np.ascontiguousarray(np.rot90(a))),
    "1 % cut off each side": _cut(0.01),
    "2 % cut off each side": _cut(0.02),
    "5 % cut off each side": _cut(0.05),
}


def recall(planes: list[np.ndarray]) -> dict[str, float]:
    """Return the share of copies of each kind that are found."""
    result = {}
    for kind, change in KINDS.items():
        seen = [(look(plane[None]), look(np.ascontiguousarray(change(plane))[None])) for plane in planes]
        found = [
            bool(alike.pairs(np.stack([a.bits, b.bits]), np.stack([a.vector, b.vector]))) for a, b in seen if a and b
        ]
        result[kind] = sum(found) / len(found)
    return result


def alarms(folder: Path) -> str:
    """Return how many pairs of different patients, of all there are, are taken for copies."""
    manifest = scan([folder], labels=folder / "labels.csv")
    images = duplicates.survey([manifest])
    found = duplicates.find(images).table
    across = found[found["across"].str.contains("patients")]
    patients = images.about["patient"].value_counts().to_numpy()
    pairs = (len(images.about) ** 2 - int((patients**2).sum())) // 2
    looked = (across["kind"] == "near").sum()
    return f"{pairs} pairs across patients: {(across['kind'] == 'exact').sum()} equal, {looked} look alike"


def main() -> None:
    """Print one line a folder and kind, then the time that many images take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--many", type=int, default=0)
    asked = parser.parse_args()
    for folder in asked.folders:
        usable = scan([folder], labels=folder / "labels.csv").usable()
        order = np.random.default_rng(0).permutation(len(usable))[: asked.images]
        planes = [read_image(usable, usable.table.iloc[k]).array.mean(axis=0).astype(np.uint8) for k in order]
        for kind, share in recall(planes).items():
            print(f"{folder.name}: {kind}: {share:.1%} of {len(planes)} found")
        print(f"{folder.name}: {alarms(folder)}")
    if asked.many:
        random = np.random.default_rng(0)
        bits = random.integers(0, 2**63, (asked.many, len(TURNS)), dtype=np.uint64)
        vectors = random.standard_normal((asked.many, 16, 16)).astype(np.float16)
        began = time.process_time()
        alike.pairs(bits, vectors)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{asked.many} images: {time.process_time() - began:.0f} s of one core, {memory:.2f} GiB at most")


if __name__ == "__main__":
    main()
