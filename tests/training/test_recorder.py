import pytest
import torch

from medssl import files
from medssl.training.device import open_device
from medssl.training.loop import Plan, Training
from medssl.training.recorder import Journal, Recorder


def test_lines_hold_means_over_the_steps_since_the_last_one(regression, blobs, tmp_path):
    values = iter([1.0, 3.0, 5.0, 7.0, 9.0])
    weight = regression.module[0].weight
    regression.loss = lambda module, batch, step: {"loss": weight.sum() * 0 + next(values)}
    events = []
    journal = Journal(tmp_path / "log", lambda kind, event: events.append((kind, event["step"])))
    Training(regression, blobs, Plan(5, 0.01), open_device("cpu"), [Recorder(journal, every=2)]).run()
    lines = files.read_json_lines(tmp_path / "log")
    assert [(line["step"], line["loss"], line["epoch"]) for line in lines] == [(2, 2.0, 0), (4, 6.0, 0), (5, 9.0, 0)]
    assert [step for kind, step in events if kind == "pulse"] == [1, 2, 3, 4, 5]
    assert [step for kind, step in events if kind == "step"] == [2, 4, 5]
    assert events.index(("step", 2)) < events.index(("pulse", 2))
    assert all(line["kind"] == "step" and line["images_per_second"] > 0 for line in lines)
    assert all(0 <= line["data_wait_share"] <= 1 for line in lines)


def flat_run(regression, blobs, tmp_path, losses):
    weight = regression.module[0].weight
    regression.loss = lambda module, batch, step: {"loss": weight.sum() * 0 + losses(step)}
    said = []
    journal = Journal(tmp_path / "log", lambda kind, event: said.append(event["text"]) if kind == "remark" else None)
    Training(regression, blobs, Plan(40, 0.01), open_device("cpu"), [Recorder(journal, every=1)]).run()
    kept = [line["text"] for line in files.read_json_lines(tmp_path / "log") if line["kind"] == "remark"]
    assert kept == said
    return kept


def test_a_flat_loss_is_said_once_and_kept(regression, blobs, tmp_path):
    (text,) = flat_run(regression, blobs, tmp_path, lambda step: 1.0 + 0.001 * (step % 3))
    assert "flat" in text
    assert "train.base_learning_rate" in text


def test_a_falling_loss_is_not_called_flat(regression, blobs, tmp_path):
    assert flat_run(regression, blobs, tmp_path, lambda step: 1.0 / (1 + step)) == []


def test_without_a_log_nothing_is_written(regression, blobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Training(regression, blobs, Plan(3, 0.01), open_device("cpu"), [Recorder(Journal(), every=1)]).run()
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_window_survives_an_interruption(regression, blobs):
    recorder = Recorder(Journal(), every=100)
    Training(regression, blobs, Plan(3, 0.01), open_device("cpu"), [recorder])
    recorder._sums, recorder._steps = {"loss": torch.tensor(4.5)}, 3
    other = Recorder(Journal(), every=100)
    other.restore(recorder.state())
    assert float(other._sums["loss"]) == pytest.approx(4.5)
    assert other._steps == 3
