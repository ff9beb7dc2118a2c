"""Two processes (gloo) through all of pretraining, loader, views, DDP, loop and checkpoint, give what one gives."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medssl import files
from medssl.data.keys import AS_THEY_ARE
from medssl.data.scan import scan
from medssl.training import checkpoint

SCRIPT = Path(__file__).with_name("float64_run.py")
TRAIN = {"batch_size": 4, "epochs": 2, "log_every": 1, "monitor_epochs": 2, "workers": 0, "precision": "fp32"}
RESNET = {"stem_width": 8, "layers": [1, 1, 1, 1]}
VIT = {"width": 32, "depth": 1, "heads": 2, "patch_size": 8}
CASES = {  # modality, method, backbone, settings
    "planes": ("oct", "simclr", "resnet18", {"simclr": {"positives": "patient"}, "resnet": RESNET}),
    "volumes": ("mr", "vicreg", "vit_nano", {"vicreg": {"expander_width": 16}, "vit": VIT}),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory, manifest_of):
    """Manifests of eight small images of four patients, and of eight small volumes."""
    folder = tmp_path_factory.mktemp("several")
    noise = np.random.default_rng(0)
    (folder / "mr").mkdir()
    for number in range(8):
        array = noise.normal(300, 40, (16, 16, 16)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "mr" / f"{number}.nii")
    scan([folder / "mr"], key=AS_THEY_ARE).save(folder / "mr.parquet")
    return {"planes": manifest_of(folder / "oct", 8), "volumes": folder / "mr.parquet"}


def runs(given, folder):
    """Return what the script takes: both cases, each with its own run folder."""
    told = []
    for name, (modality, method, backbone, settings) in CASES.items():
        settings = settings | {"data": {"image_size": 16, "holdout": 0}, "train": {**TRAIN, "clip_norm": 1.0}}
        told.append([modality, method, backbone, str(given[name]), str(folder / name), settings])
    return told


@pytest.fixture(scope="module")
def of_one(given, tmp_path_factory):
    spec = importlib.util.spec_from_file_location("float64_run", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("one")
    for case in runs(given, folder):
        script.run(*case)
    return folder


@pytest.fixture(scope="module")
def of_two(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), json.dumps(runs(given, folder))]
    processes = [subprocess.Popen(command, env=told | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(of_one, of_two, case):
    one, two = (checkpoint.newest(folder / case)[0] for folder in (of_one, of_two))
    assert one["step"] == two["step"] == 4
    assert next(iter(one["module"].values())).dtype == torch.float64
    for name in ("module", "optimizer"):
        torch.testing.assert_close(two[name], one[name], atol=1e-9, rtol=1e-6)
    losses = [
        [line["loss"] for line in files.read_json_lines(folder / case / "metrics.jsonl") if line["kind"] == "step"]
        for folder in (of_one, of_two)
    ]
    assert len(set(losses[0])) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
