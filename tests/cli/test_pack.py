"""`medssl pack` and `medssl verify`: the store that pretrain finds, and the bit that flipped."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from medssl import files
from medssl.cli.main import build
from medssl.data import packing
from medssl.data.keys import AS_THEY_ARE
from medssl.data.manifest import Manifest
from medssl.data.scan import scan


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The manifest of 8 images of 4 patients, one of which is gone."""
    folder = tmp_path / "archive"
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = ["file,patient_id,disease"]
    for k in range(8):
        Image.fromarray(random.integers(0, 255, (24, 24), dtype=np.uint8)).save(folder / f"image{k:03}.png")
        rows.append(f"image{k:03}.png,p{k // 2},{'no' if k % 4 < 2 else 'yes'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    path = folder / "manifest.parquet"
    scan([folder], labels=folder / "labels.csv", key=AS_THEY_ARE).save(path)
    (path.parent / "image003.png").unlink()
    return path


def packs(*_, **__):
    """Stand for the packing where none should be needed."""
    raise AssertionError("packed again")


def stores(manifest: Path) -> list[Path]:
    return [path for path in (manifest.parent / files.STORES).iterdir() if path.is_dir()]


TINY = (
    "train.epochs=1 train.batch_size=4 train.workers=0 vit.patch_size=4 vit.width=32 vit.depth=1 vit.heads=2 "
    "mae.decoder_width=32 mae.decoder_depth=1 mae.decoder_heads=2"
)


def pretrain(data: Path, out: Path, *more: str) -> Result:
    words = [word for one in (*TINY.split(), *more) for word in ("--set", one)]
    return run("pretrain", "--modality", "oct", "--method", "mae", "--data", data, "-o", out, *words)


def test_it_tells_what_was_made_and_pretrain_packs_nothing(archive, tmp_path, monkeypatch):
    done = run("pack", archive, "--modality", "oct", "--set", "data.image_size=16")
    assert done.exit_code == 0, done.output
    (store,) = stores(archive)
    for said in [
        r"images +7 of 8, packed now",
        r"each +16 x 16, 1 channel, uint8",
        r"on disk +0\.0 MB in 1 shard",
        rf"store +{re.escape(str(store))}",
        r"left out +sample [0-9a-f]{16}: The file is not there",
        rf"next: medssl pretrain --modality oct --method mae --data {re.escape(str(archive))} --set data.image_size=16",
    ]:
        assert re.search(said, done.stdout), said
    assert "packing images 8/8" in done.stderr

    monkeypatch.setattr(packing, "write_images", packs)
    found = run("pack", archive, "--modality", "oct", "--set", "data.image_size=16")
    assert "7 of 8, packed before" in found.stdout
    trained = pretrain(archive, tmp_path / "run", "data.image_size=16")
    assert trained.exit_code == 0, trained.output
    assert stores(archive) == [store]


def test_the_size_is_the_one_that_pretrain_chooses_here(archive, tmp_path):
    assert run("pack", archive, "--modality", "oct").exit_code == 0
    assert pretrain(archive, tmp_path / "run").exit_code == 0
    assert len(stores(archive)) == 1


def test_a_folder_needs_a_place_and_pretrain_finds_it_there(archive, tmp_path, monkeypatch):
    folder = archive.parent
    archive.unlink()
    refused = run("pack", folder, "--modality", "oct", "--set", "data.holdout=0")
    assert refused.exit_code == 2
    assert "only read" in refused.stderr
    size = "data.image_size=16"
    done = run("pack", folder, "--modality", "oct", "--cache", tmp_path / "c", "--set", size, "--set", "data.holdout=0")
    assert done.exit_code == 0, done.output
    assert f"next: MEDSSL_CACHE_DIR={tmp_path / 'c'} medssl pretrain" in done.stdout
    monkeypatch.setenv("MEDSSL_CACHE_DIR", str(tmp_path / "c"))
    monkeypatch.setattr(packing, "write_images", packs)
    trained = pretrain(folder, tmp_path / "run", size, "data.holdout=0")
    assert trained.exit_code == 0, trained.output
    assert not (folder / files.STORES).exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere", "--modality", "oct"], 65, "no such file"),
        (["{}", "--modality", "otc"], 2, "Did you mean 'oct'"),
        (["{}", "--modality", "oct", "--set", "train.epochs=2"], 2, "does not change what is stored"),
        (["{}", "--modality", "oct", "--set", "data.image_sice=2"], 2, "image_size"),
        (["{}", "--modality", "oct", "--set", "data.transforms=[{name: Resiz}]"], 2, "Did you mean Resize"),
        (["{}", "--modality", "ct"], 65, "None of the 8 images"),
    ],
)
def test_what_cannot_be_packed_is_a_sentence(archive, arguments, code, said):
    done = run("pack", *[argument.replace("{}", str(archive)) for argument in arguments])
    assert done.exit_code == code, done.output
    assert said in done.stderr


