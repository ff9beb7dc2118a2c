"""Graded acquisition shifts: the in-distribution test images as another acquisition might have shown them.

    noise, blur, contrast, gamma, resolution, jpeg, each at three severities

in the spirit of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) and MedMNIST-C (Di Salvo et al., arXiv 2406.17536).
They change stored images before these are standardised, by amounts that were fixed before any result was looked at
and are the same for every modality. A shift that an arm was trained on is no test of robustness: each is marked, arm
by arm, as seen in its augmentations or not, and the headline is the mean over those that were not.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter, zoom

from medssl.chance import key
from medssl.data.store import Store
from medssl.errors import SettingsError, unknown_name
from medssl.evaluation.cohort import Cohort
from medssl.evaluation.predictions import SHIFTED
from medssl.modalities.parts.modality import Modality

PREFIX = "shift:"
SEVERITIES = (1, 2, 3)
_REFERENCE_SIZE = 224

# One axis of an image of 224 pixels; widths in pixels scale with the size, so that anatomy is blurred alike.
_NOISE = (0.04, 0.08, 0.16)  # standard deviation in units of the full range
_BLUR = (1.5, 3.0, 6.0)  # standard deviation, pixels of 224
_CONTRAST = (0.7, 0.5, 0.3)  # factor about the mean, then rounded to the levels that are left
_GAMMA = (1.4, 2.0, 2.8)  # exponent; every second image, by its content, gets the inverse
_RESOLUTION = (0.6, 0.4, 0.25)  # share of the pixels kept along each axis
_JPEG = (40, 20, 10)  # quality


def noise(image: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """Add normal noise, as a shorter exposure does."""
    grain = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return image + np.float32(_NOISE[severity - 1]) * grain


def blur(image: np.ndarray, severity: int, seed: int) -> np.ndarray:  # noqa: ARG001
    """Blur, as poor focus or motion does."""
    sigma = _BLUR[severity - 1] * min(image.shape[1:]) / _REFERENCE_SIZE
    return gaussian_filter(image, (0, *(sigma,) * (image.ndim - 1)), mode="nearest", truncate=3.0)


def contrast(image: np.ndarray, severity: int, seed: int) -> np.ndarray:  # noqa: ARG001
    """Flatten the contrast about the mean; what standardising cannot undo is the rounding to 8 bit that follows."""
    mean = image.mean()
    return np.rint((mean + _CONTRAST[severity - 1] * (image - mean)) * 255) / 255


def gamma(image: np.ndarray, severity: int, seed: int) -> np.ndarray:
    """Bend the tone curve, as another display curve does: darker or brighter."""
    exponent = _GAMMA[severity - 1]
    return np.clip(image, 0, 1) ** np.float32(exponent if seed % 2 else 1 / exponent)


def resolution(image: np.ndarray, severity: int, seed: int) -> np.ndarray:  # noqa: ARG001
    """Average to fewer pixels and interpolate back, as a coarser detector does."""
    shape = image.shape[1:]
    small = [max(2, round(n * _RESOLUTION[severity - 1])) for n in shape]
    shares = [s / n for s, n in zip(small, shape, strict=True)]
    smooth = gaussian_filter(image, (0, *(0.5 / share for share in shares)), mode="nearest")
    coarse = zoom(smooth, (1, *shares), order=1, grid_mode=True, mode="nearest")
    back = [n / s for n, s in zip(shape, coarse.shape[1:], strict=True)]
    return zoom(coarse, (1, *back), order=1, grid_mode=True, mode="nearest")


def jpeg(image: np.ndarray, severity: int, seed: int) -> np.ndarray:  # noqa: ARG001
    """Compress each plane as JPEG and decompress it, as some archives and exports do."""
    planes = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).reshape(-1, *image.shape[-2:])
    return np.stack([_jpeg(plane, _JPEG[severity - 1]) for plane in planes]).reshape(image.shape)


def _jpeg(plane: np.ndarray, quality: int) -> np.ndarray:
    kept = io.BytesIO()
    Picture.fromarray(plane).save(kept, format="JPEG", quality=quality)
    return np.asarray(Picture.open(kept), np.float32) / 255


SHIFTS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "gamma": gamma,
    "resolution": resolution,
    "jpeg": jpeg,
}
# The operations of a view recipe that show a network something of the kind, and the settings that switch them on.
_SHOWN_BY = {
    "noise": (("noise", "strength"), ("speckle", "strength")),
    "blur": (("blur", "sigma"),),
    "contrast": (("tone", "contrast"),),
    "gamma": (("tone", "gamma"),),
    "resolution": (("blur", "sigma"),),
    "jpeg": (),
}
_IDENTITY = ((0.0, 0.0), (1.0, 1.0))


def split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part `--ood` into what names shifts ("shift:all", "shift:noise") and the rest.

    Returns:
        Names of shifts, in the order of `SHIFTS`, each once; and the manifests.

    Raises:
        SettingsError: There is no such shift.
    """
    asked = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
    for name in asked:
        if name != "all" and name not in SHIFTS:
            raise unknown_name("shift", name, ["all", *SHIFTS], where="--ood")
    shifts = [name for name in SHIFTS if name in asked or "all" in asked]
    return shifts, [name for name in names if not name.startswith(PREFIX)]


