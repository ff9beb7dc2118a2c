"""The kNN score against a slow loop and against ways in which it could leak."""

import numpy as np
import pytest

from medssl.errors import DataError
from medssl.metrics import knn


def _slow(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, k: int, temperature: float) -> np.ndarray:
    result = []
    for i in range(len(features)):
        votes = []
        for j in range(len(features)):
            if groups[j] != groups[i] and not np.isnan(labels[j]):
                lengths = np.linalg.norm(features[i]) * np.linalg.norm(features[j])
                votes.append((features[i] @ features[j] / lengths, labels[j]))
        votes = sorted(votes, reverse=True)[:k]
        weights = [np.exp(similarity / temperature) for similarity, _ in votes]
        result.append(sum(w * label for w, (_, label) in zip(weights, votes)) / sum(weights))
    return np.array(result)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 60).astype(float)
    labels[::9] = np.nan
    return rng.normal(size=(60, 5)), labels, np.array([f"p{i // 3}" for i in range(60)])


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (7, 0.07), (7, 0.5), (200, 0.2)])
def test_equals_a_slow_loop(data, k, temperature) -> None:
    np.testing.assert_allclose(
        knn.scores(*data, k=k, temperature=temperature), _slow(*data, k, temperature), atol=1e-12
    )


def test_rows_in_blocks_give_the_same(data, monkeypatch) -> None:
    whole = knn.scores(*data)
    monkeypatch.setattr(knn, "_ROWS", 7)
    np.testing.assert_allclose(knn.scores(*data), whole, atol=1e-12)


def test_a_patient_does_not_vote_for_itself() -> None:
    features = np.array([[1.0, 0.0], [1.0, 0.01], [0.9, 0.5], [0.0, 1.0]])
    scores = knn.scores(features, np.array([1.0, 1.0, 0.0, 1.0]), np.array(["a", "a", "b", "c"]), k=1)
    assert scores[0] == 0
    assert scores[1] == 0


def test_order_does_not_matter_with_ties() -> None:
    features = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 2)
    labels, groups = np.array([0.0, 1, 1, 0, 1, 0]), np.arange(6)
    order = np.array([4, 1, 5, 0, 3, 2])
    np.testing.assert_allclose(
        knn.scores(features, labels, groups, k=2)[order], knn.scores(features[order], labels[order], groups[order], k=2)
    )


def test_nobody_to_vote_and_collapse_are_nan() -> None:
    assert np.isnan(knn.scores(np.eye(3), np.array([0.0, 1, 1]), np.array(["a", "a", "a"]))).all()
    assert np.isnan(knn.scores(np.eye(3), np.full(3, np.nan), np.arange(3))).all()
    assert np.isnan(knn.scores(np.ones((4, 2)), np.array([0.0, 1, 1, 0]), np.arange(4))).all()
    assert np.isnan(knn.scores(np.full((4, 2), np.nan), np.array([0.0, 1, 1, 0]), np.arange(4))).all()


def test_a_missing_patient_is_refused(data) -> None:
    features, labels, groups = data
    with pytest.raises(DataError, match="1 of 60 samples have no patient"):
        knn.scores(features, labels, np.where(np.arange(60) == 5, None, groups))
