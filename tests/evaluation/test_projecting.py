"""Maps: components against an SVD, states of a network in one basis, t-SNE by its neighbours."""

import builtins

import numpy as np
import pytest

from medssl.errors import SettingsError
from medssl.evaluation import projecting


def test_principal_components_are_those_of_standardised_features():
    features = np.random.default_rng(0).normal(size=(30, 5)) * [1, 10, 100, 3, 0]
    xy = projecting.pca(features)
    spread = features.std(axis=0)
    unit = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    left, size, _ = np.linalg.svd(unit, full_matrices=False)
    np.testing.assert_allclose(np.abs(xy), np.abs(left[:, :2] * size[:2]), atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (3, 2)])
def test_few_images_or_features_still_have_two_coordinates(shape):
    assert projecting.pca(np.arange(np.prod(shape), dtype=float).reshape(shape)).shape == (shape[0], 2)


def test_states_of_a_network_are_drawn_in_the_same_directions():
    generator = np.random.default_rng(1)
    first = generator.normal(size=(40, 6))
    first[:, 1] = first[:, 0] + 0.1 * first[:, 1]  # the main direction of both states
    second = 7 * first + 3  # another scale and place say nothing
    changed = first.copy()
    changed[:, 0] = changed[::-1, 0]
    maps, shares = projecting.together([first, second, changed])
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-9)
    assert shares[0] == pytest.approx(shares[1])
    assert shares[2] < shares[0]
    stacked = np.concatenate([projecting.standardised(one) for one in (first, second, changed)])
    _, _, axes = np.linalg.svd(stacked, full_matrices=False)
    found = np.concatenate(maps)
    np.testing.assert_allclose(np.abs(found), np.abs(stacked @ axes[:2].T), atol=1e-9)


def test_a_collapsed_state_has_no_spread_to_hold():
    maps, shares = projecting.together([np.ones((6, 3)), np.random.default_rng(0).normal(size=(6, 3))])
    assert not maps[0].any()
    assert np.isnan(shares[0])
    assert not np.concatenate(projecting.together([np.ones((6, 3))] * 2)[0]).any()
    assert projecting.together([np.arange(4.0)[:, None]] * 2)[0][0].shape == (4, 2)


def test_tsne_of_equal_states_leaves_dots_where_they_are():
    features = np.random.default_rng(2).normal(size=(40, 8)) + 12 * np.repeat([0, 1], 20)[:, None]
    first, second = projecting.tsne_through([features, features])
    apart = np.linalg.norm(first - second, axis=1).mean()
    assert apart < 0.2 * np.linalg.norm(first - first[::-1], axis=1).mean()
    mirror = first @ [[0.6, 0.8], [0.8, -0.6]]
    found = projecting.tsne(features, start=mirror)
    assert np.linalg.norm(found - mirror, axis=1).mean() < 0.5 * np.linalg.norm(found - first, axis=1).mean()
    assert projecting.tsne(features, start=np.zeros((40, 2))).tolist() == first.tolist()


def test_tsne_keeps_groups_together_and_repeats_itself():
    generator = np.random.default_rng(0)
    group = np.repeat([0, 1], 20)
    features = generator.normal(size=(40, 8)) + 12 * group[:, None]
    xy = projecting.tsne(features, seed=3)
    distance = np.linalg.norm(xy[:, None] - xy, axis=2) + np.eye(40) * 1e9
    assert (group[distance.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(xy, projecting.tsne(features, seed=3))


def test_collapsed_features_are_one_point():
    assert not projecting.tsne(np.ones((9, 4))).any()


def test_umap_without_its_extra_is_one_sentence(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "umap":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"medssl\[embed\]"):
        projecting.umap(np.zeros((9, 4)))
