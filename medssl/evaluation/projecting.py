"""Features in two dimensions, for eyes only: principal components, t-SNE, and UMAP where its extra is installed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from medssl.errors import SettingsError

_COMPONENTS = 50
_PERPLEXITY, _NEIGHBOURS = 30.0, 15
_BEGINS, _GOES_ON = 12.0, 4.0  # early exaggeration; with 4 the divergence was that of a new start, and dots moved less
FEWEST = 5
"""Images that t-SNE and UMAP need."""


def standardised(features: np.ndarray) -> np.ndarray:
    """Return features with mean 0 and standard deviation 1 each, (N, D); a constant one becomes 0."""
    features = features.astype(float)
    spread = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def pca(features: np.ndarray, seed: int = 0) -> np.ndarray:  # noqa: ARG001
    """Return the two main principal components of standardised features, (N, D) -> (N, 2); nothing is drawn."""
    return _components(standardised(features), 2)


def tsne(features: np.ndarray, seed: int = 0, start: np.ndarray | None = None) -> np.ndarray:
    """Return t-SNE of standardised features, (N, D) -> (N, 2), beginning with the principal components or another map.

    Near dots are near in the features; distances between groups, their sizes and gaps say nothing.

    Reference: van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008; the start from principal
    components is Kobak and Berens, "The art of using t-SNE for single-cell transcriptomics", 2019.

    Args:
        features: Of at least five images; 50 principal components of them are taken.
        seed: Of what is drawn.
        start: The map that it begins from at its own scale, (N, 2), with less early exaggeration, so that dots stay
            where they can; the principal components if None, or if all its dots are one.
    """
    reduced = _components(standardised(features), _COMPONENTS)
    if not np.ptp(reduced):  # all images have the same features
        return np.zeros((len(features), 2))
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    begin, exaggeration = start, _GOES_ON
    if start is None or not np.ptp(start):
        begin, exaggeration = reduced[:, :2] / max(reduced[:, 0].std(), np.finfo(float).tiny) * 1e-4, _BEGINS
    made = TSNE(
        2, perplexity=perplexity, init=begin, early_exaggeration=exaggeration, learning_rate="auto", random_state=seed
    )
    return made.fit_transform(reduced)


def umap(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return UMAP of standardised features, (N, D) -> (N, 2).

    Reference: McInnes, Healy and Melville, "UMAP: uniform manifold approximation and projection for dimension
    reduction", 2018 (https://arxiv.org/abs/1802.03426).

    Raises:
        SettingsError: umap-learn is not installed.
    """
    module = umap_module()
    reduced = _components(standardised(features), _COMPONENTS)
    reducer = module.UMAP(n_neighbors=min(_NEIGHBOURS, len(features) - 1), random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(reduced), dtype=float)


def umap_module() -> Any:
    """Return the module `umap`, which no other command needs.

    Raises:
        SettingsError: It is not installed.
    """
    try:
        import umap as module
    except ImportError as error:
        raise SettingsError(
            "umap-learn is not installed", fix="pip install 'medssl[embed]', or leave out --umap"
        ) from error
    return module


PROJECTIONS: dict[str, Callable[..., np.ndarray]] = {"PCA": pca, "t-SNE": tsne, "UMAP": umap}


def together(frames: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[float]]:
    """Return maps of the same images in several states of one network, in the same two directions, and what they hold.

    The directions are the main principal components of all frames together, the features standardised within each. So a
    place means the same in every frame; what happens in other directions is not seen.

    Args:
        frames: Features of the same images in the same order, (N, D) each.

    Returns:
        Coordinates, (N, 2) a frame, and the share of the spread of each frame that they hold, in [0, 1], NaN where
        there is none.
    """
    unit = [standardised(features) for features in frames]
    stacked = np.concatenate(unit)
    axes = np.zeros((stacked.shape[1], 2))
    if stacked.any():
        found = PCA(min(2, *stacked.shape), svd_solver="covariance_eigh").fit(stacked).components_
        axes[:, : len(found)] = found.T
    maps = [features @ axes for features in unit]
    spread = [float((features**2).sum()) for features in unit]
    shares = [float((xy**2).sum()) / all_ if all_ else float("nan") for xy, all_ in zip(maps, spread, strict=True)]
    return maps, shares


def tsne_through(frames: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Return t-SNE of several states of one network, (N, 2) a frame, each begun from the map before it.

    Without this, groups would change places from frame to frame for no reason.

    Args:
        frames: Features of the same images in the same order, (N, D) each, at least five images.
        seed: Of what is drawn.
    """
    maps: list[np.ndarray] = []
    for features in frames:
        maps.append(tsne(features, seed, start=maps[-1] if maps else None))
    return maps


def _components(features: np.ndarray, most: int) -> np.ndarray:
    """Return up to `most` principal components, and at least two columns, (N, D) -> (N, K)."""
    axes = min(most, *features.shape)
    result = np.zeros((len(features), max(axes, 2)))
    if features.any():  # else all images have the same features, and no direction is more than another
        result[:, :axes] = PCA(axes, svd_solver="full").fit_transform(features)
    return result
