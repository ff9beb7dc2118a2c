"""An image as a reader returns it: pixels, and what is known of their place in the world.

One order of axes everywhere: channels first, then space as (rows, columns) or (slices, rows, columns). The affine and
the spacing follow that order; only readers convert from the orders of the formats.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Image:
    """Pixels in real units where the file defines them, with unknowns left unknown.

    Attributes:
        array: (C, *spatial), the smallest integer type that holds every value the file can express, or float32.
        spacing_mm: Distance between neighbours along each spatial axis in mm, NaN where it is unknown; None where
            nothing is known.
        affine: (4, 4) from (slice, row, column) indices to patient RAS mm; None for 2D images and where the file
            does not say.
        units: What a value means, such as "HU"; None where it is arbitrary.
        provenance: What was done on the way from the file: path, frame, inversion, rescale.
        remarks: Sentences that a person should read.
        scales: Factors from the values to other units, such as {"SUVbw": 2.5e-4}; only those that are known.
    """

    array: np.ndarray
    spacing_mm: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    units: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    scales: dict[str, float] = field(default_factory=dict)

    @property
    def spatial_dims(self) -> int:
        """Return 2 for a plane, 3 for a volume."""
        return self.array.ndim - 1

    def pixel_hash(self) -> str:
        """Return 32 hexadecimal digits that depend on type, shape and values alone: equal pixels, equal hash."""
        digest = hashlib.blake2b(f"{self.array.dtype.str}{self.array.shape}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()