def shifted(cohort: Cohort, shifts: Sequence[str]) -> dict[str, Cohort]:
    """Return the test images under every shift and severity, by the name of the test set ("noise 1", ...).

    Raises:
        SettingsError: The images are volumes; that is not supported yet.
    """
    if shifts and any(store.images.ndim != 4 for store, _ in cohort.stores.values()):
        raise SettingsError("Acquisition shifts are made of planes (2D) only", where="--ood")
    return {
        place: _shifted(cohort, name, severity)
        for name in shifts
        for severity in SEVERITIES
        for place in [f"{name} {severity}"]
    }


def _shifted(cohort: Cohort, name: str, severity: int) -> Cohort:
    """Return one of them. Its pixel hashes say so: what is computed of these images is not that of the originals."""
    stores = {
        recipe: (replace(store, images=Shifted(store, name, severity)), rows)  # type: ignore[arg-type]  # reads alike
        for recipe, (store, rows) in cohort.stores.items()
    }
    hashes = cohort.table["pixel_hash"].astype(str) + f" {name} {severity}"
    table = cohort.table.assign(pixel_hash=hashes)
    return replace(cohort, name=f"{name} {severity}", domain=SHIFTED, table=table, stores=stores)


@dataclass(frozen=True)
class Shifted:
    """The images of a store, shifted when they are read, (N, C, *S) of the store's type.

    Attributes:
        store: The originals.
        name: Of the shift.
        severity: 1, 2 or 3.
    """

    store: Store
    name: str
    severity: int

    @property
    def dtype(self) -> np.dtype:
        """The type of a stored image."""
        return self.store.images.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, *S)."""
        return self.store.images.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.store.images.ndim

    def __len__(self) -> int:
        return len(self.store.images)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return one image (C, *S) for a number, several (M, C, *S) for an array of numbers."""
        if np.ndim(rows) == 0:
            return self._one(int(rows))
        return np.stack([self._one(int(row)) for row in np.asarray(rows)])

    def _one(self, row: int) -> np.ndarray:
        seed = key(self.store.index["content"].iloc[row], self.name)
        levels = self.store.levels
        image = SHIFTS[self.name](self.store.images[row].astype(np.float32) / levels, self.severity, seed)
        return np.rint(np.clip(image, 0, 1) * levels).astype(self.dtype)


def seen(name: str, modality: Modality, strengths: Sequence[str]) -> bool:
    """Return whether views of these strengths show a network something of the kind of a shift."""
    recipes = [modality.recipe(strength) for strength in strengths]
    return any(
        getattr(getattr(recipe, operation), "probability", 1.0) > 0
        and tuple(getattr(getattr(recipe, operation), setting)) not in _IDENTITY
        for recipe in recipes
        for operation, setting in _SHOWN_BY[name]
    )


def parted(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part predictions into those on unchanged images and those on shifted ones."""
    is_shift = table["domain"] == SHIFTED
    return table[~is_shift].reset_index(drop=True), table[is_shift].reset_index(drop=True)
