"""From a manifest to a run folder: what is kept, what is refused, and that interruptions change nothing."""

import contextlib
import errno
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medssl
from medssl import discovery, files, methods
from medssl.api import pretrain
from medssl.backbones.weights import load_backbone
from medssl.data.manifest import Manifest
from medssl.data.splits import held_out
from medssl.errors import DataError, MedsslError, SettingsError, StoppedError, StorageError
from medssl.settings import flat, merged
from medssl.training import checkpoint, collapse, device, pretraining
from medssl.training.estimate import Cost
from medssl.training.loop import Training
from medssl.training.presets import chosen_by
from medssl.training.recorder import WALL_CLOCK

NAMED = {"modality": "oct", "method": "mae", "backbone": "vit_nano"}
SCRIPT = Path(__file__).with_name("logged_run.py")


def lines(run, *kinds):
    found = files.read_json_lines(run / "metrics.jsonl")
    kept = [line for line in found if not kinds or line["kind"] in kinds]
    return [{name: value for name, value in line.items() if name not in WALL_CLOCK} for line in kept]


def final_state(run):
    state, remarks = checkpoint.newest(run)
    assert not remarks
    return state


def equal(one, other):
    """Compare nested states bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def same_training(one, other):
    first, second = final_state(one), final_state(other)
    names = ("step", "module", "optimizer", "hooks")
    return all(equal(first[name], second[name]) for name in names) and lines(one) == lines(other)


@pytest.fixture(scope="module")
def finished(manifest, tmp_path_factory):
    """A finished run, with test patients left out and a label that is watched."""
    settings = {
        "data": {"image_size": 16, "holdout": 0.3, "label": "disease"},
        "vit": {"width": 32, "depth": 1, "heads": 2, "patch_size": 4},
        "train": {
            "batch_size": 4,
            "epochs": 3,
            "log_every": 3,
            "monitor_epochs": 1,
            "keep_epochs": [1, 3],
            "precision": "fp32",
        },
    }
    folder = tmp_path_factory.mktemp("runs") / "run"
    events = []
    run = pretrain(
        "oct", "mae", data=manifest, settings=settings, out=folder, progress=lambda kind, v: events.append((kind, v))
    )
    return run, events, settings


class TestFinished:
    def test_it_holds_everything(self, finished):
        run, events, _ = finished
        names = {path.name for path in run.folder.iterdir()} - {".lock"}
        assert names == {
            "settings.yaml", "choices.json", "provenance.json", "metrics.jsonl", "checkpoints", "backbone",
            "backbone-best", "snapshots", "pretrained_on.parquet", "samples.safetensors", "report.html",
        }  # fmt: skip
        assert [kind for kind, _ in events if kind in ("plan", "start")] == ["plan", "start"]

    def test_backbones_are_kept_after_the_epochs_that_were_named(self, finished):
        run, _, _ = finished
        assert sorted(path.name for path in (run.folder / "snapshots").iterdir()) == ["epoch-1", "epoch-3"]
        first, last, end = (
            load_backbone(run.folder / place) for place in ("snapshots/epoch-1", "snapshots/epoch-3", "backbone")
        )
        assert equal(last.state_dict(), end.state_dict())
        assert not equal(first.state_dict(), end.state_dict())
        assert [backbone.card["training"]["epochs"] for backbone in (first, last, end)] == [1, 3, 3]

    def test_no_test_patient_was_seen(self, finished, manifest):
        run, _, _ = finished
        table = Manifest.load(manifest).usable()
        held = held_out(table, 0.3)
        test_patients = set(table.table["patient_id"][held])
        used = pd.read_parquet(run.folder / "pretrained_on.parquet")
        assert 0 < len(test_patients) < 12
        assert len(used) == (~held).sum()
        assert not test_patients & set(used["patient_key"])
        assert set(used["sample_id"]) == set(table.table["sample_id"][~held])
        assert used["pixel_hash"].notna().all()
        assert any(f"{held.sum()} of 24 images belong to the test part" in text for text in run.provenance["remarks"])

    def test_the_log_has_steps_and_looks(self, finished):
        run, _, _ = finished
        steps, looks = lines(run.folder, "step"), lines(run.folder, "monitor")
        total = final_state(run.folder)["step"]
        assert steps[-1]["step"] == looks[-1]["step"] == total
        assert looks[0]["step"] == 0
        assert 0 <= looks[-1]["knn_auroc"] <= 1
        assert looks[-1]["knn_n"] == len(pd.read_parquet(run.folder / "pretrained_on.parquet"))
        assert set(run.metrics["kind"]) >= {"step", "monitor"}

    def test_the_best_backbone_is_the_one_the_knn_liked_best(self, finished):
        run, _, _ = finished
        looks = [line for line in lines(run.folder, "monitor") if line["step"] > 0]
        best = max(looks, key=lambda line: (line["knn_auroc"], -line["step"]))
        chosen = medssl.load_backbone(run.folder / "backbone-best")
        assert chosen.card["chosen"]["step"] == best["step"]
        state = checkpoint.load(checkpoint.path_of(run.folder, best["step"]))["module"]
        for name, value in chosen.state_dict().items():
            assert torch.equal(value, state[f"backbone.{name}"])

    def test_the_last_backbone_is_the_state_at_the_end_and_answers(self, finished):
        run, _, _ = finished
        backbone, state = run.backbone(), final_state(run.folder)["module"]
        assert all(torch.equal(value, state[f"backbone.{name}"]) for name, value in backbone.state_dict().items())
        assert backbone(torch.zeros(2, 1, 16, 16)).pooled.shape == (2, 32)
        assert not backbone.training

    def test_choices_and_settings_agree(self, finished):
        run, _, asked = finished
        choices = files.read_json(run.folder / "choices.json")
        values = flat(run.settings)
        for name, (value, source) in choices.items():
            assert values[name] == value, name
            assert source
        for name, value in flat(asked).items():
            assert choices[name] == [value, "set by you"]

    def test_provenance_names_versions_and_data(self, finished, manifest):
        record = finished[0].provenance
        assert record["manifest"]["hash"] == Manifest.load(manifest).usable().content_hash()
        assert record["manifest"]["used"] == len(pd.read_parquet(finished[0].folder / "pretrained_on.parquet"))
        assert record["packages"]["torch"] == version("torch")
        assert (record["synthetic"], record["parent"]) == (False, None)
        assert record["finished"]

    def test_settings_repeat_the_run(self, finished, tmp_path):
        run, _, _ = finished
        again = pretrain(base=run.folder / "settings.yaml", out=tmp_path / "again")
        assert same_training(run.folder, again.folder)
        assert again.settings == run.settings

    def test_resuming_a_finished_run_changes_nothing(self, finished, manifest):
        run, _, settings = finished
        before = files.sha256(run.folder / "metrics.jsonl")
        events = []
        pretrain(
            "oct", "mae", data=manifest, settings=settings, out=run.folder, resume=True,
            progress=lambda kind, values: events.append(kind),
        )  # fmt: skip
        assert events == ["finished"]
        assert files.sha256(run.folder / "metrics.jsonl") == before

    def test_resuming_with_other_settings_is_refused(self, finished, manifest):
        run, _, _ = finished
        shutil.copytree(run.folder, run.folder.with_name("unfinished"))
        folder = run.folder.with_name("unfinished")
        shutil.rmtree(folder / "backbone")
        with pytest.raises(SettingsError, match=r"train\.epochs=3, but 5 is asked for"):
            pretrain("oct", "mae", data=manifest, settings={"train": {"epochs": 5}}, out=folder, resume=True)

    def test_a_folder_that_is_not_empty_is_refused(self, finished, manifest):
        with pytest.raises(StorageError, match=r"not empty.*--resume"):
            pretrain("oct", "mae", data=manifest, out=finished[0].folder)


@pytest.mark.parametrize(
    ("speedup", "asked", "opened"),
    [(2.0, {}, "bf16"), (1.1, {}, "fp32"), (2.0, {"precision": "auto"}, "bf16"), (2.0, {"precision": "fp32"}, "fp32")],
)
def test_precision_is_measured_unless_it_is_set(manifest, small, monkeypatch, speedup, asked, opened):
    monkeypatch.setattr(device, "bf16_speedup", lambda kind: speedup)
    train = {name: value for name, value in small["train"].items() if name != "precision"} | asked
    settings = merged({**small, "train": train}, NAMED, {"data": {"manifest": str(manifest)}})
    prepared = pretraining.prepare(chosen_by(settings, "set by you"))
    assert (prepared.device.precision, prepared.settings.train.precision) == (opened, opened)


@pytest.mark.parametrize(("asked", "opened"), [({}, ("auto", "fp32")), ({"device": "cpu"}, ("cpu", "fp32"))])
def test_a_gpu_is_used_unless_the_cpu_is_asked_for(manifest, small, monkeypatch, asked, opened):
    seen = []

    def open_device(*names):
        seen.append(names)
        return device.open_device("cpu")

    monkeypatch.setattr(pretraining, "open_device", open_device)
    settings = merged(small, NAMED, {"data": {"manifest": str(manifest)}, "train": asked})
    pretraining.prepare(chosen_by(settings, "set by you"))
    assert seen == [opened]


@pytest.mark.parametrize(("images", "batch", "steps"), [(9, 4, 4), (3, 8, 2)])
def test_a_rest_of_one_and_fewer_images_than_a_batch_still_train(manifest_of, small, tmp_path, images, batch, steps):
    """T01: SimCLR's head has BatchNorm; two epochs."""
    small["train"]["batch_size"] = batch
    del small["mae"]
    data = manifest_of(tmp_path / "few", images)
    run = pretrain("oct", "simclr", data=data, settings=small, out=tmp_path / "run")
    assert lines(run.folder, "step")[-1]["step"] == steps
    assert np.isfinite([line["loss"] for line in lines(run.folder, "step")]).all()


