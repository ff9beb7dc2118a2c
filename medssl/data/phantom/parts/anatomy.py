"""The healthy retina of a synthetic B-scan: layer boundaries, foveal pit, vessels and choroid.

Thicknesses are of the order that optical coherence tomography finds in adults (Loduca et al., "Retinal thickness
mapping using ten layers", Am J Ophthalmol 2010; Curcio et al., IOVS 2011); reflectivities are decibels above an empty
vitreous, chosen by eye so that the bands have the order of brightness seen in spectral-domain scans. Lateral
positions `x` and `y` are in mm from the centre of the scan, depths `z` in micrometres from its top.
"""

from dataclasses import dataclass

import numpy as np

from medssl.chance import Chance

# Regions from the vitreous downwards: name, thickness away from and in the fovea (micrometres), reflectivity (dB).
# The two empty ones hold subretinal fluid and drusen.
REGIONS = (
    ("vitreous", 0.0, 0.0, 1.0),
    ("nerve fibre layer", 30.0, 2.0, 25.0),
    ("ganglion cell and inner plexiform layers", 78.0, 4.0, 19.5),
    ("inner nuclear layer", 36.0, 4.0, 14.0),
    ("outer plexiform layer", 27.0, 10.0, 18.5),
    ("outer nuclear layer", 76.0, 112.0, 10.5),
    ("inner segments", 22.0, 26.0, 14.0),
    ("ellipsoid zone", 15.0, 16.0, 26.0),
    ("outer segments", 20.0, 30.0, 18.0),
    ("subretinal space", 0.0, 0.0, 2.0),
    ("pigment epithelium", 23.0, 24.0, 30.0),
    ("space under the pigment epithelium", 0.0, 0.0, 18.0),
    ("choroid", 250.0, 270.0, 22.0),
    ("sclera", 0.0, 0.0, 13.0),
)
NAMES = [name for name, *_ in REGIONS]
REFLECTIVITY_DB = np.array([db for *_, db in REGIONS], dtype=np.float32)
BRUCH = NAMES.index("choroid") - 1
"""The boundary that stays where it is: everything above it is stacked on it, the choroid hangs below."""


@dataclass
class Retina:
    """Boundaries and reflectivity of B frames, changed in place by lesions before they are drawn.

    Attributes:
        x: (W,) lateral positions, mm.
        boundaries: (B, 13, W) depth of the lower edge of each region but the last, micrometres.
        blobs: Gaussian blobs to add: (centre x, centre z, radius x in mm, radius z in micrometres, dB), each (B, K).
        shadows: (centre x, top z, half width in mm, dB), each (B, K): what vessels take from everything below them.
    """

    x: np.ndarray
    boundaries: np.ndarray
    blobs: list[tuple[np.ndarray, ...]]
    shadows: tuple[np.ndarray, ...]

    def depth(self, boundary: int, x: np.ndarray) -> np.ndarray:
        """Return the depth of a boundary at positions x (B, K), micrometres, (B, K)."""
        columns = np.clip(np.searchsorted(self.x, x), 0, len(self.x) - 1)
        return np.take_along_axis(self.boundaries[:, boundary], columns, axis=1)


def draw(patient: Chance, frame: Chance, x: np.ndarray, y: np.ndarray, nasal: np.ndarray, depth_um: float) -> Retina:
    """Draw the healthy retina of each frame.

    Args:
        patient: Chance of the frame's patient (the same numbers in all of a patient's frames).
        frame: Chance of the frame itself.
        x: (W,) lateral positions, mm.
        y: (B,) distance of the B-scan from the fovea, mm.
        nasal: (B,) +1 where the nose is to the right of the picture, -1 where it is to the left.
        depth_um: Depth of the scan.
    """
    boundaries = _stack(patient.spawn("layers"), frame.spawn("place"), x, y, nasal, depth_um)
    retina = Retina(x, boundaries, [], ())
    retina.shadows = _vessels(retina, patient.spawn("vessels"), frame.spawn("vessels"), y)
    _choroidal_vessels(retina, patient.spawn("choroid"), frame.spawn("choroid"))
    _dots(retina, frame.spawn("dots"))
    return retina


