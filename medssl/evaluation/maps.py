"""Embedding maps: the test images' features in two dimensions, for eyes only."""

import numpy as np
import pandas as pd

from medssl.evaluation.cohort import Cohort
from medssl.evaluation.learners import Bench, Source
from medssl.evaluation.predictions import SHIFTED
from medssl.evaluation.projecting import pca


def embed(bench: Bench, sources: dict[str, Source]) -> pd.DataFrame:
    """Return the two main principal components of each arm's standardised features over all test sets.

    Returns:
        Columns arm, sample_id, x, y, label, site, test_set.
    """
    tables = []
    for arm, source in sources.items():
        xy = pca(np.concatenate([bench.features(source, test) for _, test in _shown(bench)]))
        tables.append(_rows(bench).assign(arm=arm, x=xy[:, 0], y=xy[:, 1]))
    return pd.concat(tables, ignore_index=True)[["arm", "sample_id", "x", "y", "label", "site", "test_set"]]


def _shown(bench: Bench) -> list[tuple[str, Cohort]]:
    """Return the test sets of unchanged images."""
    return [(name, test) for name, test in bench.tests.items() if test.domain != SHIFTED]


def _rows(bench: Bench) -> pd.DataFrame:
    parts = [
        test.table[["sample_id", "site"]].assign(label=test.table["target"].astype(int), test_set=name)
        for name, test in _shown(bench)
    ]
    return pd.concat(parts, ignore_index=True)