@pytest.mark.parametrize("method", ["simclr", "byol", "dino"])
def test_pairs_of_a_patient_are_trained_on_and_resume_alike(manifest, small, tmp_path, method):
    del small["mae"]
    settings = merged(small, {method: {"positives": "patient"}, "data": {"holdout": 0.3}})
    with one_thread():
        whole = pretrain("oct", method, data=manifest, settings=settings, out=tmp_path / "whole").folder
        with pytest.raises(StoppedError):
            pretrain("oct", method, data=manifest, settings=settings, out=tmp_path / "run", progress=stopping_at(3))
        pretrain("oct", method, data=manifest, settings=settings, out=tmp_path / "run", resume=True)
        alone = merged(settings, {method: {"positives": "image"}})
        other = pretrain("oct", method, data=manifest, settings=alone, out=tmp_path / "other").folder
    assert same_training(whole, tmp_path / "run")
    assert not same_training(whole, other)


@pytest.mark.parametrize("name", ["sgd", "lars", "lamb"])
def test_other_optimizers_train_and_resume_alike(manifest, small, tmp_path, name):
    settings = merged(small, {"train": {"optimizer": name}})
    with one_thread():
        whole = pretrain("oct", "mae", data=manifest, settings=settings, out=tmp_path / "whole").folder
        with pytest.raises(StoppedError):
            pretrain("oct", "mae", data=manifest, settings=settings, out=tmp_path / "run", progress=stopping_at(5))
        pretrain("oct", "mae", data=manifest, settings=settings, out=tmp_path / "run", resume=True)
    assert same_training(whole, tmp_path / "run")
    groups = final_state(whole)["optimizer"]["param_groups"]
    assert sorted((group["adapt"], group["weight_decay"] > 0) for group in groups) == [(False, False), (True, True)]