def _stack(
    patient: Chance, frame: Chance, x: np.ndarray, y: np.ndarray, nasal: np.ndarray, depth_um: float
) -> np.ndarray:
    """Return boundaries (B, 13, W): Bruch's membrane first, the layers stacked upon it."""
    bruch = _bruch(patient, frame, x, depth_um)
    centre = patient.uniform(-0.35, 0.35) + frame.uniform(-0.08, 0.08)
    distance = np.hypot(x[None] - centre[:, None], y[:, None])
    width = patient.uniform(0.33, 0.48)[:, None]
    pit = np.exp(-0.5 * (distance / width) ** 2) * patient.uniform(0.75, 1.0)[:, None]
    rim = 1.0 + patient.uniform(0.05, 0.16)[:, None] * np.exp(-(((distance - 1.1) / 0.7) ** 2))
    overall = patient.normal(1.0, 0.07)
    thickness = {}
    for name, away, fovea, _ in REGIONS[1:-1]:
        own = (overall * patient.normal(1.0, 0.07))[:, None]
        thickness[name] = own * np.maximum(away * (rim if fovea < away else 1.0) * (1 - pit) + fovea * pit, 0.0)
    thickness["nerve fibre layer"] *= np.clip(1.0 + 0.28 * nasal[:, None] * (x - centre[:, None]), 0.4, 2.2)
    boundaries = np.empty((len(y), len(REGIONS) - 1, len(x)))
    boundaries[:, BRUCH] = bruch
    for index in range(BRUCH, 0, -1):
        boundaries[:, index - 1] = boundaries[:, index] - thickness[NAMES[index]]
    ripple = frame.uniform(0.0, 6.3, (1,)) + 2.1 * x[None]
    boundaries[:, BRUCH + 1] = bruch + thickness["choroid"] * patient.uniform(0.7, 1.25)[:, None] + 14 * np.sin(ripple)
    return boundaries


def _bruch(patient: Chance, frame: Chance, x: np.ndarray, depth_um: float) -> np.ndarray:
    """Return the depth of Bruch's membrane (B, W): place, tilt, curvature, a slow undulation and motion of the eye."""
    place = depth_um * (patient.uniform(0.57, 0.64) + frame.uniform(-0.02, 0.02))
    tilt = patient.normal(0.0, 11.0) + frame.normal(0.0, 4.0)
    bend = patient.normal(-4.0, 3.5)
    wave = 2 * np.pi / frame.uniform(2.2, 4.5)[:, None]
    undulation = frame.uniform(2.0, 11.0)[:, None] * np.sin(wave * x[None] + frame.uniform(0, 2 * np.pi)[:, None])
    return place[:, None] + tilt[:, None] * x + bend[:, None] * x**2 + undulation + _motion(frame, len(x))


def _motion(frame: Chance, columns: int, knots: int = 20) -> np.ndarray:
    """Return how far the eye moved along the beam while the columns were scanned, little to much, (B, W)."""
    offsets = frame.spawn("motion").normal(0.0, 1.0, (knots,)) * frame.spawn("amount").uniform(0.0, 15.0)[:, None]
    place = np.linspace(0, knots - 1, columns)
    low = np.minimum(place.astype(int), knots - 2)
    return offsets[:, low] + (offsets[:, low + 1] - offsets[:, low]) * (place - low)


def _vessels(retina: Retina, patient: Chance, frame: Chance, y: np.ndarray, most: int = 10) -> tuple[np.ndarray, ...]:
    """Add retinal vessels (bright tops in the inner retina) and return their shadows; a patient has few or many.

    A vessel crosses a patient's B-scans at an angle, so that neighbouring frames show it at neighbouring places.
    """
    half = retina.x[-1]
    place = patient.uniform(-half, half, (most,)) + patient.normal(0.0, 0.5, (most,)) * y[:, None]
    few_or_many = patient.uniform(size=(most,)) < patient.uniform(0.0, 1.0)[:, None]
    present = few_or_many & (np.abs(place) > 0.45)
    radius = patient.uniform(0.035, 0.075, (most,))
    top = retina.depth(1, place) + frame.uniform(0.0, 25.0, (most,))
    strength = np.where(present, patient.uniform(3.0, 10.0, (most,)), 0.0)
    retina.blobs.append((place, top, radius, 450 * radius, 0.7 * strength))
    return place, top + 500 * radius, radius, strength


def _choroidal_vessels(retina: Retina, patient: Chance, chance: Chance, most: int = 16) -> None:
    """Add vessels in the choroid, few to many, as dark and as large as cysts; they are no lesion."""
    half = retina.x[-1]
    share = np.clip(patient.uniform(-0.1, 1.1) + chance.normal(0.0, 0.15), 0.0, 1.0)
    place = chance.uniform(-half, half, (most,))
    top, bottom = retina.depth(BRUCH, place), retina.depth(BRUCH + 1, place)
    radius_um = chance.uniform(15.0, 60.0, (most,))
    depth = np.maximum(top + chance.uniform(0.2, 0.85, (most,)) * (bottom - top), top + 1.4 * radius_um + 10)
    darkness = -chance.uniform(4.0, 12.0, (most,)) * (chance.uniform(size=(most,)) < share[:, None])
    retina.blobs.append((place, depth, radius_um * chance.uniform(1.2, 3.2, (most,)) / 1000, radius_um, darkness))


def _dots(retina: Retina, chance: Chance, most: int = 8) -> None:
    """Add benign bright dots between the nerve fibres and the inner segments."""
    half = retina.x[-1]
    place = chance.uniform(-half, half, (most,))
    top, bottom = retina.depth(1, place), retina.depth(5, place)
    depth = top + chance.uniform(0.0, 1.0, (most,)) * (bottom - top)
    size = chance.uniform(8.0, 18.0, (most,))
    bright = np.where(chance.happens(0.5, (most,)), chance.uniform(5.0, 13.0, (most,)), 0.0)
    retina.blobs.append((place, depth, 1.6 * size / 1000, size, bright))
