import numpy as np
import pytest
import torch
from torch import nn

from medssl.backbones.parts.features import Features
from medssl.batch import Batch
from medssl.errors import MedsslError
from medssl.training import monitors
from medssl.training.device import open_device
from medssl.training.loop import Plan, Training
from medssl.training.monitors import Monitor, Watched
from medssl.training.recorder import Journal


class Look(nn.Module):
    """A backbone whose features are its input times a weight; BatchNorm would be moved in train mode."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        return Features(self.norm(x) * self.scale, x)


def watched(labels, patients, images):
    batch = Batch(torch.as_tensor(images, dtype=torch.float32), [], [], [])
    return Watched(
        lambda: [batch], lambda b, _: b.image, np.array(labels, dtype=float), np.array(patients, dtype=object)
    )


def two_clouds(n=40):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    images = rng.normal(size=(n, 3)) * 0.3 + np.where(labels[:, None] == 1, [2, 0, 0], [0, 2, 0])
    return labels, [f"p{i // 4}" for i in range(n)], images


def test_separate_classes_score_one_and_unknown_labels_do_not_count():
    labels, patients, images = two_clouds()
    labels = labels.astype(float)
    labels[:5] = np.nan
    patients[6] = None
    seen = watched(labels, patients, images)
    values = monitors.look(images, seen)
    assert values["knn_auroc"] == pytest.approx(1.0)
    assert values["knn_n"] == 34


def test_what_is_undefined_is_none_and_never_a_number():
    labels, patients, images = two_clouds()
    assert monitors.look(images, watched(labels * 0 + 1, patients, images))["knn_auroc"] is None
    assert monitors.look(images, watched(labels * np.nan, patients, images))["knn_n"] == 0
    assert monitors.look(np.zeros_like(images), watched(labels, patients, images))["effective_rank"] is None


def test_spread_is_one_for_even_directions_and_zero_at_a_point():
    rng = np.random.default_rng(1)
    assert monitors.spread(rng.normal(size=(4000, 16))) == pytest.approx(1, abs=0.02)
    assert monitors.spread(np.ones((50, 16))) == pytest.approx(0, abs=1e-9)


def test_a_point_and_a_line_are_collapses_and_a_cloud_far_away_is_not():
    cloud = np.random.default_rng(1).normal(size=(200, 8))
    assert monitors.collapsed(np.ones((200, 8)) + 1e-6 * cloud)
    assert monitors.collapsed(cloud[:, :1] * np.arange(8.0))
    assert monitors.collapsed(np.full((4, 8), np.nan))
    assert not monitors.collapsed(cloud + 30)


def test_looking_leaves_mode_and_statistics_alone():
    labels, patients, images = two_clouds()
    backbone = Look().train()
    monitors.features(backbone, watched(labels, patients, images), torch.device("cpu"))
    assert backbone.training
    assert torch.equal(backbone.norm.running_mean, torch.zeros(3))


def test_at_most_so_many_are_looked_at_labelled_patients_first():
    labels = np.array([np.nan] * 10 + [0.0, 1.0] * 5)
    patients = np.array([f"p{i // 2}" for i in range(20)], dtype=object)
    content = np.array([f"c{i}" for i in range(20)], dtype=object)
    chosen = monitors.choose_watched(labels, patients, content, 12)
    assert len(chosen) == 12
    assert set(range(10, 20)) <= set(chosen)
    again = monitors.choose_watched(labels[::-1], patients[::-1], content[::-1], 12)
    assert set(content[chosen]) == set(content[::-1][again])


def run(regression, blobs, task_change, steps=10, **options):
    labels, patients, images = two_clouds()
    backbone = Look()
    backbone.eval()
    lines = []
    journal = Journal(None, lambda k, v: lines.append((k, v)))
    monitor = Monitor(journal, watched(labels, patients, images), backbone, 5, **options)
    regression.after_step = lambda step, total: task_change(backbone, step)
    Training(regression, blobs, Plan(steps, 0.01), open_device("cpu"), [monitor]).run()
    return monitor, lines


def test_it_looks_before_training_then_every_so_often_and_remembers_the_best(regression, blobs):
    monitor, lines = run(regression, blobs, lambda backbone, step: None)
    assert [(kind, values["step"]) for kind, values in lines][:3] == [("monitor", 0), ("monitor", 5), ("monitor", 10)]
    assert (monitor.best_step, monitor.best) == (5, pytest.approx(1.0))
    other = Monitor(Journal(), monitor.watched, monitor.backbone, 5)
    other.restore(monitor.state())
    assert (other.best_step, other.best) == (monitor.best_step, monitor.best)


def collapse(backbone, step):
    with torch.no_grad():
        backbone.norm.running_mean.fill_(1e6)


def test_a_collapse_is_said_once_and_a_second_look_ends_the_run(regression, blobs):
    _, lines = run(regression, blobs, collapse, steps=15, stops=False)
    said = [values["text"] for kind, values in lines if kind == "remark"]
    assert len([text for text in said if "collapsed" in text]) == 1
    with pytest.raises(MedsslError, match=r"spread .*, effective rank 1\..*two looks .* step 10.*learning_rate"):
        run(regression, blobs, collapse, steps=15)


def test_features_that_recover_go_on(regression, blobs):
    def at_times(backbone, step):
        with torch.no_grad():
            backbone.norm.running_mean.fill_(1e6 if step in (4, 14) else 0)

    _, lines = run(regression, blobs, at_times, steps=20)
    assert max(values["step"] for kind, values in lines if kind == "monitor") == 20
    assert len([values for _, values in lines if "features have collapsed" in str(values)]) == 2


def test_a_run_that_never_beats_its_beginning_says_so(regression, blobs):
    _, lines = run(regression, blobs, lambda backbone, step: None)
    assert "never rose above" in lines[-1][1]["text"]
