"""Effective rank against closed forms."""

import numpy as np
import pytest

from medssl.metrics import effective_rank


def test_full_rank_is_the_width() -> None:
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 6)))
    assert effective_rank.compute(orthogonal) == pytest.approx(6)


def test_one_direction_is_one() -> None:
    assert effective_rank.compute(np.outer(np.arange(1, 9), [1.0, -2.0, 3.0])) == pytest.approx(1)


def test_entropy_of_unequal_singular_values() -> None:
    share = np.array([0.5, 0.25, 0.25])
    expected = np.exp(-(share * np.log(share)).sum())
    assert effective_rank.compute(np.diag([2.0, 1.0, 1.0])) == pytest.approx(expected)
    assert effective_rank.compute(7 * np.diag([2.0, 1.0, 1.0])) == pytest.approx(expected)


def test_features_are_not_centred() -> None:
    assert effective_rank.compute(np.ones((5, 3))) == pytest.approx(1)


@pytest.mark.parametrize("features", [np.zeros((4, 3)), np.empty((0, 3)), np.array([[1.0, np.nan]])])
def test_undefined_is_nan(features: np.ndarray) -> None:
    assert np.isnan(effective_rank.compute(features))
