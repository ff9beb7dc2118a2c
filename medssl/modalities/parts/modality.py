"""What a modality is: how its intensities and geometry are read, how its views are made, what it recommends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medssl.augment.bias import Settings as Bias
from medssl.augment.blur import Settings as Blur
from medssl.augment.colour import Settings as Colour
from medssl.augment.depth_gain import Settings as DepthGain
from medssl.augment.equalise import Settings as Equalise
from medssl.augment.geometry import Settings as Geometry
from medssl.augment.ghosting import Settings as Ghosting
from medssl.augment.noise import Settings as Noise
from medssl.augment.speckle import Settings as Speckle
from medssl.augment.stain import Settings as Stain
from medssl.augment.tone import Settings as Tone
from medssl.augment.window import Settings as Window
from medssl.data.image import Image
from medssl.data.packing import stretched
from medssl.errors import SettingsError, unknown_name
from medssl.modalities.parts.monai_transforms import apply, check, rescales
from medssl.modalities.parts.shown import shown, with_air
from medssl.settings import Choice, Settings, merged, validate


class ViewRecipe(Settings):
    """The operations of one view, in the order in which they are applied, each with its ranges."""

    geometry: Geometry = Geometry()
    bias: Bias = Bias()
    ghosting: Ghosting = Ghosting()
    stain: Stain = Stain()
    colour: Colour = Colour()
    window: Window = Window()
    equalise: Equalise = Equalise()
    tone: Tone = Tone()
    depth_gain: DepthGain = DepthGain()
    blur: Blur = Blur()
    speckle: Speckle = Speckle()
    noise: Noise = Noise()


@dataclass(frozen=True)
class Modality:
    """A kind of image.

    Attributes:
        name: The name of its file.
        title: Its name in a sentence.
        channels: Channels of a stored image.
        spatial_dims: 2 or 3.
        size: Default side of a stored image, in pixels.
        prepare: `prepare(image, size)` returns (C, *size) uint8, or uint16 where the source has more than 8 bits.
        preparation: What `prepare` does, as plain values: part of the store's key, so that a change packs anew.
        views: Recipes by strength, "weak" and "strong".
        stored_spacing: `stored_spacing(image, stored)` returns the spacing of what `prepare` made of an image.
        recommends: Settings of methods as "method.setting", each with its source.
        dicom: Words of the DICOM attribute Modality whose images are of this kind more often than not.
        like: The modality that a user's file starts from; its own name for one of a file here.
        transforms: MONAI transforms by name that an image goes through before `prepare`, see `monai_transforms`.
        voi_lut: Intensities are read as the file says that it is to be shown, where it says so.
    """

    name: str
    title: str
    channels: int
    spatial_dims: int
    size: int
    prepare: Callable[[Image, int], np.ndarray]
    preparation: dict[str, Any]
    views: dict[str, ViewRecipe]
    stored_spacing: Callable[[Image, np.ndarray], tuple[float, ...]] = stretched
    recommends: dict[str, Choice] = field(default_factory=dict)
    dicom: tuple[str, ...] = ()
    like: str = ""
    transforms: tuple[Mapping[str, Any], ...] = ()
    voi_lut: bool = False

    def recipe(self, strength: str) -> ViewRecipe:
        """Return the recipe of that strength.

        Raises:
            SettingsError: There is none.
        """
        if strength not in self.views:
            raise unknown_name("view strength", strength, self.views, where=self.name)
        return self.views[strength]

    def with_augment(self, augment: Mapping[str, Any]) -> "Modality":
        """Return the modality with recipes changed by the section `augment` of the settings.

        A group named after a strength changes that recipe, any other all of them: `{"strong": {"blur":
        {"probability": 0}}, "geometry": {"rotation_degrees": 5}}`. The named strength wins over the general. An
        operation that is `False` is left out.

        Raises:
            SettingsError: A name is unknown or a value is out of range; it is named.
        """
        for name in self.views:
            if not isinstance(augment.get(name) or {}, Mapping):
                raise SettingsError(f"Expected augment.{name} to be a group of settings, but got {augment[name]!r}")
        general = {name: value for name, value in augment.items() if name not in self.views}
        views = {}
        for strength, recipe in self.views.items():
            values = merged(recipe.model_dump(), _without(general), _without(augment.get(strength) or {}))
            views[strength] = validate(ViewRecipe, values, where="augment")
        return replace(self, views=views)

    def with_transforms(self, transforms: Sequence[Mapping[str, Any]]) -> "Modality":
        """Return the modality with more MONAI transforms after its own, each checked.

        Raises:
            SettingsError: One is unknown, draws at random, or has wrong arguments.
        """
        if not transforms:
            return self
        check(transforms, self.spatial_dims)
        changed = replace(self, transforms=(*self.transforms, *transforms))
        return changed._without_windows() if rescales(transforms) else changed

    def with_voi_lut(self, asked: bool) -> "Modality":
        """Return the modality that reads intensities through the VOI LUT of a file, or through its own window."""
        return replace(self._without_windows() if asked else self, voi_lut=asked)

    def reading(self, transforms: Sequence[Mapping[str, Any]], *, voi_lut: bool) -> "Modality":
        """Return the modality as the settings `data.transforms` and `data.voi_lut` have it read images.

        Raises:
            SettingsError: A transform is unknown, draws at random, or has wrong arguments.
        """
        return self.with_transforms(transforms).with_voi_lut(voi_lut)

    def _without_windows(self) -> "Modality":
        """Return the modality without views through windows: those are in units of its own scale."""
        views = {name: recipe.model_copy(update={"window": Window()}) for name, recipe in self.views.items()}
        return replace(self, views=views)

    def before(self, image: Image) -> Image:
        """Return what `prepare` takes: padding as air, the VOI LUT applied if asked for, then MONAI's transforms.

        Raises:
            DataError: There is nothing but padding, or a transform cannot be applied to this image.
        """
        image = shown(image) if self.voi_lut else with_air(image)
        return apply(image, self.transforms) if self.transforms else image

    def key_parts(self, size: int) -> dict[str, Any]:
        """Return what, beside the manifest, decides the pixels of a store: alike for all that differ in views only."""
        after: dict[str, Any] = {"transforms": [dict(one) for one in self.transforms]} if self.transforms else {}
        after |= {"voi_lut": True} if self.voi_lut else {}
        return {"modality": self.like or self.name, "size": size, **self.preparation, **after}


def _without(augment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes with the values of no operation at all wherever one is switched off."""
    off = {name: field.get_default() for name, field in ViewRecipe.model_fields.items()}
    return {
        name: off[name].model_dump() if value is False and name in off else value for name, value in augment.items()
    }
