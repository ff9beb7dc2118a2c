import copy
import math

import pytest
import torch

from medssl.errors import MedsslError, SettingsError
from medssl.training.device import open_device
from medssl.training.loop import Hook, Plan, Training


@pytest.fixture
def device():
    return open_device("cpu")


def weights(training):
    return {name: value.clone() for name, value in training.task.module.state_dict().items()}


class StopAt(Hook):
    name = "stop_at"

    def __init__(self, step):
        self.step, self.started, self.finished = step, 0, 0

    def start(self, training):
        self.started += 1

    def after_step(self, training):
        if training.step == self.step:
            training.stop()

    def finish(self, training):
        self.finished += 1


def test_it_learns(regression, blobs, device):
    training = Training(regression, blobs, Plan(steps=300, learning_rate=0.02, weight_decay=0.0), device).run()
    regression.module.eval()
    with torch.no_grad():
        error = regression.loss(regression.module, blobs.batch(10_000), 0)["loss"]
    assert training.step == 300
    assert float(error) < 0.1


def test_every_step_is_served_and_followed_once(regression, blobs, device):
    Training(regression, blobs, Plan(steps=7, learning_rate=0.01), device).run()
    assert blobs.served == regression.after == list(range(7))


def test_stopping_and_resuming_equals_going_through(regression, blobs, device):
    plan = Plan(steps=11, learning_rate=0.02, warmup_steps=3, clip_norm=1.0, seed=3)
    twin = copy.deepcopy(regression)
    whole = Training(regression, blobs, plan, device).run()

    hook = StopAt(7)
    half = Training(twin, blobs, plan, device, hooks=[hook]).run()
    assert (half.step, hook.started, hook.finished) == (7, 1, 1)
    state = copy.deepcopy(half.state())
    torch.manual_seed(99)
    fresh = type(regression)()
    with torch.no_grad():
        fresh.module[0].weight.zero_()
    rest = Training(fresh, blobs, plan, device)
    rest.restore(state)
    rest.run()

    for name, value in weights(whole).items():
        assert torch.equal(value, weights(rest)[name]), name
    for mine, other in zip(whole.state()["optimizer"]["state"].values(), rest.state()["optimizer"]["state"].values()):
        assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_dropout_depends_on_the_seed_and_not_on_the_global_state(regression, blobs, device):
    results = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        task = copy.deepcopy(regression)
        torch.manual_seed(noise)
        results.append(weights(Training(task, blobs, Plan(steps=3, learning_rate=0.01, seed=seed), device).run()))
    assert torch.equal(results[0]["0.weight"], results[1]["0.weight"])
    assert not torch.equal(results[0]["0.weight"], results[2]["0.weight"])


def test_the_callers_random_state_is_untouched(regression, blobs, device):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Training(regression, blobs, Plan(steps=2, learning_rate=0.01), device).run()
    assert torch.equal(torch.rand(3), expected)


def test_a_loss_that_is_not_finite_names_its_term_and_leaves_the_weights(regression, blobs, device):
    original = regression.loss

    def loss(module, batch, step):
        losses = original(module, batch, step)
        if step == 2:
            losses["error"] = losses["error"] * float("nan")
            losses["loss"] = losses["loss"] + losses["error"]
        return losses

    regression.loss = loss
    with pytest.raises(MedsslError, match=r"term 'error' became nan at step 3.*learning_rate"):
        Training(regression, blobs, Plan(steps=5, learning_rate=0.01), device).run()
    assert all(torch.isfinite(value).all() for value in regression.module.state_dict().values())


@pytest.mark.parametrize("start", [0.04, 0.0])
def test_the_weight_decay_follows_half_a_cosine_where_any_is(regression, blobs, device, start):
    """Norms, biases and tokens stay without; a run that begins without any decay gets it all the same."""
    seen = []

    class Watch(Hook):
        def after_step(self, training):
            seen.append([group["weight_decay"] for group in training.optimizer.param_groups])

    plan = Plan(steps=8, learning_rate=0.01, warmup_steps=3, weight_decay=start, final_weight_decay=0.4)
    Training(regression, blobs, plan, device, hooks=[Watch()]).run()
    expected = [0.4 + (start - 0.4) * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert [decay for decay, _ in seen] == pytest.approx(expected)
    assert seen[4][0] == pytest.approx((start + 0.4) / 2)
    assert {plain for _, plain in seen} == {0.0}


def test_the_weight_decay_reaches_the_weights(regression, blobs, device):
    """Without any gradient a step of SGD leaves 1 - rate x decay of a weight, at the decay of that step."""
    before, rate, after = copy.deepcopy(regression.module.state_dict()), 0.01, []
    for final in (None, 0.4):  # the second of two steps is halfway
        task = copy.deepcopy(regression)
        plan = Plan(steps=2, learning_rate=rate, warmup_steps=1, weight_decay=0.1, final_weight_decay=final)
        optimizer = torch.optim.SGD(task.groups(0.1), lr=0.0)
        task.loss = lambda module, batch, step: {"loss": 0 * module(batch.image).sum()}
        after.append(weights(Training(task, blobs, plan, device, optimizer=optimizer).run()))
    stays = before["0.weight"] * (1 - rate * 0.1) * (1 - rate * 0.1)
    rises = before["0.weight"] * (1 - rate * 0.1) * (1 - rate * 0.25)
    torch.testing.assert_close(after[0]["0.weight"], stays)
    torch.testing.assert_close(after[1]["0.weight"], rises)
    assert torch.equal(after[1]["0.bias"], before["0.bias"])


def test_no_steps_is_an_error(regression, blobs, device):
    with pytest.raises(SettingsError, match=r"at least one training step.*train\.epochs"):
        Training(regression, blobs, Plan(steps=0, learning_rate=0.01), device)


def test_epochs_count_from_zero(regression, blobs, device):
    seen = []

    class Watch(Hook):
        def after_step(self, training):
            seen.append(training.epoch)

    Training(regression, blobs, Plan(steps=11, learning_rate=0.01), device, hooks=[Watch()]).run()
    assert seen == [0] * 5 + [1] * 5 + [2]
