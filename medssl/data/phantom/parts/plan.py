"""Who is in a cohort and what each B-scan shows, decided before anything is drawn.

Patients come in threes, one healthy, one with drusen, one with fluid, in random order. Ten threes make a block; its
second, fifth and ninth three are test patients. Of a diseased patient's frames half, three quarters or all show the
lesion; over a block that makes one frame in two, in training and in test alike. So a patient's part is a function of
(seed, device, patient), and every device and split has the same prevalence.
"""

from typing import NamedTuple

import numpy as np

from medssl.chance import Chance, key
from medssl.data.phantom.parts.lesions import LABELS

FRAMES = 4
_TEST_THREES = (1, 4, 8)
_AFFECTED = {"train": (2, 2, 3, 3, 3, 4, 4), "test": (2, 3, 4)}


class Bscan(NamedTuple):
    """One frame: its patient (0-based), number, what it shows, the patient's split and eye."""

    patient: int
    frame: int
    label: str
    split: str
    laterality: str


def plan(seed: int, device: str, patients: int) -> list[Bscan]:
    """Return the frames of the first `patients` patients of a device."""
    return [bscan for patient in range(patients) for bscan in _frames(seed, device, patient)]


def _frames(seed: int, device: str, patient: int) -> list[Bscan]:
    block, within = divmod(patient, 30)
    three, place = divmod(within, 3)
    split = "test" if three in _TEST_THREES else "train"
    order = Chance([key(seed, device, "three", block, three)]).permutation(3)[0]
    label = LABELS[order[place]]
    threes = [t for t in range(10) if (t in _TEST_THREES) == (split == "test")]
    counts = Chance([key(seed, device, "affected", block, label, split)]).permutation(len(threes))[0]
    affected = 0 if label == "normal" else _AFFECTED[split][counts[threes.index(three)]]
    own = Chance([key(seed, device, "patient", patient)])
    shown = own.permutation(FRAMES)[0] < affected
    laterality = "R" if own.happens(0.5)[0] else "L"
    return [Bscan(patient, f, label if shown[f] else "normal", split, laterality) for f in np.arange(FRAMES).tolist()]
