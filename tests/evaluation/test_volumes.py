"""From NIfTI volumes to a report: the same path as for planes."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl.api import pretrain
from medssl.data.keys import AS_THEY_ARE
from medssl.data.scan import scan
from medssl.evaluation.sweep import sweep


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    generator = np.random.default_rng(0)
    rows = ["file,patient_id,lesion"]
    for number in range(24):
        array = generator.normal(300, 40, (12, 16, 8)).astype(np.float32)
        array[4:9, 6:11, 2:6] += 250 * (number % 2)
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), folder / f"v{number:02}.nii.gz")
        rows.append(f"v{number:02}.nii.gz,p{number},{'yes' if number % 2 else 'no'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    scan([folder], labels=folder / "labels.csv", key=AS_THEY_ARE).save(folder / "volumes.parquet")
    return folder / "volumes.parquet"


@pytest.mark.parametrize(
    ("method", "backbone", "settings"),
    [
        ("mae", "vit_nano", {"vit": {"width": 32, "depth": 1, "heads": 2, "patch_size": 4}}),
        ("simclr", "resnet18", {"resnet": {"stem_width": 8}}),
    ],
)
def test_volumes_are_pretrained_on_and_swept_over(method, backbone, settings, volumes, tmp_path):
    settings = settings | {
        "data": {"image_size": 16, "holdout": 0.3, "label": "lesion"},
        "train": {"epochs": 1, "batch_size": 4, "precision": "fp32", "device": "cpu", "monitor_epochs": 1},
    }
    run = pretrain("mr", method, data=volumes, backbone=backbone, settings=settings, out=tmp_path / "run")
    assert "MR volumes" in (run.folder / "report.html").read_text()
    budget = {"learning_rates": (1e-3,), "steps": 4, "batch_size": 4, "check_every": 2, "patience": 1, "race_checks": 1,
              "warmup_steps": 1, "fixed_steps": 2}  # fmt: skip
    for mode in ("probe", "finetune"):
        done = sweep(
            arms=[run.folder], manifest=volumes, label="lesion", fractions=[100], draws=1, mode=mode, budget=budget,
            resamples=50, device="cpu", out=tmp_path / mode,
        )  # fmt: skip
        scores = pd.read_parquet(done.folder / "predictions.parquet")
        assert set(scores["arm"]) == {method, "scratch", "random", "pixels", "shortcut"}
        assert scores["score"].notna().all()
