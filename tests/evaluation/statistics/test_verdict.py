"""The rules of the verdict: every case, none twice, and Holm's correction."""

import itertools

import numpy as np
import pytest

from medssl.errors import SettingsError
from medssl.evaluation.verdict import Evidence, alone, holm, judge

SURE, UNSURE = 0.001, 0.2


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.05, "helps"),
        (0.03, 0.05, "helps"),
        (0.001, 0.02, "helps"),
        (0.001, 0.019, "no worthwhile gain"),
        (-0.01, 0.019, "no worthwhile gain"),
        (-0.05, 0.0, "no worthwhile gain"),
        (-0.05, -0.001, "harms"),
        (-0.05, 0.02, "undecided"),
        (0.0, 0.05, "undecided"),
        (-0.1, 0.3, "undecided"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_words(low, high, word) -> None:
    assert alone(low, high, 0.02) == word
    assert judge(Evidence(low, high, SURE, SURE), 0.02) == word


def test_what_does_not_hold_among_many_is_undecided() -> None:
    assert judge(Evidence(0.01, 0.05, UNSURE, SURE)) == "undecided"
    assert judge(Evidence(-0.01, 0.01, SURE, UNSURE)) == "undecided"
    assert judge(Evidence(-0.05, -0.01, UNSURE, UNSURE)) == "undecided"
    assert judge(Evidence(0.01, 0.05, np.nan, np.nan)) == "undecided"


def test_harm_that_does_not_hold_may_still_rule_out_a_gain() -> None:
    assert judge(Evidence(-0.05, -0.001, UNSURE, SURE)) == "no worthwhile gain"


def test_words_never_contradict_the_interval() -> None:
    grid = np.linspace(-0.06, 0.06, 25)
    for low, high, p_zero, p_margin in itertools.product(grid, grid, (SURE, UNSURE), (SURE, UNSURE)):
        if low > high:
            continue
        word = judge(Evidence(low, high, p_zero, p_margin), 0.02)
        assert not (word == "helps" and (low <= 0 or high < 0.02))
        assert not (word == "harms" and high >= 0)
        assert not (word == "no worthwhile gain" and high >= 0.02)
        if word == "undecided" and p_zero == p_margin == SURE:
            assert low <= 0 < 0.02 <= high


def test_a_margin_of_zero_leaves_helps_and_harms() -> None:
    assert judge(Evidence(0.001, 0.01, SURE, SURE), 0.0) == "helps"
    assert judge(Evidence(-0.01, -0.001, SURE, SURE), 0.0) == "harms"
    with pytest.raises(SettingsError, match="must not be negative"):
        judge(Evidence(0, 0, 1, 1), -0.1)


def _rejected_step_by_step(p_values: np.ndarray, level: float) -> np.ndarray:
    """Holm as he wrote it: reject the smallest while p < level / number left, stop at the first that is not."""
    rejected = np.zeros(len(p_values), dtype=bool)
    for left, index in zip(range(len(p_values), 0, -1), np.argsort(p_values)):
        if p_values[index] > level / left:
            break
        rejected[index] = True
    return rejected


def test_holm_equals_its_step_by_step_form() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = rng.random(rng.integers(1, 12)) ** 3
        for level in (0.01, 0.05, 0.3):
            assert ((holm(p_values) <= level) == _rejected_step_by_step(p_values, level)).all()


def test_holm_leaves_out_the_undefined() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    assert holm(np.array([])).shape == (0,)
    assert np.isnan(holm(np.array([np.nan]))).all()
