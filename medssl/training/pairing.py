"""Who may be whose positive among the images of a run, and what follows where a choice of nobody's cannot work."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from medssl import discovery, files, kept
from medssl.data import partners
from medssl.data.partners import Partners
from medssl.errors import DataError
from medssl.settings import Choice
from medssl.training import presets, runs
from medssl.training.settings import PretrainSettings, to_text

_INSTEAD = "both views are of one image, since pairs of two, which nobody asked for, are impossible: "


class Pairing(NamedTuple):
    """What the images that are left after packing allow.

    Attributes:
        settings: The run's, with `positives` as they can be.
        partners: Who may be whose positive; None where views are of one image.
        remark: A sentence where that is another choice than before packing, or images pair with themselves.
        choice: The other choice, None where there is none.
    """

    settings: PretrainSettings
    partners: Partners | None
    remark: str | None
    choice: Choice | None = None


def among(settings: PretrainSettings, table: pd.DataFrame, rows: np.ndarray, where: str) -> Partners | None:
    """Return who may be whose positive among the images that are trained on, None where views are of one image.

    Raises:
        DataError: The manifest does not say what belongs together, no two images do, or nothing is left to contrast.
    """
    asked = settings.group(settings.method)
    kind = asked.get("positives", "image")
    if kind == "image":
        return None
    found = partners.find(table, rows, kind, asked.get("neighbour_distance", 1), where)
    contrasts = getattr(discovery.load("methods", settings.method).Method, "contrasts", False)
    if contrasts and len(np.unique(found.kin[rows])) < 2:
        raise DataError(
            f"All {len(rows)} images are of one patient or volume, and {settings.method} contrasts none of these",
            where=where,
            fix=f"Choose the same image with {settings.method}.positives=image, or a method without negatives: byol",
        )
    return found


def after_packing(
    settings: PretrainSettings, choice: Choice | None, table: pd.DataFrame, rows: np.ndarray, where: str
) -> Pairing:
    """Return what the images that could be prepared allow: a recommendation that cannot be followed is given up.

    Args:
        settings: The run's.
        choice: Of `positives`, with its source; None where the method has no such setting.
        table: The store's index.
        rows: Places of the images that are trained on.
        where: Said in messages.

    Raises:
        DataError: A user's choice cannot be followed.
    """
    try:
        found = among(settings, table, rows, where)
    except DataError as error:
        if choice is None or not presets.is_recommended(_name(settings), choice, settings):
            raise
        group = {**settings.group(settings.method), "positives": "image"}
        other = Choice("image", f"{_INSTEAD}{error.what}")
        return Pairing(settings.model_copy(update={settings.method: group}), None, other.source, other)
    given_up = choice is not None and choice.source.startswith(_INSTEAD)
    return Pairing(settings, found, choice.source if given_up else found.remark if found else None)  # type: ignore[union-attr]


def chosen(settings: PretrainSettings, choices: dict[str, Choice], run: Path) -> Choice | None:
    """Return the choice of `positives` with the source that it had when the run began."""
    name = _name(settings)
    first = kept.mapping(run / runs.CHOICES).get(name)
    return Choice(*first) if isinstance(first, list) and len(first) == len(Choice._fields) else choices.get(name)


def keep(run: Path, pairing: Pairing) -> None:
    """Write the other choice into the run's settings and choices, so that whoever reads or repeats it sees it."""
    if pairing.choice is None:
        return
    files.write_text(run / runs.SETTINGS, to_text(pairing.settings))
    choices = kept.mapping(run / runs.CHOICES)
    files.write_json(run / runs.CHOICES, {**choices, _name(pairing.settings): list(pairing.choice)})


def _name(settings: PretrainSettings) -> str:
    return f"{settings.method}.positives"
