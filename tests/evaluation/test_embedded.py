"""Features of a manifest: order, baselines, what is written and what never is."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from medssl.backbones.weights import export, load_backbone
from medssl.data.manifest import Manifest
from medssl.errors import DataError, SettingsError
from medssl.evaluation import embedded, shortcut
from medssl.evaluation.arms import open_run
from medssl.evaluation.embedded import open_images, save, source_of

CPU = torch.device("cpu")


def test_each_row_holds_the_features_of_its_image(run, here):
    images = open_images(run, here)
    features = images.features(source_of(images), CPU)
    store, rows = images.cohort.stores[images.run.recipe]
    assert list(images.table["sample_id"]) == [store.index["sample_id"].iloc[row] for row in rows]
    examples = images.cohort.examples(images.run.recipe)
    with torch.inference_mode():
        wanted = torch.cat([load_backbone(run / "backbone")(view).pooled for view in examples.plain(5, CPU)])
    np.testing.assert_allclose(features, wanted.numpy(), atol=1e-5)
    chosen = open_images(run, here, where="finding == 'yes'")
    some = chosen.features(source_of(chosen), CPU)
    np.testing.assert_allclose(some, features[(images.table["finding"] == "yes").to_numpy(dtype=bool)], atol=1e-5)


def test_baselines(run, here):
    images = open_images(run, here)
    store, rows = images.cohort.stores[images.run.recipe]
    pixels = images.features(source_of(images, "pixels"), CPU)
    np.testing.assert_allclose(pixels, shortcut.pixels(store.images, rows, store.levels))
    first, other = (images.features(source_of(images, "random", seed), CPU) for seed in (0, 1))
    assert first.shape == images.features(source_of(images), CPU).shape
    assert not np.allclose(first, other)
    assert len(images.features(source_of(images, "shortcut"), CPU)) == len(images)
    with pytest.raises(SettingsError, match=r"Unknown baseline 'rnadom'. Did you mean 'random'"):
        source_of(images, "rnadom")


def test_the_table_has_keyed_ids_and_labels_asked_for_and_no_path(run, here, tmp_path):
    images = open_images(run, here, labels=["finding"])
    features = images.features(source_of(images), CPU)
    save(images, features, None, tmp_path / "f.parquet")
    table = pd.read_parquet(tmp_path / "f.parquet")
    manifest = Manifest.load(here).table
    for name in ("sample_id", "patient_id", "site", "manufacturer", "finding"):
        assert table[name].tolist() == manifest[name].tolist()
    assert not {"path", "planes", "study_date", "remarks", "file_bytes"} & set(table.columns)
    np.testing.assert_array_equal(np.stack(table["features"]), features.astype(np.float32))
    said = json.loads(pq.read_schema(tmp_path / "f.parquet").metadata[b"medssl"])
    assert (said["method"], said["width"], said["weights"]) == ("mae", 16, images.run.weights_hash)
    assert "finding" not in open_images(run, here).labels


def test_patients_may_be_unknown(run, make_cohort, tmp_path):
    manifest = make_cohort(tmp_path / "m", patients=3, patient_id=None)
    images = open_images(run, manifest)
    assert len(set(images.patients())) == 6
    assert len(images.features(source_of(images), CPU)) == 6


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"labels": ["findin"]}, SettingsError, "Did you mean 'finding'"),
        ({"labels": ["patient_id"]}, SettingsError, "names people"),
        ({"checkpoint": "beste"}, SettingsError, "'last' or 'best'"),
        ({"where": "site == 'nowhere'"}, DataError, "None of 48 images"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(run, here, asked, error, said):
    with pytest.raises(error, match=said):
        open_images(run, here, **asked)


def test_a_manifest_without_usable_rows_gives_the_first_reason(run, here, tmp_path):
    loaded = Manifest.load(here)
    bad = loaded.with_table(loaded.table.assign(status="unreadable", reason="it is torn"))
    bad.save(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="None of the 48 rows is an image that can be read; the first: it is torn"):
        open_images(run, tmp_path / "bad.parquet")


def test_snapshots_are_in_the_order_of_their_epochs(here, make_run, tmp_path):
    folder = make_run(tmp_path / "run", here)
    assert embedded.snapshots(open_images(folder, here).run) == []
    settings = folder / "settings.yaml"
    settings.write_text(settings.read_text().replace("train:", "train:\n  epochs: 20\n  keep_epochs: [10, 2]"))
    for epoch in (10, 2):
        shutil.copytree(folder / "backbone", folder / "snapshots" / f"epoch-{epoch}")
    assert [kept.epoch for kept in embedded.snapshots(open_images(folder, here).run)] == [2, 10]


def test_the_best_weights_are_of_the_epoch_in_which_they_were_liked(here, make_run, tmp_path):
    folder = make_run(tmp_path / "run", here)
    export(load_backbone(folder / "backbone"), folder / "backbone-best", {})
    assert embedded.epoch_of(open_run(folder)) == 100
    assert embedded.epoch_of(open_run(folder, "best")) is None  # its card does not tell
    card = {"training": {"epochs": 12, "steps": 120}, "chosen": {"step": 41}}
    shutil.rmtree(folder / "backbone-best")
    export(load_backbone(folder / "backbone"), folder / "backbone-best", card)
    assert embedded.epoch_of(open_run(folder, "best")) == 5


def test_features_say_after_which_epoch_their_weights_were_taken(run, here, make_run, tmp_path):
    images = open_images(run, here)
    assert embedded.about(images, None, 16)["epoch"] == 100
    assert "epoch" not in embedded.about(images, "random", 16)
    folder = make_run(tmp_path / "run", here)
    card = {"training": {"epochs": 12, "steps": 120}, "chosen": {"step": 41}}
    export(load_backbone(folder / "backbone"), folder / "backbone-best", card)
    export(load_backbone(folder / "backbone"), folder / "snapshots" / "epoch-7", {})
    assert embedded.about(open_images(folder, here, checkpoint="best"), None, 16)["epoch"] == 5
    assert embedded.about(open_images(f"{folder}@7", here), None, 16)["epoch"] == 7
