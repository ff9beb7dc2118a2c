import copy

import numpy as np
import pytest
import torch
from torch import nn

from medssl import backbones, discovery
from medssl.training.device import open_device
from medssl.training.optim import parameter_groups
from medssl.transfer import finetune
from medssl.transfer.finetune import Average, Budget, Classifier, Start, Watch, by_layer

QUICK = Budget(
    learning_rates=(1e-5, 3e-3), steps=40, batch_size=8, check_every=5, patience=2, race_checks=2, warmup_steps=2,
    fixed_steps=3,
)  # fmt: skip


def fresh(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        overrides = {"width": 16, "depth": 2, "heads": 2, "patch_size": 8}
        return backbones.build("vit_nano", in_channels=1, image_size=16, overrides=overrides)


@pytest.fixture(scope="module")
def device():
    return open_device("cpu")


SCRATCH = Start(fresh, pretrained=False)


def test_lower_layers_learn_more_slowly():
    classifier = Classifier(fresh(0))
    groups = by_layer(classifier.backbone, parameter_groups(classifier, 0.1), 0.5)
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    named = dict(classifier.named_parameters())
    assert scale.keys() == {id(p) for p in named.values()}
    assert scale[id(named["head.weight"])] == 1
    assert scale[id(named["backbone.norm.weight"])] == 1
    assert scale[id(named["backbone.blocks.1.attn.qkv.weight"])] == 0.5
    assert scale[id(named["backbone.blocks.0.attn.qkv.weight"])] == 0.25
    assert scale[id(named["backbone.patch_embed.proj.weight"])] == 0.125


@pytest.mark.parametrize("family", discovery.names("backbones"))
def test_of_every_backbone_what_runs_earlier_never_learns_faster(family):
    variant = next(iter(discovery.load("backbones", family).VARIANTS))
    classifier = Classifier(backbones.build(variant, in_channels=1, image_size=64)).eval()
    groups = by_layer(classifier.backbone, parameter_groups(classifier, 0.1), 0.5)
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    ran = []
    for part in classifier.modules():
        part.register_forward_pre_hook(lambda it, _: ran.extend(scale[id(p)] for p in it.parameters(recurse=False)))
    with torch.no_grad():
        classifier(torch.randn(1, 1, 64, 64))
    assert ran == sorted(ran)
    assert ran[-1] == 1  # the head
    assert ran[0] == 0.5 ** (classifier.backbone.layer_count - 1)
    assert scale.keys() == {id(p) for p in classifier.parameters()}
    assert len(set(scale.values())) > 3


def test_weight_decay_survives_the_split_by_layer():
    classifier = Classifier(fresh(0))
    whole = {id(p): (g["weight_decay"], g["adapt"]) for g in parameter_groups(classifier, 0.1) for p in g["params"]}
    split = by_layer(classifier.backbone, parameter_groups(classifier, 0.1), 0.5)
    assert {id(p): (g["weight_decay"], g["adapt"]) for g in split for p in g["params"]} == whole


def test_the_average_follows_its_formula():
    class Stub:
        step = 0

    module = nn.BatchNorm1d(1)
    average = Average(module, most=0.5)  # type: ignore[arg-type]
    training = Stub()
    expected = 1.0
    for step, value in enumerate([3.0, 5.0, -2.0, 8.0, 1.0, 1.0, 4.0, 2.0, 6.0, 9.0], start=1):
        module.weight.data.fill_(value)
        module.num_batches_tracked.fill_(step)
        training.step = step
        average.after_step(training)  # type: ignore[arg-type]
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    assert float(average.module.weight) == pytest.approx(expected, rel=1e-6)
    assert int(average.module.num_batches_tracked) == 10


def watched(monkeypatch, validation: list[float], training_loss: list[float]) -> tuple[int, Watch]:
    """The step at which a watched training of balanced labels is stopped."""

    class Stub:
        step, stopped = 0, False
        plan = type("Plan", (), {"steps": 1000})

        def stop(self) -> None:
            self.stopped = True

    labels = type("E", (), {"labels": np.array([0.0, 1.0]), "__len__": lambda self: 2})()
    average = type("A", (), {"module": type("M", (), {"score": lambda *a: None, "settle": lambda *a: None})()})()
    watch = Watch(average, labels, labels, QUICK, torch.device("cpu"))
    losses = iter(validation)
    monkeypatch.setattr(finetune, "log_loss", lambda labels, scores: next(losses))
    training = Stub()
    while not training.stopped:
        training.losses = {"loss": torch.tensor(training_loss[training.step // QUICK.check_every])}  # type: ignore[attr-defined]
        training.step += 1
        watch.after_step(training)  # type: ignore[arg-type]
    return training.step, watch


def test_a_plateau_ends_the_training(monkeypatch):
    step, watch = watched(monkeypatch, [0.7, 0.6, 0.65, 0.61, 0.5], [0.3] * 5)
    assert (step, watch.best, watch.losses) == (20, 1, [0.7, 0.6, 0.65, 0.61])


def test_a_training_that_has_not_begun_to_fit_has_no_plateau(monkeypatch):
    flat = [0.69, 0.70, 0.70, 0.70, 0.70, 0.6, 0.5, 0.51, 0.52]
    step, watch = watched(monkeypatch, flat, [0.69, 0.69, 0.68, 0.69, 0.67, 0.5, 0.4, 0.3, 0.2])
    assert (step, watch.begun, watch.best) == (45, 5, 6)


def test_patience_starts_when_fitting_begins(monkeypatch):
    step, watch = watched(monkeypatch, [0.69, 0.7, 0.8, 0.9, 1.0], [0.69, 0.69, 0.4, 0.3, 0.2])
    assert (step, watch.begun, watch.best) == (25, 2, 0)


def test_a_loss_that_ends_flat_is_not_falling(monkeypatch):
    def falling(validation: list[float], training_loss: float = 0.3) -> bool:
        watch = watched(monkeypatch, [*validation, 1.0, 1.0, 1.0], [training_loss] * 9)[1]
        watch.losses = validation
        return watch.falling

    assert not falling([0.7, 0.5, 0.50, 0.495])
    assert falling([0.7, 0.5, 0.50, 0.48])
    assert falling([0.7])


def test_a_training_that_never_began_is_at_its_limit(examples, device):
    budget = QUICK.model_copy(update={"learning_rates": (1e-7,), "steps": 40})
    assert finetune.search(SCRATCH, examples, budget, device, seed=0)["at_limit"]


def test_the_head_sees_standard_features_of_the_images_it_settled_on(examples, device):
    classifier = Classifier(fresh(0))
    classifier.settle(examples, device.target)
    with torch.inference_mode():
        pooled = torch.cat([classifier.backbone(view).pooled for view in examples.plain(64, device.target)]).double()
    expected = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-6).sqrt()
    logits = expected @ classifier.head.weight[0].double() + classifier.head.bias.double()
    scores = classifier.score(examples, device.target)
    np.testing.assert_allclose(scores, torch.sigmoid(logits).detach(), atol=1e-4)
    few = classifier.score(examples.take(np.array([3])), device.target)
    np.testing.assert_allclose(few, scores[[3]], atol=1e-5)


def test_search_and_training_learn_what_can_be_seen(examples, device):
    chosen = finetune.search(SCRATCH, examples, QUICK, device, seed=0)
    assert chosen["learning_rate"] == 3e-3
    assert chosen["steps"] % QUICK.check_every == 0
    assert chosen["held_out"] == 8
    slow, fast = (tried["losses"] for tried in chosen["tried"])
    assert len(slow) % QUICK.race_checks == 0
    assert len(slow) < len(fast)
    classifier = finetune.train(SCRATCH, examples, 3e-3, 40, QUICK, device, seed=0)
    scores = classifier.score(examples, device.target)
    assert scores[examples.labels == 1].min() > scores[examples.labels == 0].max()


def test_a_single_learning_rate_needs_no_race(examples, device):
    budget = QUICK.model_copy(update={"learning_rates": (3e-3,), "steps": 10})
    chosen = finetune.search(SCRATCH, examples, budget, device, seed=0)
    assert chosen["learning_rate"] == 3e-3
    assert [len(tried["losses"]) for tried in chosen["tried"]] == [2]


def test_the_same_seed_gives_the_same_classifier_and_another_another(examples, device):
    def scores(seed: int) -> np.ndarray:
        return finetune.train(SCRATCH, examples, 3e-3, 6, QUICK, device, seed).score(examples, device.target)

    torch.manual_seed(1)
    first = scores(5)
    torch.manual_seed(2)
    np.testing.assert_array_equal(first, scores(5))
    assert np.abs(first - scores(6)).max() > 1e-6


def test_the_last_step_is_the_one_chosen(examples, device):
    seen = []

    class Count(finetune.Hook):
        def after_step(self, training) -> None:
            seen.append(training.step)

    finetune.train(SCRATCH, examples, 1e-3, 7, QUICK, device, 0, [Count()])
    assert seen == list(range(1, 8))


def test_nothing_is_held_out_where_a_class_has_one_patient(examples, device):
    few = examples.take(np.array([0, 1, 2, 3]))
    chosen = finetune.search(SCRATCH, few, QUICK, device, seed=0)
    assert chosen["validation_log_loss"] is None
    assert (chosen["learning_rate"], chosen["steps"]) == (QUICK.fixed_learning_rate, QUICK.fixed_steps)


def test_held_out_patients_are_not_trained_on(examples, device, monkeypatch):
    parts = []
    real = finetune._racer
    monkeypatch.setattr(finetune, "_racer", lambda *a: parts.append((a[1], a[2])) or real(*a))
    finetune.search(SCRATCH, examples, QUICK, device, seed=0)
    for kept, held in parts:
        assert not set(kept.patients) & set(held.patients)
        assert len(kept) + len(held) == len(examples)


def test_pretrained_weights_are_where_training_starts(examples, device):
    pretrained = fresh(9)
    start = Start(lambda seed: copy.deepcopy(pretrained), pretrained=True)
    budget = QUICK.model_copy(update={"layer_decay": 1e-6})
    classifier = finetune.train(start, examples, 1e-3, 5, budget, device, 0)
    for name, value in pretrained.named_parameters():
        if not name.startswith("norm"):
            torch.testing.assert_close(dict(classifier.backbone.named_parameters())[name], value, atol=1e-4, rtol=0)
    assert float(classifier.head.weight.detach().abs().max()) > 1e-5