def test_other_stores_are_dropped_when_asked(archive):
    run("pack", archive, "--modality", "oct", "--set", "data.image_size=16")
    (old,) = stores(archive)
    done = run("pack", archive, "--modality", "oct", "--set", "data.image_size=24", "--drop-unused", "0")
    assert f"removed {old}" in done.stdout
    assert len(stores(archive)) == 1
    assert stores(archive) != [old]


def test_verify_finds_the_bit_names_the_sample_and_repair_packs_anew(archive, tmp_path):
    run("pack", archive, "--modality", "oct", "--set", "data.image_size=16")
    (store,) = stores(archive)
    for place in (store, store.parent, archive.parent, archive):
        done = run("verify", place)
        assert done.exit_code == 0, done.output
        assert f"whole  {store}  (7 images" in done.stdout
    shard = store / "images-00000.npy"
    whole = shard.read_bytes()
    data = bytearray(whole)
    data[128 + 256 + 5] ^= 4
    shard.write_bytes(data)
    sample = Manifest.load(archive).usable().table.sort_values("path")["sample_id"].iloc[1]
    for place in (store, archive):
        done = run("verify", place)
        assert done.exit_code == 65
        assert f"images-00000.npy is not what was written: sample {sample}" in done.stdout
        assert "--repair" in done.stderr
    done = run("verify", archive, "--repair")
    assert done.exit_code == 0, done.output
    assert f"damaged, removed  {store}" in done.stdout
    assert run("pack", archive, "--modality", "oct", "--set", "data.image_size=16").exit_code == 0
    assert shard.read_bytes() == whole


def test_verify_looks_at_a_run_with_its_store(archive, tmp_path):
    assert pretrain(archive, tmp_path / "run", "data.image_size=16").exit_code == 0
    done = run("verify", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "run" / "backbone") in done.stdout
    assert str(stores(archive)[0]) in done.stdout
    weights = tmp_path / "run" / "backbone" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = run("verify", tmp_path / "run", "--repair")
    assert done.exit_code == 65
    assert "model.safetensors is not what was written" in done.stdout
    assert weights.exists()


def test_verify_says_when_there_is_nothing(archive, tmp_path):
    for path, said in [(tmp_path / "x", "no such file"), (archive, "No store"), (tmp_path, "nothing to verify")]:
        done = run("verify", path)
        assert done.exit_code == 65
        assert said in done.stderr


def test_transforms_by_name_are_part_of_the_store_and_of_the_run(archive, tmp_path):
    flipped = 'data.transforms=[{"name": "Flip", "spatial_axis": 0}]'
    for sets in ([], ["--set", flipped]):
        done = run("pack", archive, "--modality", "oct", "--set", "data.image_size=24", *sets)
        assert done.exit_code == 0, done.output
    plain, turned = sorted(
        stores(archive), key=lambda s: "transforms" in json.loads((s / "store.json").read_text())["key_parts"]
    )
    images = [np.load(store / "images-00000.npy") for store in (plain, turned)]
    np.testing.assert_array_equal(images[0][:, :, ::-1], images[1])
    assert pretrain(archive, tmp_path / "run", "data.image_size=24", flipped).exit_code == 0
    assert len(stores(archive)) == 2
    shutil.rmtree(plain)
    arms = ["--arms", tmp_path / "run", "--data", archive, "--label", "disease", "--fractions", "100", "--draws", "1"]
    done = run("sweep", *arms, "--budget", "steps=2", "-o", tmp_path / "sweep")
    assert "the test set" in done.output or done.exit_code == 0, done.output
    assert stores(archive) == [turned]
