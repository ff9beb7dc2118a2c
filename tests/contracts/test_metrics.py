"""One contract over every metric that is found by its file name."""

import numpy as np
import pytest

from medssl import discovery
from medssl.errors import DataError

MODULES = {name: discovery.load("metrics", name) for name in discovery.names("metrics")}
OF_PREDICTIONS = [name for name, module in MODULES.items() if module.TAKES == "predictions"]


@pytest.fixture(params=OF_PREDICTIONS)
def metric(request):
    return MODULES[request.param]


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores with many ties, and whole-number weights with zeros among them."""
    rng = np.random.default_rng(11)
    labels = (rng.random(120) < 0.3).astype(int)
    scores = np.clip(np.round(rng.normal(0.4 + 0.2 * labels, 0.2), 1), 0, 1)
    return labels, scores, rng.integers(0, 4, 120)


@pytest.mark.parametrize("name", MODULES)
def test_says_what_it_is(name) -> None:
    module = MODULES[name]
    assert module.TITLE
    assert module.TAKES in ("predictions", "features")
    assert isinstance(module.HIGHER_IS_BETTER, bool)


def test_the_promised_ones_are_there() -> None:
    assert set(OF_PREDICTIONS) >= {"auroc", "average_precision", "balanced_accuracy", "brier", "ece"}


def test_is_a_plain_float_between_0_and_1(metric, data) -> None:
    value = metric.compute(data[0], data[1])
    assert type(value) is float
    assert 0 <= value <= 1


def test_better_scores_are_better(metric, data) -> None:
    labels, scores, _ = data
    perfect, poor = metric.compute(labels, labels.astype(float)), metric.compute(labels, scores)
    assert perfect == pytest.approx(1.0 if metric.HIGHER_IS_BETTER else 0.0)
    assert perfect > poor if metric.HIGHER_IS_BETTER else perfect < poor


def test_a_weight_is_a_repetition(metric, data) -> None:
    labels, scores, weights = data
    repeated = metric.compute(np.repeat(labels, weights), np.repeat(scores, weights))
    assert metric.compute(labels, scores, weights) == pytest.approx(repeated, abs=1e-12)
    assert metric.compute(labels, scores, weights * 0.37) == pytest.approx(repeated, abs=1e-12)
    assert repeated != pytest.approx(metric.compute(labels, scores), abs=1e-6)


def test_order_does_not_matter(metric, data) -> None:
    labels, scores, weights = data
    order = np.random.default_rng(0).permutation(len(labels))
    assert metric.compute(labels[order], scores[order], weights[order]) == pytest.approx(
        metric.compute(labels, scores, weights), abs=1e-12
    )


def test_many_equals_one_by_one(metric, data) -> None:
    labels, scores, _ = data
    weights = np.random.default_rng(5).poisson(1.0, (len(labels), 9)).astype(np.float32)
    one_by_one = [metric.compute(labels, scores, column) for column in weights.T]
    np.testing.assert_allclose(metric.compute_many(labels == 1, scores, weights), one_by_one, atol=1e-12)


@pytest.mark.parametrize("labels", [[], [0, 1, np.nan]])
def test_undefined_is_nan(metric, labels) -> None:
    assert np.isnan(metric.compute(np.array(labels), np.linspace(0, 1, len(labels))))


def test_a_score_that_is_no_number_is_nan(metric) -> None:
    assert np.isnan(metric.compute([0, 1, 1], [0.2, np.nan, 0.6]))


def test_nothing_weighs_anything_is_nan(metric) -> None:
    assert np.isnan(metric.compute([0, 1, 1], [0.2, 0.4, 0.6], [0, 0, 0]))


@pytest.mark.parametrize(
    ("labels", "weights", "text"),
    [([0, 1, 2], None, "one is 2"), ([0, 1], None, "Shapes differ"), ([0, 1, 1], [1, -1, 1], "negative")],
)
def test_nonsense_is_refused(metric, labels, weights, text) -> None:
    with pytest.raises(DataError, match=text):
        metric.compute(labels, [0.1, 0.2, 0.3], weights)
