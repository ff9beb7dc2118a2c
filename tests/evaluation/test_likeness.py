"""A sweep tells of test images that look like a training image, which no patient and no pixel hash gives away."""

import numpy as np
import pandas as pd
from PIL import Image

from medssl.data.columns import typed
from medssl.data.manifest import Manifest
from medssl.evaluation import likeness
from medssl.evaluation.arms import Recipe
from medssl.evaluation.cohort import gather


def scene(seed: int) -> np.ndarray:
    """A few soft blobs."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48] / 48
    blobs = [random.uniform(0, 1, 4) for _ in range(12)]
    total = sum((s - 0.5) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (0.01 + 0.04 * w)) for cy, cx, w, s in blobs)
    return np.rint(255 * (total - np.min(total)) / np.ptp(total)).astype(np.uint8)


def cohort(folder, images, prefix):
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    names = [f"{prefix}{number}" for number in range(len(images))]
    table = pd.DataFrame(
        {"sample_id": names, "path": [f"{k}.png" for k in range(len(images))], "format": "raster", "status": "ok",
         "patient_id": names, "ndim": 2}
    )  # fmt: skip
    manifest = Manifest(typed(table), folder, prefix)
    chosen = manifest.table.assign(target=1.0)
    return gather(manifest, chosen, prefix, "id", [Recipe("oct", 32)], lambda *_: None)


def test_flipped_and_smoothed_copies_are_told_with_the_nearest_pair(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_CACHE_DIR", str(tmp_path / "cache"))
    pool = cohort(tmp_path / "pool", [scene(seed) for seed in range(12)], "train")
    smaller = np.asarray(Image.fromarray(scene(5)).resize((40, 40), Image.Resampling.BOX))
    test = cohort(tmp_path / "test", [scene(30), np.fliplr(scene(3)), scene(31), smaller], "test")
    other = cohort(tmp_path / "other", [scene(seed) for seed in range(40, 50)], "far")
    (told,) = likeness.told(pool, {"id": test, "far": other})
    assert told.startswith(
        "2 of 4 images of the test set 'id' look like a training image, most of all test1 like train3"
    )
    assert not set(pool.table["pixel_hash"]) & set(test.table["pixel_hash"])
