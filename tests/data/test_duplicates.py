"""Duplicates: copies of every kind are found, other images are not, and what is inside a patient is counted only."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from medssl.cli.main import build
from medssl.data import alike, duplicates
from medssl.data.columns import typed
from medssl.data.freezing import freeze
from medssl.data.look import TURNS, look
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.data.split_rule import Rule
from medssl.errors import DataError


def scene(seed: int, shape: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A few soft blobs, unlike in every direction."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y / shape[0], x / shape[1]
    total = np.zeros(shape)
    for _ in range(12):
        cy, cx, width = random.uniform(0, 1, 3)
        total += random.uniform(-1, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (0.02 + 0.05 * width))
    return np.rint(255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)


def compressed(image: np.ndarray) -> np.ndarray:
    kept = io.BytesIO()
    Image.fromarray(image).save(kept, format="JPEG", quality=30)
    return np.asarray(Image.open(kept))


def resized(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((50, 70), Image.Resampling.BILINEAR))


def windowed(image: np.ndarray) -> np.ndarray:
    return np.clip((image.astype(float) - 10) * 1.08, 0, 255).astype(np.uint8)


COPIES = {
    "compressed": compressed,
    "resized": resized,
    "windowed": windowed,
    "flipped": np.fliplr,
    "upside down": np.flipud,
    "turned and compressed": lambda image: compressed(np.ascontiguousarray(np.rot90(image))),
    "flipped and resized": lambda image: resized(np.ascontiguousarray(np.fliplr(image))),
}


def manifest(folder: Path, images: list[np.ndarray], **columns) -> Manifest:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    base = {
        "sample_id": [f"s{k}" for k in range(len(images))],
        "path": [f"{k}.png" for k in range(len(images))],
        "format": "raster",
        "status": "ok",
        "patient_id": [f"p{k}" for k in range(len(images))],
    }
    return Manifest(typed(pd.DataFrame(base | columns)), folder, folder.name)


def paired(found: duplicates.Duplicates) -> set[tuple[str, str]]:
    return set(zip(found.table["sample_a"], found.table["sample_b"], strict=True))


@pytest.mark.parametrize("kind", list(COPIES))
def test_every_copy_is_found_and_nothing_else(tmp_path, kind):
    images = [scene(seed) for seed in range(30)]
    copies = [np.ascontiguousarray(COPIES[kind](image)) for image in images[:10]]
    found = duplicates.find(duplicates.survey([manifest(tmp_path / "m", images + copies)]))
    assert paired(found) == {(f"s{k}", f"s{30 + k}") for k in range(10)}
    assert set(found.table["kind"]) == {"near"}
    assert set(found.table["across"]) == {"patients"}
    assert found.table["group"].tolist() == list(range(1, 11))


def test_equal_pixels_are_told_apart_from_likeness_and_the_turn_is_named(tmp_path):
    image = scene(1)
    same = manifest(tmp_path / "m", [image, image, np.fliplr(image), scene(2), image])
    table = duplicates.find(duplicates.survey([same])).table
    assert table[["kind", "sample_a", "sample_b", "turn"]].to_numpy().tolist() == [
        ["exact", "s0", "s1", "as it is"],
        ["exact", "s0", "s4", "as it is"],
        ["near", "s0", "s2", "flipped left-right"],
    ]
    assert set(table["group"]) == {1}


def test_what_crosses_patients_parts_or_manifests_is_listed_and_the_rest_is_counted(tmp_path):
    a, b, c = scene(1), scene(2), scene(3)
    here = manifest(
        tmp_path / "here", [a, compressed(a), b, compressed(b)], patient_id=list("ppqq"), split=["train"] * 3 + ["test"]
    )
    there = manifest(tmp_path / "there", [c, b], patient_id=["z", "q"])
    found = duplicates.find(duplicates.survey([here, there]))
    assert found.inside == 1
    across = dict(zip(zip(found.table["manifest_b"], found.table["sample_b"]), found.table["across"], strict=True))
    assert across == {("there", "s1"): "splits manifests", ("here", "s3"): "splits"} or across == {
        ("here", "s3"): "splits",
        ("there", "s1"): "splits manifests",
    }
    assert found.sentences()[1] == "across splits: 1 pairs with equal pixels, 1 that look alike"


def test_a_patient_that_is_unknown_could_be_another(tmp_path):
    image = scene(1)
    unknown = manifest(tmp_path / "m", [image, image], patient_id=["p", None])
    assert duplicates.find(duplicates.survey([unknown])).table["across"].tolist() == ["patients"]


def test_blank_images_are_compared_by_pixels_only_and_unreadable_ones_are_counted(tmp_path):
    blank = np.zeros((20, 20), np.uint8)
    some = manifest(tmp_path / "m", [blank, blank, blank + 9, scene(1)])
    (tmp_path / "m" / "3.png").write_bytes(b"no picture")
    found = duplicates.find(duplicates.survey([some]))
    assert paired(found) == {("s0", "s1")}
    assert found.sentences()[0] == "3 images compared, 1 could not be read"
    assert "3 images have no structure and were compared by pixels only" in found.sentences()
    for number in range(4):
        (tmp_path / "m" / f"{number}.png").unlink()
    with pytest.raises(DataError, match=r"None of 4 images can be read; the first: .*not there"):
        duplicates.survey([some])


def test_pairs_are_those_of_a_slow_loop(monkeypatch):
    monkeypatch.setattr(alike, "_COLUMNS", 7)
    monkeypatch.setattr(alike, "_AT_ONCE", 2)
    seen = [look((scene(k // 3) if k % 3 else np.rot90(scene(k // 3), k % 4))[None]) for k in range(40)]
    bits, vectors = np.stack([s.bits for s in seen]), np.stack([s.vector for s in seen])
    slow = {}
    for i in range(40):
        for j in range(i + 1, 40):
            for number, turn in enumerate(TURNS.values()):
                apart = bin(int(bits[i, 0]) ^ int(bits[j, number])).count("1")
                product = float((vectors[i].astype(float) * turn(vectors[j].astype(float))).sum())
                if apart <= 12 and product >= 0.8 and product > slow.get((i, j), 0):
                    slow[i, j] = product
    fast = {pair[:2]: pair.similarity for pair in alike.pairs(bits, vectors, distance=12, similarity=0.8)}
    assert len(slow) >= 20
    assert fast.keys() == slow.keys()
    assert all(abs(fast[pair] - slow[pair]) < 1e-3 for pair in slow)
    between = alike.pairs(bits, vectors, distance=12, similarity=0.8, split=17)
    assert {pair[:2] for pair in between} == {(i, j) for i, j in slow if i < 17 <= j}


def test_more_pairs_than_can_be_told_apart_are_an_error(monkeypatch):
    monkeypatch.setattr(alike, "_MOST", 10)
    seen = look(scene(0)[None])
    with pytest.raises(DataError, match="More than 10 pairs of 9 images look alike"):
        alike.pairs(np.stack([seen.bits] * 9), np.stack([seen.vector] * 9))


def test_a_split_keeps_patients_with_copies_of_one_image_on_one_side(tmp_path):
    images = [scene(seed) for seed in range(20)]
    cohort = manifest(tmp_path / "m", images + [compressed(image) for image in images])
    cohort.save(tmp_path / "m" / "m.parquet")
    done = CliRunner().invoke(
        build(), ["data", "duplicates", str(tmp_path / "m/m.parquet"), "-o", str(tmp_path / "pairs.csv"),
                  "--sheet", str(tmp_path / "sheet.png")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "across patients: 0 pairs with equal pixels, 20 that look alike" in done.output
    assert f"--together {tmp_path / 'pairs.csv'}" in done.output
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.width > 1000
    pairs = duplicates.load(tmp_path / "pairs.csv")
    rule = Rule(test=0.5)
    apart, kept = (
        dict(zip(cohort.table["sample_id"], freeze(cohort, rule, together=some).table["split"], strict=True))
        for some in ((), pairs)
    )
    assert any(apart[a] != apart[b] for a, b in pairs)
    assert all(kept[a] == kept[b] for a, b in pairs)
    assert sorted(kept.values()).count("test") == 20
    assert (
        "40 patients with images that look alike are kept together" in freeze(cohort, rule, together=pairs).remarks[-1]
    )


def test_a_table_of_something_else_is_no_table_of_pairs(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    with pytest.raises(DataError, match="names no pairs"):
        duplicates.load(tmp_path / "labels.csv")


@pytest.mark.skipif(not os.environ.get("MEDSSL_REAL_DATA"), reason="reads whole sets of real images")
@pytest.mark.parametrize(
    ("name", "exact", "near"), [("cxr-pneumonia-nih", 0, 0), ("oct-kermany", 0, 0), ("oct-octdl", 0, 0)]
)
def test_real_images_of_different_patients_are_no_copies_of_each_other(real_data, name, exact, near):
    found = duplicates.find(duplicates.survey([scan([real_data / name], labels=real_data / name / "labels.csv")]))
    crossing = found.table[found.table["across"].str.contains("patients")]
    assert (crossing["kind"] == "exact").sum() == exact
    assert (crossing["kind"] == "near").sum() == near
