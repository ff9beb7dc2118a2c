"""An image as a reader returns it: pixels, and what is known of their place in the world.

One order of axes everywhere: channels first, then space as (rows, columns) or (slices, rows, columns). The affine and
the spacing follow that order; only readers convert from the orders of the formats.
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np


class Display(Protocol):
    """How a file says that its image is to be shown, such as a VOI LUT."""

    @property
    def usable(self) -> bool:
        """Whether what the file says can be applied."""

    @property
    def remark(self) -> str | None:
        """What of the file cannot be applied, None where all can."""

    def shares(self, array: np.ndarray) -> np.ndarray:
        """Return values as shares of full brightness, float32 in 0 to 1, of the same shape, if this is usable."""


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
        padding: Lowest and highest value that says "not measured", such as (-2000, -2000); None where no value does.
        voi: How the file says that it is to be shown; None where it does not say.
    """

    array: np.ndarray
    spacing_mm: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    units: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    scales: dict[str, float] = field(default_factory=dict)
    padding: tuple[float, float] | None = None
    voi: Display | None = None

    @property
    def spatial_dims(self) -> int:
        """Return 2 for a plane, 3 for a volume."""
        return self.array.ndim - 1

    @property
    def measured(self) -> np.ndarray:
        """The values that are no padding, (n,): what statistics are computed of."""
        return self.array.ravel() if self.padding is None else self.array[~self.padded()]

    @property
    def floor(self) -> float:
        """Values at or below it are padding, once the image is `unpadded`; minus infinity where there is none."""
        return -np.inf if self.padding is None else self.padding[1]

    def unpadded(self) -> "Image":
        """Return the image with padding just below its least measured value, so that it passes for air.

        8-bit values stay in their type: there padding becomes the least value itself, and is measured. An image of
        padding alone stays as it is.
        """
        if self.padding is None:
            return self
        padded = self.padded()
        if padded.all():
            return self
        if not padded.any():
            return replace(self, padding=None)
        least = self.array[~padded].min()
        if self.array.dtype == np.uint8:
            return replace(self, array=np.where(padded, least, self.array), padding=None)
        array, below = _with_room_below(self.array, least)
        array[padded] = below
        return replace(self, array=array, padding=(-np.inf, float(below)))

    def padded(self) -> np.ndarray:
        """Return which values are padding, bool of the shape of the array."""
        low, high = self.padding or (np.inf, -np.inf)
        return np.asarray((self.array >= low) & (self.array <= high))

    def pixel_hash(self) -> str:
        """Return 32 hexadecimal digits that depend on type, shape and values alone: equal pixels, equal hash."""
        digest = hashlib.blake2b(f"{self.array.dtype.str}{self.array.shape}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()


def _with_room_below(array: np.ndarray, least: Any) -> tuple[np.ndarray, Any]:
    """Return a copy whose type holds a value below the least one, and that value."""
    if array.dtype.kind == "f":
        return array.copy(), np.nextafter(least, array.dtype.type(-np.inf))
    below = int(least) - 1
    kind = array.dtype
    if np.iinfo(kind).min > below:
        kind = np.promote_types(np.promote_types(kind, np.int16), np.min_scalar_type(below))
    return array.astype(kind), kind.type(below)
