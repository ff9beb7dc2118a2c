"""Drawing the fields of made files: small numbers, or the edges of their types."""

import numpy as np

Random = np.random.Generator
EDGES = (
    0,
    1,
    2,
    3,
    7,
    8,
    12,
    15,
    16,
    31,
    32,
    64,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
)


def pick(random: Random, among):
    """Return one of them."""
    return among[int(random.integers(len(among)))]


def number(random: Random, bits: int) -> int:
    """Return a number of so many bits, from the edges or small."""
    value = pick(random, EDGES) if random.random() < 0.4 else int(random.integers(0, 40))
    return value % 2**bits


def real(random: Random) -> float:
    """Return a number, often one that no length can be."""
    return float(pick(random, (0.0, 1.0, -1.0, 2.5, 1e-30, 1e30, float("nan"), float("inf"), -0.0)))