def test_a_collapse_ends_the_run_unless_it_may_go_on(manifest, small, tmp_path, monkeypatch):
    monkeypatch.setattr(collapse, "LEAST", 5)
    flat = dict.fromkeys(("teacher_temperature", "teacher_temperature_start", "student_temperature"), 90.0)
    del small["mae"]
    settings = merged(small, {"dino": {**flat, "prototypes": 16}, "train": {"warmup_epochs": 0, "epochs": 3}})
    with pytest.raises(MedsslError, match=r"'loss' .*\(ln K\).*train\.stop_when_collapsed=false"):
        pretrain("oct", "dino", data=manifest, settings=settings, out=tmp_path / "run")
    assert not (tmp_path / "run" / "backbone").exists()
    going_on = merged(settings, {"train": {"stop_when_collapsed": False}})
    run = pretrain("oct", "dino", data=manifest, settings=going_on, out=tmp_path / "on")
    assert lines(run.folder, "step")[-1]["step"] == 18


def test_images_without_partner_are_told_and_unknown_patients_end_in_a_sentence(manifest_of, small, tmp_path):
    del small["mae"]
    data = manifest_of(tmp_path / "odd", 9)
    settings = merged(small, {"simclr": {"positives": "patient"}})
    told = []
    pretrain(
        "oct", "simclr", data=data, settings=settings, out=tmp_path / "run", progress=lambda *one: told.append(one)
    )
    assert any("1 of 9 images has no partner" in str(values) for kind, values in told if kind == "remark")
    table = Manifest.load(data)
    table.with_table(table.table.assign(patient_id=None)).save(tmp_path / "unknown.parquet")
    one = pd.Series(["p"] * 9, dtype=table.table["patient_id"].dtype)
    table.with_table(table.table.assign(patient_id=one)).save(tmp_path / "one.parquet")
    for name, said in (
        ("unknown", "none of the 9 images has a patient_id"),
        ("one", "All 9 images are of one patient"),
    ):
        path = tmp_path / f"{name}.parquet"
        with pytest.raises(DataError, match=f"(?s){said}.*positives=image"):
            pretrain("oct", "simclr", data=path, settings=settings, out=tmp_path / name)
        assert not (tmp_path / name).exists()


