"""Labels that stand beside images in one `.npz`: numbers become the words of a card."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medssl.data.columns import TEXT, typed
from medssl.data.manifest import Manifest
from medssl.data.readers import medmnist
from medssl.errors import DataError


def joined(manifest: Manifest, classes: Mapping[str, str]) -> Manifest:
    """Return the manifest of one MedMNIST file with its labels.

    One number an image becomes its word in the column `label`; several become a column a class, named by its word, of 0
    and 1.

    Args:
        manifest: The images of one file, in any order.
        classes: The word of each number.

    Raises:
        DataError: Images of several files are there, or a number has no word.
    """
    files = manifest.table["path"].unique()
    if len(files) != 1:
        raise DataError(
            f"{len(files)} files with the same images are here: {', '.join(files)}",
            where=manifest.folder,
            fix="Name one of them: medssl data adopt NAME FILE",
        )
    path = manifest.folder / files[0]
    if (manifest.table["status"] != "ok").any():
        raise DataError(f"The set cannot be read: {manifest.table['reason'].iloc[0]}", where=path, fix="Fetch it again")
    numbers = medmnist.labels(path)[manifest.table["frame"].to_numpy(dtype=int)]
    if numbers.shape[1] == 1:
        words = pd.Series(numbers[:, 0]).map(lambda number: classes.get(str(number)))
        if words.isna().any():
            unknown = numbers[:, 0][words.isna().to_numpy()][0]
            raise DataError(f"Label {unknown} of {path.name} has no word on the card", where=path)
        return manifest.with_table(typed(manifest.table.assign(label=words.astype(TEXT).to_numpy())))
    if numbers.shape[1] != len(classes) or not np.isin(numbers, (0, 1)).all():
        raise DataError(f"An image has {numbers.shape[1]} labels, the card names {len(classes)}", where=path)
    columns = {word: numbers[:, int(number)].astype(str) for number, word in classes.items()}
    return manifest.with_table(typed(manifest.table.assign(**columns)))
