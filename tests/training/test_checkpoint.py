import copy
import errno
import os
import signal

import pytest
import torch

from medssl import files
from medssl.errors import DataError, StoppedError, StorageError
from medssl.training import checkpoint, runs
from medssl.training.checkpoint import Checkpointer
from medssl.training.device import open_device
from medssl.training.loop import Hook, Plan, Training
from medssl.training.recorder import WALL_CLOCK, Journal, Recorder
from medssl.training.stopping import StopSignals


def state(step):
    return {"step": step, "weights": torch.full((3,), float(step)), "hooks": {"x": {"best": None, "list": [1.5]}}}


def steps(run):
    return [int(path.name[5:]) for path in checkpoint.folders(run)]


def test_a_state_comes_back_as_it_was_without_running_code(tmp_path):
    checkpoint.save(tmp_path, state(3))
    found, remarks = checkpoint.newest(tmp_path)
    assert (found["step"], found["hooks"], remarks) == (3, {"x": {"best": None, "list": [1.5]}}, [])
    assert torch.equal(found["weights"], torch.full((3,), 3.0))


def test_two_are_kept_and_the_best(tmp_path):
    for step in (1, 2, 3, 4, 5):
        checkpoint.save(tmp_path, state(step), best=2 if step >= 2 else None)
    assert steps(tmp_path) == [2, 4, 5]


def test_a_damaged_one_is_passed_over_with_a_remark(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, state(step))
    file = checkpoint.path_of(tmp_path, 2) / "state.pt"
    file.write_bytes(file.read_bytes()[:-7] + b"garbage")
    found, remarks = checkpoint.newest(tmp_path)
    assert found["step"] == 1
    assert len(remarks) == 1
    assert "step-00000002" in remarks[0]
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load(checkpoint.path_of(tmp_path, 2))


@pytest.mark.parametrize("listed", [True, False])
def test_foreign_bytes_are_passed_over_whatever_the_list_of_files_says(tmp_path, listed):
    checkpoint.save(tmp_path, {"step": 1, "value": torch.ones(2)})
    folder = checkpoint.save(tmp_path, {"step": 2, "value": torch.ones(2)})
    (folder / "state.pt").write_bytes(b"PK foreign")
    content = {"state.pt": {"bytes": 10, "sha256": files.sha256(folder / "state.pt")}} if listed else {}
    files.write_json(folder / files.MANIFEST, content)
    state, remarks = checkpoint.newest(tmp_path)
    assert state["step"] == 1
    assert "step-00000002 was passed over" in remarks[0]


def test_none_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) == (None, [])


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    log = tmp_path / runs.LOG
    files.append_json_line(log, {"step": 1})
    checkpoint.save(tmp_path, state(1))
    files.append_json_line(log, {"step": 2})
    log.write_bytes(log.read_bytes() + b'{"torn')
    checkpoint.cut_log(tmp_path, checkpoint.newest(tmp_path)[0])
    assert log.read_text() == '{"step": 1}\n'
    checkpoint.cut_log(tmp_path, None)
    assert log.read_text() == ""


@pytest.mark.parametrize("operation", ["write", "sync", "replace", "sync_folder"])
def test_a_full_disk_leaves_earlier_checkpoints_and_nothing_half_written(tmp_path, monkeypatch, operation):
    checkpoint.save(tmp_path, state(1))

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files._disk, operation, full)
    with pytest.raises(StorageError, match="disk is full"):
        checkpoint.save(tmp_path, state(2))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / runs.CHECKPOINTS).iterdir()][:1] == ["step-00000001"]
    assert not list((tmp_path / runs.CHECKPOINTS).glob(".*"))
    assert checkpoint.newest(tmp_path)[0]["step"] in (1, 2)


class FullFile:
    """A file on a disk that fills up while it is written."""

    def __init__(self, handle, room):
        self.handle, self.room = handle, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.handle.write(data)

    def __getattr__(self, name):
        return getattr(self.handle, name)


def test_a_disk_that_fills_up_inside_torch_is_the_same_sentence(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(1))
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda value, handle: save(value, FullFile(handle, 100)))
    with pytest.raises(StorageError, match="disk is full"):
        checkpoint.save(tmp_path, state(2))
    assert steps(tmp_path) == [1]
    assert not list((tmp_path / runs.CHECKPOINTS).glob(".*"))


class SignalAt(Hook):
    name = "signal"

    def __init__(self, step, number):
        self.step, self.number = step, number

    def after_step(self, training):
        if training.step == self.step:
            os.kill(os.getpid(), self.number)


def train(task, blobs, run, *, interrupt=None, minutes=100.0):
    """Train eleven steps in a run folder, from its newest checkpoint."""
    run.mkdir(exist_ok=True)
    with StopSignals() as signals:
        journal = Journal(run / runs.LOG)
        hooks = [Recorder(journal, every=4), *([interrupt] if interrupt else []), Checkpointer(run, minutes, signals)]
        training = Training(task, blobs, Plan(steps=11, learning_rate=0.02, seed=3), open_device("cpu"), hooks)
        found, _ = checkpoint.newest(run)
        checkpoint.cut_log(run, found)
        if found:
            training.restore(found)
        return training.run()


def without_clock(run):
    lines = files.read_json_lines(run / runs.LOG)
    return [{name: value for name, value in line.items() if name not in WALL_CLOCK} for line in lines]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_saves_at_the_step_and_resuming_changes_nothing(regression, blobs, tmp_path, name):
    twin = copy.deepcopy(regression)
    whole = train(regression, blobs, tmp_path / "whole")
    fresh = copy.deepcopy(twin)
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(StoppedError, match=rf"Stopped on {name} after step 6 of 11.*--resume"):
        train(twin, blobs, tmp_path / "half", interrupt=SignalAt(6, getattr(signal, name)))
    assert signal.getsignal(getattr(signal, name)) == before
    assert steps(tmp_path / "half") == [6]
    rest = train(fresh, blobs, tmp_path / "half")
    for one, other in zip(whole.task.module.parameters(), rest.task.module.parameters()):
        assert torch.equal(one, other)
    assert without_clock(tmp_path / "whole") == without_clock(tmp_path / "half")
    assert [line["step"] for line in without_clock(tmp_path / "half")] == [4, 8, 11]


def test_checkpoints_come_by_the_clock_and_at_the_end(regression, blobs, tmp_path):
    train(regression, blobs, tmp_path / "often", minutes=1e-9)
    assert steps(tmp_path / "often") == [10, 11]
    train(regression, blobs, tmp_path / "rare", minutes=100)
    assert steps(tmp_path / "rare") == [11]


def test_a_second_ctrl_c_does_not_wait():
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.asked == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
