"""Test images that look like a training image: copies that were flipped, resized or compressed have other pixel hashes.

Equal pixels and equal patients are refused (`medssl.evaluation.overlap`); likeness is told, for a person to judge:
some distinct images are alike.
"""

from collections.abc import Mapping

import numpy as np

from medssl.data import alike
from medssl.data.look import FINE, TURNS, look
from medssl.evaluation.cohort import Cohort

_Seen = tuple[np.ndarray, np.ndarray, np.ndarray]


def told(pool: Cohort, tests: Mapping[str, Cohort]) -> list[str]:
    """Return a remark for each test set with images that look like one of the pool, as the first arm sees them."""
    places, bits, vectors = _looks(pool)
    remarks = []
    for name, test in tests.items():
        others, more_bits, more_vectors = _looks(test)
        pairs = alike.pairs(np.concatenate([bits, more_bits]), np.concatenate([vectors, more_vectors]), split=len(bits))
        if pairs:
            nearest = max(pairs, key=lambda pair: pair.similarity)
            samples = (
                test.table["sample_id"].iloc[others[nearest.second - len(bits)]],
                pool.table["sample_id"].iloc[places[nearest.first]],
            )
            remarks.append(
                f"{len({pair.second for pair in pairs})} of {len(test)} images of the test set '{name}' look like a "
                f"training image, most of all {samples[0]} like {samples[1]} ({nearest.similarity:.3f}): see `medssl "
                "data duplicates`"
            )
    return remarks


def _looks(cohort: Cohort) -> _Seen:
    """Return the places of images with structure, and their looks."""
    store, rows = next(iter(cohort.stores.values()))
    seen = {place: look(np.asarray(store.images[int(row)])) for place, row in enumerate(rows)}
    some = {place: found for place, found in seen.items() if found is not None}
    bits = np.array([found.bits for found in some.values()], np.uint64).reshape(-1, len(TURNS))
    vectors = np.array([found.vector for found in some.values()], np.float16).reshape(-1, FINE, FINE)
    return np.array(list(some), int), bits, vectors
