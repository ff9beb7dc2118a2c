"""What makes a B-scan diseased: drusen and fluid, local, at random places, of random size and number."""

import numpy as np

from medssl.chance import Chance
from medssl.data.phantom.parts.anatomy import NAMES, Retina

LABELS = ("normal", "drusen", "fluid")

# How much of a lesion's height each boundary above Bruch's membrane takes over, from the inner limiting membrane down.
_OVER_DRUSEN = np.array([0.03, 0.05, 0.10, 0.15, 0.25, 0.80, 0.95, 1.0, 1.0, 1.0, 1.0])
_OVER_SUBRETINAL = np.array([0.40, 0.45, 0.50, 0.55, 0.65, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
_OVER_CYST = np.array([0.28, 0.28, 0.26, 0.20, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def add_drusen(retina: Retina, chance: Chance, present: np.ndarray, most: int = 5) -> None:
    """Lift the pigment epithelium off Bruch's membrane by two to five domes, in place, where `present` (B,)."""
    height = chance.uniform(60.0, 120.0, (most,)) * (present[:, None] & _some(chance, most, 0.35))
    lift = _domes(retina.x, _places(retina, chance, most, 0.8), chance.uniform(0.25, 0.55, (most,)), height)
    _lift(retina, _OVER_DRUSEN, lift)


def add_fluid(retina: Retina, chance: Chance, present: np.ndarray, most: int = 6) -> tuple[np.ndarray, ...]:
    """Add fluid under the retina or cysts within it, in place, where `present` (B,).

    Returns:
        The cysts as ellipses: centre x (mm), centre z (micrometres), radius x, radius z, darkness 0 or 1; each (B, K).
    """
    subretinal = present & chance.happens(0.45)
    height = chance.uniform(80.0, 160.0, (1,)) * subretinal[:, None]
    lift = _domes(retina.x, _places(retina, chance, 1, 0.75), chance.uniform(0.5, 1.1, (1,)), height)
    _lift(retina, _OVER_SUBRETINAL, lift)
    return _add_cysts(retina, chance.spawn("cysts"), present & ~subretinal, most)


def _add_cysts(retina: Retina, chance: Chance, present: np.ndarray, most: int) -> tuple[np.ndarray, ...]:
    """Add a cluster of dark ellipses between the inner nuclear layer and the inner segments, which they spread."""
    shown = present[:, None] & _some(chance, most, 0.65)
    centre = _places(retina, chance, 1, 0.75) + chance.normal(0.0, 0.45, (most,))
    radius_x, radius_z = chance.uniform(0.17, 0.36, (most,)), chance.uniform(45.0, 80.0, (most,))
    lift = _domes(retina.x, centre, 2.0 * radius_x, radius_z * shown)
    _lift(retina, _OVER_CYST, lift)
    top = retina.depth(NAMES.index("ganglion cell and inner plexiform layers"), centre)
    bottom = retina.depth(NAMES.index("outer nuclear layer"), centre)
    depth = top + chance.uniform(0.35, 0.75, (most,)) * (bottom - top)
    return centre, depth, radius_x, np.minimum(radius_z, 0.48 * (bottom - top)), shown.astype(float)


def _lift(retina: Retina, shares: np.ndarray, lift: np.ndarray) -> None:
    """Raise the boundaries by their share of the lift (B, W), in place; no boundary sinks below the next one."""
    retina.boundaries[:, : len(shares)] -= shares[None, :, None] * lift[:, None]
    retina.boundaries[:] = np.minimum.accumulate(retina.boundaries[:, ::-1], axis=1)[:, ::-1]


def _some(chance: Chance, most: int, share: float) -> np.ndarray:
    """Return (B, most) booleans: the first two are always true, the others with probability `share`."""
    shown = chance.happens(share, (most,))
    shown[:, :2] = True
    return shown


def _places(retina: Retina, chance: Chance, count: int, share: float) -> np.ndarray:
    """Return (B, count) lateral positions in the middle `share` of the scan, mm."""
    return chance.uniform(-share * retina.x[-1], share * retina.x[-1], (count,))


def _domes(x: np.ndarray, centre: np.ndarray, radius: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Return the outline of overlapping domes (B, K) on x, (B, W) in the unit of the height."""
    inside = 1.0 - ((x[None, None] - centre[..., None]) / radius[..., None]) ** 2
    return (height[..., None] * np.sqrt(np.clip(inside, 0.0, 1.0)) ** 1.4).max(axis=1)