def test_images_with_the_pixels_of_a_test_image_are_left_out(manifest_of, small, tmp_path):
    data = manifest_of(tmp_path / "copies", 24)
    table = Manifest.load(data).usable()
    held = held_out(table, 0.3)
    source = int(np.flatnonzero(held)[0])
    target = int(np.flatnonzero(~held)[0])
    shutil.copy(table.path_of(table.table.iloc[source]), table.path_of(table.table.iloc[target]))
    small["data"]["holdout"] = 0.3
    run = pretrain("oct", "mae", data=data, settings=small, out=tmp_path / "run")
    used = pd.read_parquet(run.folder / "pretrained_on.parquet")
    assert len(used) == (~held).sum() - 1
    assert table.table["sample_id"].iloc[target] not in set(used["sample_id"])
    assert any("1 image with the pixels of a test image is left out" in text for text in run.provenance["remarks"])


def test_a_given_test_part_is_kept_and_its_patients_other_images_are_dropped(manifest, small, tmp_path):
    table = Manifest.load(manifest).usable()
    split = ["test" if i in (0, 4) else "train" for i in range(24)]
    given = table.with_table(table.table.assign(split=pd.array(split, dtype=table.table["split"].dtype)))
    given.save(tmp_path / "given.parquet")
    everything = pretrain("oct", "mae", data=tmp_path / "given.parquet", settings=small, out=tmp_path / "everything")
    assert len(pd.read_parquet(everything.folder / "pretrained_on.parquet")) == 24  # holdout is 0 here
    small["data"]["holdout"] = 0.3
    run = pretrain("oct", "mae", data=tmp_path / "given.parquet", settings=small, out=tmp_path / "run")
    used = pd.read_parquet(run.folder / "pretrained_on.parquet")
    assert len(used) == 20
    assert not {"patient00", "patient02"} & {key.rpartition("/")[2] for key in used["patient_key"]}


def views_seen(log, processes=1):
    """Return {step: {id: hashes of its views}} from the logs of all processes."""
    steps = {}
    for rank in range(processes):
        for line in files.read_json_lines(log.with_suffix(f".{rank}")):
            part = dict(zip(line["ids"], line["views"], strict=True))
            seen = steps.setdefault(line["step"], {})
            assert not seen.keys() & part.keys()
            seen.update(part)
    return steps


def start(log, manifest, out, settings, stop_after=0, **environment):
    command = [sys.executable, str(SCRIPT), str(log), str(manifest), str(out), str(stop_after)]
    command += [f"{name}={value}" for name, value in flat(settings).items()]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


