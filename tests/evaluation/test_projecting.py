"""Maps: components against an SVD, alignment against a known turn, t-SNE by its neighbours."""

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


def test_a_turned_mirrored_map_of_another_scale_comes_back():
    target = np.random.default_rng(1).normal([3, -1], size=(40, 2))
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])  # a turn and a mirror
    found = projecting.aligned(7 * target @ turn + 5, target)
    np.testing.assert_allclose(found, target - target.mean(axis=0), atol=1e-9)


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
