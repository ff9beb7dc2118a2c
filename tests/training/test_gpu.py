"""What a GPU computes is what the CPU computes, as far as its arithmetic allows; skipped where there is none."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from medssl import files
from medssl.api import pretrain
from medssl.backbones.weights import load_backbone
from medssl.batch import Batch
from medssl.evaluation.sweep import sweep
from medssl.methods.parts.wish import ViewWish
from medssl.modalities import cxr, oct
from medssl.training import device
from medssl.training.views import make_views, plain_view

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; run `make test-gpu`")

BACKBONES = {"mae": "vit_nano", "simclr": "resnet18"}


def losses(run):
    return np.array([line["loss"] for line in files.read_json_lines(run.folder / "metrics.jsonl") if "loss" in line])


def batch(count=5, size=40):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (count, 1, size, size)).astype(np.uint8))
    names = [f"s{number}" for number in range(count)]
    return Batch(image=image, sample_id=names, patient_id=names, content=names)


@pytest.mark.parametrize("modality", [oct.MODALITY, cxr.MODALITY], ids=["oct", "cxr"])
def test_views_are_those_of_the_cpu(modality):
    wish = [ViewWish(2, "strong", None), ViewWish(1, "weak", 32)]
    ours = make_views(batch(), wish, modality, seed=0, epoch=0, device="cuda")
    for there, here in zip(ours, make_views(batch(), wish, modality, seed=0, epoch=0), strict=True):
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here, atol=2e-3, rtol=0)
    torch.testing.assert_close(plain_view(batch(), modality, "cuda").cpu(), plain_view(batch(), modality))


@pytest.mark.parametrize("method", list(BACKBONES))
def test_a_pretraining_begins_as_on_the_cpu_and_ends_usable(method, manifest, small, tmp_path):
    small["train"] |= {"log_every": 1, "epochs": 3}
    if method == "simclr":
        small = {"data": small["data"], "resnet": {"stem_width": 8}, "train": small["train"]}
    named = {"modality": "oct", "method": method, "backbone": BACKBONES[method], "data": manifest}
    runs = {}
    for kind in ("cpu", "cuda"):
        small["train"]["device"] = kind
        runs[kind] = pretrain(**named, settings=small, out=tmp_path / kind)
    here, there = losses(runs["cpu"]), losses(runs["cuda"])
    assert len(here) == len(there)
    np.testing.assert_allclose(there[:3], here[:3], rtol=2e-2)
    assert np.isfinite(there).all()
    assert "cpu" not in runs["cuda"].provenance["device"].lower()
    backbone = load_backbone(tmp_path / "cuda" / "backbone")
    assert torch.isfinite(backbone(torch.zeros(2, 1, 16, 16)).pooled).all()


def test_auto_takes_the_gpu_and_bf16(manifest, small, tmp_path):
    small["train"]["precision"] = "auto"
    run = pretrain("oct", "mae", backbone="vit_nano", data=manifest, settings=small, out=tmp_path / "run")
    assert run.settings["train"]["precision"] == "bf16"
    assert run.settings["train"]["device"] == "cuda"
    assert np.isfinite(losses(run)).all()


def test_an_interrupted_run_goes_on(manifest, small, tmp_path):
    small["train"] |= {"log_every": 1, "epochs": 2}
    named = {"modality": "oct", "method": "mae", "backbone": "vit_nano", "data": manifest, "settings": small}
    whole = pretrain(**named, out=tmp_path / "whole")

    def stop(kind, values):
        if kind == "step" and values["step"] >= 7:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Exception)):
        pretrain(**named, out=tmp_path / "cut", progress=stop)
    resumed = pretrain(**named, out=tmp_path / "cut", resume=True)
    np.testing.assert_allclose(losses(resumed)[-3:], losses(whole)[-3:], rtol=2e-2)


@pytest.mark.parametrize("kinds", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_process_uses_both_devices(kinds):
    for kind in kinds:
        assert device.open_device(kind).target.type == kind


def test_the_global_chance_of_the_gpu_comes_back():
    opened = device.open_device("cuda")
    torch.cuda.manual_seed(3)
    expected = torch.rand(4, device="cuda")
    torch.cuda.manual_seed(3)
    with opened.seeded():
        torch.manual_seed(8)
        torch.rand(100, device="cuda")
    assert torch.equal(torch.rand(4, device="cuda"), expected)


@pytest.mark.parametrize("mode", ["probe", "finetune"])
def test_a_sweep_ranks_the_patients_as_on_the_cpu(mode, manifest, small, tmp_path):
    small["data"]["holdout"] = 0.3
    run = pretrain("oct", "mae", backbone="vit_nano", data=manifest, settings=small, out=tmp_path / "run").folder
    budget = {"steps": 20, "batch_size": 8, "check_every": 5, "patience": 2, "race_checks": 1, "warmup_steps": 2,
              "fixed_steps": 5, "learning_rates": (1e-3, 1e-2)}  # fmt: skip
    tables = {}
    for kind in ("cpu", "cuda"):
        done = sweep(
            arms=[run], manifest=manifest, label="disease", fractions=[100], draws=1, mode=mode, budget=budget,
            resamples=50, device=kind, out=tmp_path / kind,
        )  # fmt: skip
        tables[kind] = pd.read_parquet(done.folder / "predictions.parquet")
        assert json.loads((done.folder / "results.json").read_text())["scores"]
    keys = ["arm", "seed", "draw", "sample_id"]
    both = tables["cpu"].merge(tables["cuda"], on=keys)
    assert len(both) == len(tables["cpu"])
    trained = both["arm"].isin(["scratch", "mae"]) if mode == "finetune" else both["arm"].eq("scratch")
    fixed = both[~trained]
    np.testing.assert_allclose(fixed["score_x"], fixed["score_y"], atol=2e-2)
    assert np.isfinite(both["score_y"]).all()
