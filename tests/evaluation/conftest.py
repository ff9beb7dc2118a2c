"""A small cohort of pictures with a visible label, and pretraining runs that are finished but untrained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medssl import backbones, files
from medssl.backbones.weights import export
from medssl.data.columns import typed
from medssl.data.manifest import Manifest, sample_id
from medssl.data.splits import held_out, patient_keys
from medssl.evaluation.sweep import Sweep, sweep
from medssl.settings import dump_yaml

SIZE = 16
TINY = {"width": 16, "depth": 1, "heads": 2, "patch_size": 8}
BUDGET = {
    "learning_rates": (1e-3, 1e-2), "steps": 12, "batch_size": 8, "check_every": 2, "patience": 2, "race_checks": 1,
    "warmup_steps": 1, "fixed_steps": 4,
}  # fmt: skip


def write_cohort(folder: Path, patients: int = 24, seed: int = 0, site: str = "here", **columns: Any) -> Path:
    """Two pictures a patient; the positive half has a bright square in the middle."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(patients):
        for view in range(2):
            picture = generator.integers(60, 140, (SIZE, SIZE)).astype(np.uint8)
            if patient % 2:
                picture[5:11, 5:11] += 60
            path = folder / f"p{patient}-{view}.png"
            Image.fromarray(picture).save(path)
            rows.append(
                {
                    "sample_id": sample_id(f"{site}/{path.name}"), "path": path.name, "format": "raster",
                    "status": "ok", "patient_id": f"p{patient}", "ndim": 2, "channels": 1, "rows": SIZE,
                    "columns": SIZE, "bits": 8, "site": site, "manufacturer": "Maker",
                    "file_bytes": path.stat().st_size, "finding": "yes" if patient % 2 else "no",
                }
            )  # fmt: skip
    table = typed(pd.DataFrame(rows).assign(**columns))
    Manifest(table, folder, "cohort").save(folder / "cohort.parquet")
    return folder / "cohort.parquet"


def write_run(folder: Path, manifest: Path, *, seed: int = 0, method: str = "mae", everything: bool = False) -> Path:
    """A finished run over the training part of a manifest (or over all of it)."""
    loaded = Manifest.load(manifest)
    folder.mkdir(parents=True)
    settings = {
        "modality": "oct", "method": method, "backbone": "vit_nano",
        "data": {"manifest": str(manifest), "image_size": SIZE, "holdout": 0.3}, "train": {"seed": seed},
    }  # fmt: skip
    files.write_text(folder / "settings.yaml", dump_yaml(settings))
    files.write_json(folder / "provenance.json", {"finished": "2026-01-01T00:00:00Z", "synthetic": False})
    files.append_json_line(folder / "metrics.jsonl", {"kind": "monitor", "step": 1, "knn_n": 34})
    seen = loaded.table if everything else loaded.table[~held_out(loaded)]
    table = pd.DataFrame({"sample_id": seen["sample_id"], "patient_key": patient_keys(seen), "pixel_hash": "none"})
    table.to_parquet(folder / "pretrained_on.parquet")
    torch.manual_seed(seed)
    backbone = backbones.build("vit_nano", in_channels=1, image_size=SIZE, overrides=TINY)
    export(backbone, folder / "backbone", {})
    return folder


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="session")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("there")
    path = write_cohort(folder, patients=8, seed=1, site="there")
    return path.rename(folder / "elsewhere.parquet")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, here: Path) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "first", here)


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Path]:
    return write_cohort


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture(scope="session")
def arguments(here: Path, there: Path, run: Path) -> dict[str, Any]:
    """A sweep of seconds."""
    return {
        "arms": [run], "manifest": here, "label": "finding", "ood": [there], "fractions": [25, 100], "draws": 2,
        "budget": BUDGET, "resamples": 50, "device": "cpu",
    }  # fmt: skip


@pytest.fixture(scope="session")
def finished(arguments: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """That sweep, done without an interruption."""
    return sweep(**arguments, out=tmp_path_factory.mktemp("sweeps") / "finished")