@pytest.fixture(scope="module")
def logging_views():
    spec = importlib.util.spec_from_file_location("logged_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.logging_views


@pytest.fixture(scope="module")
def images23(tmp_path_factory, manifest_of):
    return manifest_of(tmp_path_factory.mktemp("t03") / "archive", 23)


@pytest.fixture(scope="module")
def told():
    """Five steps an epoch, three epochs; drop path, so that chance inside the network counts."""
    return {
        "data": {"image_size": 16, "holdout": 0, "label": "disease"},
        "vit": {"width": 32, "depth": 2, "heads": 2, "patch_size": 4, "drop_path": 0.2},
        "train": {
            "batch_size": 4,
            "epochs": 3,
            "log_every": 4,
            "monitor_epochs": 1,
            "workers": 0,
            "precision": "fp32",
        },
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, images23, told, logging_views):
    """The uninterrupted run: what it saw, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    with one_thread(), logging_views(folder / "log"):
        pretrain("oct", "mae", data=images23, settings=told, out=folder / "run")
    return views_seen(folder / "log"), folder / "run"


@contextlib.contextmanager
def one_thread():
    """Equal results are promised for equal numbers of threads; the processes started here have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_stopped_in_the_middle_of_an_epoch_and_resumed(whole, images23, told, logging_views, tmp_path, workers):
    """T03 and T04: ids, views, weights, optimizer and metrics are those of the uninterrupted run."""
    seen, run = whole
    assert sorted(seen) == list(range(15))
    settings = merged(told, {"train": {"workers": workers}})
    with one_thread():
        with logging_views(tmp_path / "first", stop_after=8), pytest.raises(StoppedError, match="after step 8 of 15"):
            pretrain("oct", "mae", data=images23, settings=settings, out=tmp_path / "run")
        with logging_views(tmp_path / "second"):
            pretrain("oct", "mae", data=images23, settings=settings, out=tmp_path / "run", resume=True)
    assert views_seen(tmp_path / "first") == {step: seen[step] for step in range(8)}
    assert views_seen(tmp_path / "second") == {step: seen[step] for step in range(8, 15)}
    assert same_training(run, tmp_path / "run")


def test_views_change_from_epoch_to_epoch(whole):
    seen, _ = whole
    shown = [views for step in seen.values() for views in step.items()]
    assert len({views for name, (views,) in shown}) == len(shown)


def test_two_processes_see_the_same_images_and_views_and_resume_alike(whole, images23, told, tmp_path):
    """T03 with two processes (gloo), stopped in the middle and resumed."""
    seen, run = whole
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    processes = [
        start(tmp_path / "log", images23, tmp_path / "run", told, 8, RANK=str(rank), LOCAL_RANK=str(rank), **meeting)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=200) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert views_seen(tmp_path / "log", 2) == seen
    steps = [line["step"] for line in files.read_json_lines(tmp_path / "log.0")]
    assert steps == list(range(15))
    assert [line["step"] for line in lines(tmp_path / "run", "step")] == [4, 8, 12, 15]
    one, two = final_state(run)["module"], final_state(tmp_path / "run")["module"]
    assert all(torch.allclose(one[name], two[name], atol=0.05) for name in one)


@pytest.mark.parametrize("method", ["byol", "dino", "ijepa"])
def test_t04_the_teacher_goes_on_where_it_was(manifest_of, small, tmp_path, monkeypatch, method):
    """Case T04: 10 + 10 steps are 20; neither the averaged weights nor the step of their momentum starts anew."""
    module, momenta, loaded = discovery.load("methods", method), [], []
    follow, restore = module.follow, Training.restore
    monkeypatch.setattr(pretraining, "measure", lambda *_: Cost(1e6, 0.01, 0.01, 1e6, 1000))  # its steps move teachers

    def noted(teacher, student, momentum):
        momenta.append(momentum)
        follow(teacher, student, momentum)

    def looked_at(training, state):
        restore(training, state)
        teacher, student = methods.exported(training.task.module), training.task.module.backbone
        teacher = training.task.module.target_backbone if method == "byol" else teacher
        pairs = zip(teacher.parameters(), student.parameters(), strict=True)
        loaded.append((training.step, [torch.equal(a, b) for a, b in pairs if b.requires_grad]))

    monkeypatch.setattr(module, "follow", noted)
    monkeypatch.setattr(Training, "restore", looked_at)
    data = manifest_of(tmp_path / "images", 20)
    del small["mae"]
    prototypes = {"dino": {"prototypes": 32}} if method == "dino" else {}
    settings = merged(small, prototypes, {"train": {"epochs": 4, "monitor_epochs": 4}, "vit": {"patch_size": 2}})
    with one_thread():
        whole = pretrain("oct", method, data=data, settings=settings, out=tmp_path / "whole").folder
        uninterrupted = list(momenta)
        momenta.clear()
        with pytest.raises(StoppedError, match="after step 10 of 20"):
            pretrain("oct", method, data=data, settings=settings, out=tmp_path / "run", progress=stopping_at(10))
        pretrain("oct", method, data=data, settings=settings, out=tmp_path / "run", resume=True)
    assert momenta == uninterrupted
    assert len(set(uninterrupted)) == 20
    ((step, equals),) = loaded
    assert step == 10
    assert not any(equals)
    assert same_training(whole, tmp_path / "run")
    state = final_state(whole)
    assert method != "dino" or state["module"]["centre"].abs().min() > 0
    assert state["optimizer"]["state"]


def test_kill_9_loses_at_most_the_work_since_the_last_checkpoint(whole, images23, told, tmp_path):
    _, run = whole
    settings = merged(told, {"train": {"checkpoint_minutes": 1e-9}})
    process = start(tmp_path / "log", images23, tmp_path / "run", settings)
    try:
        deadline = time.monotonic() + 100
        while max(views_seen(tmp_path / "log"), default=0) < 7 and time.monotonic() < deadline:
            time.sleep(0.001)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert final_state(tmp_path / "run")["step"] >= 6
    (tmp_path / "run" / "checkpoints" / ".step-00000099.1.part").mkdir()
    (tmp_path / "run" / ".settings.yaml.1.part").touch()
    with one_thread():
        pretrain("oct", "mae", data=images23, settings=settings, out=tmp_path / "run", resume=True)
    assert same_training(run, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.part"))


def stopping_at(step):
    """Return a progress function that asks to stop when a step has been taken."""

    def progress(kind, values):
        if kind in ("pulse", "step") and values["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


def test_resume_without_a_name_finds_the_newest_unfinished_run_asked_for_alike(manifest, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no unfinished run with these settings"):
        pretrain("oct", "mae", data=manifest, settings=small, resume=True)
    stopped = []
    for seed in (0, 1):
        other = merged(small, {"train": {"seed": seed}})
        with pytest.raises(StoppedError) as caught:
            pretrain("oct", "mae", data=manifest, settings=other, progress=stopping_at(2))
        assert caught.value.exit_code == 75
        stopped.append(caught.value.where)
    told = []
    run = pretrain(
        "oct", "mae", data=manifest, settings=merged(small, {"train": {"seed": 0}}), resume=True,
        progress=lambda kind, values: told.append(values["folder"]) if kind == "plan" else None,
    )  # fmt: skip
    assert run.folder == Path(stopped[0])
    assert told == [str(run.folder)]
    assert run.folder.name.startswith("oct-mae-vit_nano-2")
    assert final_state(run.folder)["step"] == 12


def test_a_dry_run_writes_no_run(manifest, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plans = []
    pretrain("oct", "mae", data=manifest, settings=small, dry_run=True, progress=lambda k, v: plans.append((k, v)))
    assert list(tmp_path.iterdir()) == []
    ((_, values),) = [(k, v) for k, v in plans if k == "plan"]
    assert values["prepared"].estimate.steps == 12
    assert "rough estimate" in str(values["prepared"].estimate)


def test_a_folder_is_scanned_on_the_fly_and_its_manifest_kept_beside_the_run(manifest, small, tmp_path):
    run = pretrain("oct", "mae", data=manifest.parent, settings=small, out=tmp_path / "run")
    assert run.settings["data"]["manifest"] == str(tmp_path / "run" / "manifest.parquet")
    assert len(Manifest.load(tmp_path / "run" / "manifest.parquet").usable()) == 24
    assert not list(manifest.parent.glob("manifest-*"))
    assert not (run.folder / "backbone-best").exists()
    assert {line["knn_auroc"] for line in lines(run.folder, "monitor")} == {None}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": {"holdout": 0.3}}, DataError, r"24 of 24 images have no patient_id.*data\.holdout=0"),
        ({"data": {"label": "age"}}, MedsslError, r"age"),
        ({"data": {"where": "rows > 1000"}}, DataError, r"No image is left to train on"),
        ({"data": {"where": "row > 1000"}}, SettingsError, r"no column 'row'.*'rows'"),
        ({"data": {"image_size": 18}}, SettingsError, r"18"),
        ({"data": {"manifest": "/nowhere/at/all"}}, DataError, r"no such file or folder.*/nowhere/at/all"),
        (
            {"train": {"epochs": 2, "keep_epochs": [1, 3]}},
            SettingsError,
            r"keep_epochs names epoch 3, but the run has 2",
        ),
        ({"train": {"epochs": "many"}}, SettingsError, r"train\.epochs.*'many'"),
        ({"train": {"learning_rate": 1e30}}, MedsslError, r"term 'loss' became .* at step.*train\.learning_rate"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(manifest, small, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        pretrain("oct", "mae", settings=merged({"data": {"manifest": str(manifest.parent)}}, small, change),
                 out=tmp_path / "run")  # fmt: skip


def test_an_empty_folder_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        pretrain("oct", "mae", data=tmp_path / "empty", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_label_of_one_class_is_refused(manifest, small, tmp_path):
    small["data"] |= {"label": "disease", "where": "disease == 'yes'"}
    with pytest.raises(DataError, match="one class only"):
        pretrain("oct", "mae", data=manifest, settings=small, out=tmp_path / "run")


def test_a_folder_in_use_is_refused(manifest, small, tmp_path):
    with (
        files.claimed(tmp_path / "run", resume=False, marks=()),
        pytest.raises(StorageError, match=r"in use|not empty"),
    ):
        pretrain("oct", "mae", data=manifest, settings=small, out=tmp_path / "run")


@pytest.fixture(scope="module")
def often(small_settings):
    """Settings with a checkpoint a step."""
    return merged(small_settings, {"train": {"checkpoint_minutes": 1e-9}})


@pytest.fixture(scope="module")
def undisturbed(manifest, often, tmp_path_factory):
    return pretrain("oct", "mae", data=manifest, settings=often, out=tmp_path_factory.mktemp("often") / "run").folder


@pytest.mark.parametrize("write", [1, 4, 6, 9, 14])
def test_a_full_disk_stops_with_a_sentence_and_can_be_resumed(
    manifest, often, undisturbed, tmp_path, monkeypatch, write
):
    real, count = files._disk.write, [0]

    def filling(handle, data):
        count[0] += 1
        if count[0] > write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle, data)

    monkeypatch.setattr(files._disk, "write", filling)
    with pytest.raises(StorageError, match="disk is full"):
        pretrain("oct", "mae", data=manifest, settings=often, out=tmp_path / "run")
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob("*.part"))
    run = pretrain("oct", "mae", data=manifest, settings=often, out=tmp_path / "run", resume=True)
    assert same_training(run.folder, undisturbed)


def test_weights_are_a_function_of_the_seed(small):
    small |= {"modality": "oct", "method": "mae", "backbone": "vit_nano"}
    first, again, other = (
        pretraining.build(pretraining.presets.check(merged(small, {"train": {"seed": seed}}))).state_dict()
        for seed in (0, 0, 1)
    )
    assert equal(first, again)
    assert not equal(first, other)


def archive_of(manifest, folder):
    """A copy of an archive of its own, to be changed."""
    shutil.copytree(manifest.parent, folder)
    return folder / manifest.name


def stopped(manifest, small, run):
    small["data"]["holdout"] = 0.3
    with pytest.raises(StoppedError):
        pretrain("oct", "mae", data=manifest, settings=small, out=run, progress=stopping_at(2))
    return {path.relative_to(run): files.sha256(path) for path in run.rglob("*") if path.is_file()}


def test_a_run_does_not_go_on_with_another_manifest_of_that_name(manifest, small, tmp_path):
    data = archive_of(manifest, tmp_path / "archive")
    before = stopped(data, small, tmp_path / "run")
    table = Manifest.load(data)
    table.with_table(table.table[table.table["patient_id"] != "patient03"]).save(data)
    with pytest.raises(DataError, match="not the one that this run began with"):
        pretrain("oct", "mae", data=data, settings=small, out=tmp_path / "run", resume=True)
    assert {path: files.sha256(tmp_path / "run" / path) for path in before} == before


def test_a_run_does_not_go_on_with_other_pixels_under_the_same_names(manifest, small, tmp_path):
    data = archive_of(manifest, tmp_path / "archive")
    stopped(data, small, tmp_path / "run")
    seen = pd.read_parquet(tmp_path / "run" / "pretrained_on.parquet")
    table = Manifest.load(data)
    changed = table.path_of(table.table.set_index("sample_id").loc[seen["sample_id"].iloc[0]])
    Image.fromarray(np.asarray(Image.open(changed)) // 2).save(changed)
    with pytest.raises(DataError, match="not those that this run began with"):
        pretrain("oct", "mae", data=data, settings=small, out=tmp_path / "run", resume=True)
    assert pd.read_parquet(tmp_path / "run" / "pretrained_on.parquet").equals(seen)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_failed_before_its_first_checkpoint_leaves_its_folder_to_the_corrected_command(
    manifest, small, tmp_path, resume
):
    wrong = merged(small, {"train": {"learning_rate": 1e30}})
    with pytest.raises(MedsslError, match="term 'loss' became"):
        pretrain("oct", "mae", data=manifest.parent, settings=wrong, out=tmp_path / "runs" / "run")
    assert {path.name for path in (tmp_path / "runs" / "run").iterdir()} == {".lock", files.STORES}
    run = pretrain("oct", "mae", data=manifest.parent, settings=small, out=tmp_path / "runs" / "run", resume=resume)
    assert run.provenance["finished"]


def test_files_that_are_gone_are_told_before_anything_is_written(manifest, small, tmp_path):
    data = archive_of(manifest, tmp_path / "archive")
    for path in data.parent.glob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"None of the 24 files .* is there.*image000\.png"):
        pretrain("oct", "mae", data=data, settings=small, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_not_gone_on_with(manifest, small, tmp_path):
    (tmp_path / "theses").mkdir()
    (tmp_path / "theses" / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match="holds something else"):
        pretrain("oct", "mae", data=manifest, settings=small, out=tmp_path / "theses", resume=True)
    assert [path.name for path in (tmp_path / "theses").iterdir()] == ["thesis.tex"]


def test_a_setting_that_contradicts_an_argument_is_refused(manifest, tmp_path):
    for settings in ({"method": "simclr"}, {"modality": "cxr"}, {"data.manifest": "other.parquet"}):
        with pytest.raises(SettingsError, match="is given twice"):
            pretrain("oct", "mae", data=manifest, settings=settings, out=tmp_path / "run")
    with pytest.raises(SettingsError, match="as a dictionary"):
        pretrain("oct", "mae", data=manifest, settings=["train.epochs=1"], out=tmp_path / "run")


def test_settings_may_have_dotted_names(manifest, small, tmp_path):
    asked = {**flat(small), "train.epochs": 1}
    run = pretrain("oct", "mae", data=manifest, settings=asked, out=tmp_path / "run")
    assert run.settings["train"]["epochs"] == 1


@pytest.mark.parametrize("content", ["[]", "{}", '{"manifest": 3}', "{"])
def test_a_damaged_record_is_one_sentence(manifest, small, tmp_path, content):
    stopped(manifest, small, tmp_path / "run")
    (tmp_path / "run" / "provenance.json").write_text(content)
    with pytest.raises(DataError, match=r"provenance\.json"):
        pretrain("oct", "mae", data=manifest, settings=small, out=tmp_path / "run", resume=True)


def test_images_without_a_patient_are_left_out_and_counted(manifest, small, tmp_path):
    data = archive_of(manifest, tmp_path / "archive")
    table = Manifest.load(data)
    patients = table.table["patient_id"].where(table.table.index > 1)
    table.with_table(table.table.assign(patient_id=patients)).save(data)
    small["data"]["holdout"] = 0.3
    run = pretrain("oct", "mae", data=data, settings=small, out=tmp_path / "run")
    seen = pd.read_parquet(run.folder / "pretrained_on.parquet")
    assert seen["patient_key"].notna().all()
    assert not set(seen["sample_id"]) & set(table.table["sample_id"].iloc[:2])
    assert any("2 of 24 images of 'manifest' have no patient_id" in text for text in run.provenance["remarks"])
    small["data"]["holdout"] = 0
    everything = pretrain("oct", "mae", data=data, settings=small, out=tmp_path / "everything")
    assert len(pd.read_parquet(everything.folder / "pretrained_on.parquet")) == 24


def test_going_on_in_another_folder_of_images_is_refused(manifest, small, tmp_path):
    first = archive_of(manifest, tmp_path / "first").parent
    second = archive_of(manifest, tmp_path / "second").parent
    with pytest.raises(StoppedError):
        pretrain("oct", "mae", data=first, settings=small, out=tmp_path / "run", progress=stopping_at(2))
    with pytest.raises(SettingsError, match=r"data\.manifest=.*first, but .*second is asked for"):
        pretrain("oct", "mae", data=second, settings=small, out=tmp_path / "run", resume=True)
    assert pretrain("oct", "mae", data=first, settings=small, out=tmp_path / "run", resume=True).provenance["finished"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": {"epoch": 2}}, r"no setting 'train\.epoch'; did you mean 'train\.epochs'"),
        ({"nosuch": {"thing": 1}}, r"no setting 'nosuch\.thing'"),
        ({"train": {"epochs": 9}}, r"train\.epochs=3, but 9 is asked for"),
    ],
)
def test_a_finished_run_is_not_passed_off_as_another(finished, manifest, change, said):
    run, _, _ = finished
    with pytest.raises(SettingsError, match=said):
        pretrain("oct", "mae", data=manifest, settings=change, out=run.folder, resume=True)


def test_a_kill_while_the_beginning_is_written_blocks_nothing(manifest, small, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in (".lock", ".owner.txt.1.part", ".provenance.json.1.part"):
        (run / name).touch()
    with pytest.raises(StoppedError):
        pretrain("oct", "mae", data=manifest, settings=small, out=run, progress=stopping_at(2))
    for name in ("settings.yaml", "choices.json", "metrics.jsonl", "pretrained_on.parquet"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    assert pretrain("oct", "mae", data=manifest, settings=small, out=run, resume=True).provenance["finished"]


@pytest.mark.parametrize(("name", "content"), [("metrics.jsonl", b"\xff\xfe noise\n"), ("choices.json", b"[]")])
def test_what_the_report_needs_is_looked_at_before_hours_are_spent(manifest, small, tmp_path, name, content):
    stopped(manifest, small, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    steps = []
    with pytest.raises(DataError, match=name):
        pretrain(
            "oct", "mae", data=manifest, settings=small, out=tmp_path / "run", resume=True,
            progress=lambda kind, values: steps.append(kind) if kind == "pulse" else None,
        )  # fmt: skip
    assert not steps


def test_a_report_that_is_gone_is_written_again(finished, manifest):
    run, _, settings = finished
    (run.folder / "report.html").unlink()
    pretrain("oct", "mae", data=manifest, settings=settings, out=run.folder, resume=True)
    assert (run.folder / "report.html").is_file()


def test_words_of_a_label_without_a_label_are_refused(manifest, small, tmp_path):
    small["data"]["positive"] = ["yes"]
    with pytest.raises(SettingsError, match=r"no label.*--label"):
        pretrain("oct", "mae", data=manifest, settings=small, out=tmp_path / "run")
