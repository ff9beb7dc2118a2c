"""What pretraining would show a network: an image as it is stored, and views of it as they are drawn for training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from medssl.batch import Batch
from medssl.data.image import Image
from medssl.data.keys import of_this_user
from medssl.data.manifest import Manifest
from medssl.data.packing import occupied
from medssl.data.readers import read_image
from medssl.data.scan import scan
from medssl.errors import DataError, SettingsError
from medssl.methods.parts.wish import ViewWish
from medssl.modalities.parts import own
from medssl.modalities.parts.modality import Modality
from medssl.report import pictures
from medssl.report.sheet import Cell
from medssl.settings import flat, validate
from medssl.training.settings import DataSettings
from medssl.training.views import ViewParameters, apply_views, plain_view, sample_views

_TRIED = 20
_MOST_NUMBERS = 8
_SIZE, _TRANSFORMS, _VOI = "data.image_size", "data.transforms", "data.voi_lut"
_UNTOLD = ("offset",)  # a place in the bank of noise says nothing to a person
_RGB = 3


@dataclass(frozen=True)
class Shown:
    """Views of one image.

    Attributes:
        sample_id: The image.
        row: Its row below the header of the manifest, from 1.
        passed: Images before it that cannot be used with the modality.
        original: The stored image, standardised, (C, *spatial).
        views: The views, (C, *spatial) each.
        parameters: What was drawn for each.
    """

    sample_id: str
    row: int
    passed: int
    original: torch.Tensor
    views: list[torch.Tensor]
    parameters: list[ViewParameters]

    def cells(self) -> list[Cell]:
        """Return the pictures, the original first, all in its grey scale; of volumes the middle slice."""
        named = {"original": self.original} | {f"view {k}": view for k, view in enumerate(self.views, start=1)}
        limits = pictures.window(self.original.numpy())
        colour = len(self.original) == _RGB
        return [
            Cell(name, pictures.levels(pictures.flat(image.numpy()), *limits, colour=colour))
            for name, image in named.items()
        ]

    def drawn(self) -> list[str]:
        """Return a line a view with the parameters that differ among the views."""
        told = [_numbers(view) for view in self.parameters]
        names = [name for name in told[0] if len({one[name] for one in told}) > 1]
        return [
            f"view {k}  " + ("  ".join(f"{name} {one[name]}" for name in names) or "as all others")
            for k, one in enumerate(told, start=1)
        ]


def show(
    data: Path,
    modality: str,
    *,
    strength: str = "strong",
    views: int = 16,
    seed: int = 0,
    row: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[str, dict[str, Any]], None] | None = None,
) -> Shown:
    """Make views of one image as pretraining makes them.

    With the same seed and settings the first ones are those that the image has in the first epoch of a run.

    Args:
        data: A manifest, a folder of images or an image file.
        modality: Name of a modality, or a file of values.
        strength: Name of one of its recipes.
        views: How many.
        seed: As `train.seed` of a run.
        row: Sample id of the image; the first one that can be used if None.
        settings: `augment`, `data.image_size`, `data.transforms` and `data.voi_lut` as a run has them.
        progress: Told how scanning goes.

    Raises:
        SettingsError: A name or value is wrong.
        DataError: The images cannot be used.
    """
    kind, size = _recipes(modality, strength, settings or {})
    manifest = scan([data], key=of_this_user() if data.is_dir() else None, progress=progress)
    chosen, image, stored, passed = _first(manifest, row, kind, size)
    sample = str(manifest.table["sample_id"].iloc[chosen])
    batch = Batch(torch.tensor(stored)[None], [sample], [None], [image.pixel_hash()])
    batch.occupied = torch.tensor(occupied(stored), dtype=torch.float64).reshape(1, -1, 2)
    drawn = sample_views(batch, [ViewWish(views, strength)], kind, seed, epoch=0)
    made = [view[0] for view in apply_views(batch.image, drawn)]
    return Shown(sample, chosen + 1, passed, plain_view(batch, kind)[0], made, drawn)


def _recipes(name: str, strength: str, settings: Mapping[str, Any]) -> tuple[Modality, int]:
    """Return the modality with the changes asked for, and the side of a stored image."""
    given = flat(settings)
    other = next(
        (key for key in given if key not in (_SIZE, _TRANSFORMS, _VOI) and not key.startswith("augment.")), None
    )
    if other is not None:
        raise SettingsError(
            f"Setting '{other}' does not change the views of an image",
            fix=f"Give augment.*, {_SIZE}, {_TRANSFORMS} or {_VOI} with --set",
        )
    kind = own.named(*own.read(Path(name))) if own.is_file(name) else own.named(name)
    kind.recipe(strength)
    augment = settings.get("augment") or {}
    bare = next(
        (group for group, value in augment.items() if not isinstance(value, Mapping) and value is not False), None
    )
    if bare is not None:
        raise SettingsError(f"Setting 'augment.{bare}' is a group of settings, but got {augment[bare]!r}")
    values = {"image_size": kind.size} | {
        name.removeprefix("data."): given[name] for name in (_SIZE, _TRANSFORMS, _VOI) if name in given
    }
    data = validate(DataSettings, values, where="data")
    kind = kind.reading(data.transforms, voi_lut=data.voi_lut).with_augment(augment)
    return kind, data.image_size


def _first(manifest: Manifest, row: str | None, kind: Modality, size: int) -> tuple[int, Image, Any, int]:
    """Return place, image and stored image of the row asked for or the first that can be used, and how many cannot.

    Raises:
        SettingsError: There is no image of that id.
        DataError: It cannot be used, or none of the first ones can.
    """
    table = manifest.table
    if row is not None:
        found = table.index[table["sample_id"] == row]
        if not len(found):
            raise _no_such(row, table)
        return (int(found[0]), *_stored(manifest, int(found[0]), kind, size), 0)
    usable = [int(place) for place in table.index[table["status"] == "ok"]]
    if not usable:
        raise DataError(
            "The manifest lists no image that can be read", where=manifest.name, fix="Scan the folder again"
        )
    problem: DataError | None = None
    for passed, place in enumerate(usable[:_TRIED]):
        try:
            return (place, *_stored(manifest, place, kind, size), passed)
        except DataError as error:
            problem = problem or error
    tried = min(len(usable), _TRIED)
    raise DataError(
        f"None of the first {tried} images can be used as {kind.title}; the first: {problem.what if problem else ''}",
        fix="Choose another --modality, or name an image with --row",
    )


def _no_such(row: str, table: pd.DataFrame) -> SettingsError:
    first = ", ".join(table.loc[table["status"] == "ok", "sample_id"].iloc[:3])
    return SettingsError(f"There is no image '{row}'", where="--row", fix=f"The column sample_id begins with {first}")


def _stored(manifest: Manifest, place: int, kind: Modality, size: int) -> tuple[Image, Any]:
    image = read_image(manifest, manifest.table.iloc[place])
    return image, kind.prepare(kind.before(image), size)


def _numbers(view: ViewParameters) -> dict[str, str]:
    """Return what was drawn for a view, by operation and name; of many numbers their spread."""
    result = {}
    for operation, drawn in view.items():
        for name, values in drawn.items() if isinstance(drawn, Mapping) else ():
            told = values[0].flatten().tolist()
            if name not in _UNTOLD:
                many = len(told) > _MOST_NUMBERS
                shown = f"spread {values[0].std().item():.3g}" if many else ",".join(f"{v + 0.0:.3g}" for v in told)
                result[f"{operation}.{name}"] = shown
    return result
