"""Chance depends on keys alone, and looks random."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medssl.chance import Chance, key

KEYS = [key(0, f"scan-{i}") for i in range(2000)]


@given(st.permutations(range(6)), st.integers(0, 5))
def test_a_sample_draws_the_same_in_any_batch(order, chosen):
    keys = [KEYS[i] for i in order]
    batch, alone = Chance(keys), Chance([KEYS[chosen]])
    row = order.index(chosen)
    for draw in ("uniform", "normal"):
        assert getattr(batch, draw)(size=(3,))[row].tolist() == getattr(alone, draw)(size=(3,))[0].tolist()
    assert batch.permutation(7)[row].tolist() == alone.permutation(7)[0].tolist()


def test_keys_differ_by_every_part():
    keys = {
        key(seed, epoch, content, view) for seed in range(3) for epoch in range(3) for content in "ab" for view in "01"
    }
    assert len(keys) == 3 * 3 * 2 * 2
    assert key("a", "b") != key("ab")
    assert key(1, 23) != key(12, 3)


def test_successive_draws_and_named_spawns_differ():
    chance = Chance(KEYS)
    first, second = chance.uniform(), chance.uniform()
    assert not np.any(first == second)
    assert not np.any(chance.spawn("mask").uniform() == chance.spawn("crop").uniform())
    assert np.array_equal(chance.spawn("mask").uniform(), Chance(KEYS).spawn("mask").uniform())


def test_distributions():
    chance = Chance(KEYS)
    uniform = chance.uniform(2, 5, size=(20,))
    assert stats.kstest(uniform.ravel(), "uniform", args=(2, 3)).pvalue > 1e-3
    assert stats.kstest(chance.normal(1, 2, size=(20,)).ravel(), "norm", args=(1, 2)).pvalue > 1e-3
    assert abs(np.corrcoef(uniform[:, 0], uniform[:, 1])[0, 1]) < 0.08
    assert abs(np.corrcoef(uniform[:-1, 0], uniform[1:, 0])[0, 1]) < 0.08
    assert abs(chance.happens(0.3, size=(20,)).mean() - 0.3) < 0.01


def test_every_order_of_three_is_equally_likely():
    counts = np.unique(Chance(KEYS).permutation(3), axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_consecutive_integer_keys_are_as_good_as_hashed_ones():
    values = Chance(np.arange(5000)).uniform()
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.05
