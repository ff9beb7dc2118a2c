"""Multiplicities of patients, draws and seeds: counts, independence, and the variance of a mean of few."""

import numpy as np
import pytest

from medssl.evaluation import resampling


def test_blocks_cover_and_fewer_are_the_first_of_more() -> None:
    assert resampling.blocks(600) == [(0, 250), (250, 500), (500, 600)]
    part, whole = (resampling.patient_counts(9, 500, stop, 0, "id") for stop in (600, 750))
    assert (part == whole[:100]).all()
    part, whole = (resampling.level_counts((0, 1, 2), count, 0, "draws") for count in (300, 700))
    assert (part == whole[:300]).all()


def test_a_resample_holds_as_many_patients_as_there_are() -> None:
    counts = resampling.patient_counts(40, 0, 250, 0, "id")
    assert counts.shape == (250, 40)
    assert (counts.sum(axis=1) == 40).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(40), abs=0.35)
    assert counts.var() == pytest.approx(1 - 1 / 40, abs=0.05)


def test_blocks_sets_and_seeds_differ() -> None:
    first = resampling.patient_counts(40, 0, 250, 0, "id")
    for other in ((250, 500, 0, "id"), (0, 250, 1, "id"), (0, 250, 0, "device-b")):
        assert (resampling.patient_counts(40, *other) != first).any()
    assert (resampling.patient_counts(40, 0, 250, 0, "id") == first).all()


@pytest.mark.parametrize("values", [(1.0, 3.0), (0.2, 0.5, 1.4), (1.0, 2.0, 4.0, 4.5, 9.0)])
def test_the_variance_of_a_mean_of_few_is_unbiased(values) -> None:
    values = np.array(values)
    counts = resampling.level_counts(tuple(range(len(values))), 20_000, 0, "draws")
    assert (counts.sum(axis=1) == len(values) - 1).all()
    means = counts @ values / (len(values) - 1)
    assert means.var() == pytest.approx(values.var(ddof=1) / len(values), rel=0.05)


def test_one_unit_is_always_held() -> None:
    assert (resampling.level_counts((7,), 5, 0, "draws") == 1).all()


def test_arms_have_seeds_of_their_own() -> None:
    first, second = (resampling.level_counts(("a", "b", "c"), 4000, 0, "seeds", arm) for arm in ("mae", "simclr"))
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.05


def test_interval_is_quantiles_of_the_defined() -> None:
    values = np.r_[np.linspace(0, 1, 1001), np.full(50, np.nan)]
    assert resampling.interval(values) == pytest.approx((0.025, 0.975))
    assert np.isnan(resampling.interval(np.full(3, np.nan))).all()
