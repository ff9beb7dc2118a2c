"""What dots of an embedding are coloured by, and how well each of these can be read from the features."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medssl.evaluation.embedded import Images
from medssl.evaluation.readable import MOST_IMAGES, Reading, read_out
from medssl.evaluation.shortcut import device_names
from medssl.report import embedding
from medssl.report.words import interval, number

Row = dict[str, Any]


class Coloured(NamedTuple):
    """Something known of the images that dots are coloured by.

    Attributes:
        name: "disease", "site" or "device".
        kind: "label", "site" or "device".
        words: (N,) words, None where unknown.
    """

    name: str
    kind: str
    words: np.ndarray


def coloured(images: Images) -> list[Coloured]:
    """Return what dots are coloured by: the labels, the site and the device, with the words of each image.

    Where devices are unknown, or part the images as sites do, sites are enough.
    """
    table = images.table
    labels = [Coloured(name, "label", _words(table[name])) for name in images.labels]
    site = Coloured("site", "site", _words(table["site"]))
    named = pd.Series(device_names(table), dtype=object)
    device = Coloured("device", "device", _words(named.where(named != "")))
    if not any(device.words):
        return [*labels, site]
    if np.array_equal(pd.factorize(site.words)[0], pd.factorize(device.words)[0]):
        return [*labels, site._replace(name="site or device")]
    return [*labels, site, device]


def _words(column: pd.Series) -> np.ndarray:
    known = column.notna().to_numpy(dtype=bool)
    words = np.full(len(column), None, dtype=object)
    words[known] = column[column.notna()].astype(str).to_numpy(dtype=object)
    return words


def groups_of(colour: Coloured, shown: slice) -> list[str]:
    """Return the group of each dot; all but the largest seven groups are called `other`."""
    return embedding.few([embedding.UNKNOWN if word is None else str(word) for word in colour.words[shown]])


def read_line(
    name: str, features: np.ndarray, images: Images, colours: Sequence[Coloured], *, others: bool = True
) -> Row:
    """Return a row of the table: each thing read from the features, and each label from other sites alone."""
    rows = slice(None, None, max(1, -(-len(features) // MOST_IMAGES)))
    patients, used = images.patients()[rows], features[rows]
    cells = [(colour, read_out(used, colour.words[rows], patients, patients)) for colour in colours]
    site = next(colour.words for colour in colours if colour.kind == "site")[rows]
    if others and len(set(site) - {None}) > 1:
        cells += [
            (
                colour._replace(name=f"{colour.name}, by images of other sites"),
                read_out(used, colour.words[rows], patients, site),
            )
            for colour in colours
            if colour.kind == "label"
        ]
    return {"name": name, "cells": [_cell(colour, reading) for colour, reading in cells]}


def _cell(colour: Coloured, reading: Reading) -> Row:
    defined = np.isfinite(reading.auroc)
    balanced = f"accuracy {number(reading.accuracy, 2)}, a guess {number(1 / max(reading.classes, 1), 2)}"
    return {
        "by": colour.name,
        "reading": reading,
        "value": number(reading.auroc) if defined else "undefined",
        "interval": interval(reading.low, reading.high) if defined else "",
        "more": balanced if defined else "",
    }
