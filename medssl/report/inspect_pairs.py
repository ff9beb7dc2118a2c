"""Pictures of images that look alike, two beside each other, so that a person can tell copies from likeness."""

from collections.abc import Sequence

import pandas as pd

from medssl.data.manifest import Manifest
from medssl.data.readers import read_image
from medssl.errors import DataError
from medssl.report.inspected import drawn, is_colour
from medssl.report.pictures import flat
from medssl.report.sheet import Cell

_MOST_PAIRS = 12  # six cells in a row: three pairs in each of four rows


def cells(manifests: Sequence[Manifest], table: pd.DataFrame) -> list[Cell]:
    """Return the two pictures of up to 12 pairs, the least alike first: those are the ones to be doubted.

    Args:
        manifests: Where the images are.
        table: Pairs as `medssl.data.duplicates.Duplicates.table` has them.
    """
    places = {
        (manifest.name, row["sample_id"]): (manifest, row)
        for manifest in manifests
        for _, row in manifest.table[
            manifest.table["sample_id"].isin({*table["sample_a"], *table["sample_b"]})
        ].iterrows()
    }
    chosen = table.sort_values("similarity", kind="stable").head(_MOST_PAIRS)
    return [
        _cell(*places[pair[f"manifest_{side}"], pair[f"sample_{side}"]], f"{number}{side} {pair['kind']} {said}")
        for number, (_, pair) in enumerate(chosen.iterrows(), start=1)
        for side, said in (
            ("a", f"{pair['similarity']:.3f}"),
            ("b", "" if pair["turn"] == "as it is" else pair["turn"]),
        )
    ]


def _cell(manifest: Manifest, row: pd.Series, caption: str) -> Cell:
    try:
        image = read_image(manifest, row)
    except (DataError, OSError):
        return Cell(f"{caption}: not readable", None)
    return Cell(caption.strip(), drawn([flat(image.unpadded().array)], colour=is_colour(image, row["photometric"]))[0])
