"""Chance as a function: random numbers that depend on keys only, never on what was drawn before.

Every sample, view and mask has a 64-bit key made of (seed, epoch, content hash, view). Its numbers are a hash of
(key, counter), the counter-based scheme of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011),
with the SplitMix64 finaliser of Steele et al. (OOPSLA 2014). So data workers, ranks, interruptions and the order of
a manifest cannot change what a sample is given, and a batch is drawn with a few vector operations.
"""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def key(*parts: object) -> int:
    """Return a 64-bit key of the parts, compared by their text: `key(seed, epoch, content_hash, "view", 0)`."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(x: np.ndarray) -> np.ndarray:
    """Apply the SplitMix64 finaliser to unsigned 64-bit integers (which wrap on overflow)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Chance:
    """A generator for a batch: row b of every draw depends on `keys[b]` and on how many draws came before it.

    The same keys and the same sequence of calls give the same numbers, alone or within any batch.

    Example:
        >>> alone = Chance([key(0, "scan-7")]).uniform(0, 1)
        >>> within = Chance([key(0, "scan-3"), key(0, "scan-7")]).uniform(0, 1)
        >>> bool(alone[0] == within[1])
        True
    """

    def __init__(self, keys: "list[int] | np.ndarray") -> None:
        """Start a generator for `len(keys)` samples."""
        self.keys = np.asarray(keys, dtype=np.uint64)
        self._drawn = 0

    def __len__(self) -> int:
        return len(self.keys)

    def spawn(self, name: object) -> "Chance":
        """Return an independent generator for the same samples, named so that order of use does not matter."""
        return Chance(_mix(self.keys ^ np.uint64(key("spawn", name))))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: tuple[int, ...] = ()) -> np.ndarray:
        """Return float64 numbers in [low, high), shape (B, *size)."""
        count = int(np.prod(size, dtype=np.int64))
        counters = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64) * _GOLDEN
        self._drawn += count
        bits = _mix(_mix(self.keys)[:, None] + counters[None, :]) >> np.uint64(11)
        unit = bits.astype(np.float64) * 2.0**-53
        return (low + (high - low) * unit).reshape(len(self.keys), *size)

    def normal(self, mean: float = 0.0, std: float = 1.0, size: tuple[int, ...] = ()) -> np.ndarray:
        """Return Gaussian numbers by the Box-Muller transform, shape (B, *size)."""
        pair = self.uniform(size=(2, *size))
        radius = np.sqrt(-2.0 * np.log1p(-pair[:, 0]))
        return mean + std * radius * np.cos(2.0 * np.pi * pair[:, 1])

    def happens(self, probability: float, size: tuple[int, ...] = ()) -> np.ndarray:
        """Return booleans that are true with the given probability, shape (B, *size)."""
        return self.uniform(size=size) < probability

    def permutation(self, n: int) -> np.ndarray:
        """Return a random order of range(n) for every sample, shape (B, n)."""
        return np.argsort(self.uniform(size=(n,)), axis=1, kind="stable")
