"""Examples in memory: pictures with a bright square in the middle of the positive ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data.store import Store
from medssl.modalities.oct import MODALITY
from medssl.transfer.examples import Examples


def make_examples(patients: int = 12, views: int = 2, size: int = 16, seed: int = 0) -> Examples:
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), views)
    labels = (owner % 2).astype(float)
    images = generator.integers(60, 140, (len(owner), 1, size, size)).astype(np.uint8)
    images[labels == 1, :, 5:11, 5:11] += 90
    names = [f"s{i}" for i in range(len(owner))]
    keys = np.array([f"p{p}" for p in owner], dtype=object)
    spacing = [[np.nan, np.nan]] * len(owner)
    index = pd.DataFrame({"sample_id": names, "content": names, "patient_id": keys, "spacing_mm": spacing})
    return Examples(Store(Path(), "memory", images, index, []), np.arange(len(owner)), keys, labels, MODALITY)


@pytest.fixture
def examples() -> Examples:
    return make_examples()
