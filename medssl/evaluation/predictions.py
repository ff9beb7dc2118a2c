"""The table of predictions: one row a prediction, from which every score and every statistic is computed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import DataError
from medssl.files import atomic_path

SCHEMA = pa.schema(
    [
        ("test_set", pa.string()),  # "id", or the name of an out-of-distribution manifest
        ("domain", pa.string()),  # "id", "ood", "own" (learnt from labels of that place) or "shift" (of "id", altered)
        ("sample_id", pa.string()),
        ("patient_id", pa.string()),  # the patient key, unique across sites
        ("site", pa.string()),  # may be missing
        ("label", pa.int8()),  # 1 for the positive class, 0 for the other
        ("arm", pa.string()),
        ("run", pa.string()),  # name of the pretraining run, "" for built-in arms
        ("seed", pa.int64()),  # of the pretraining, or of the initialisation
        ("fraction", pa.float64()),  # percent of the training labels, above 0 to 100
        ("draw", pa.int64()),  # which draw of labels
        ("mode", pa.string()),  # "probe" or "finetune"
        ("score", pa.float64()),  # probability of the positive class
    ]
)
SHIFTED = "shift"  # the domain of images as another acquisition shows them
OWN = "own"  # the domain of another place whose own labels were learnt from
CELL = ["mode", "arm", "run", "seed", "fraction", "draw"]

_PANDAS = {pa.string(): "str", pa.int8(): "int8", pa.int64(): "int64", pa.float64(): "float64"}
_MAY_BE_MISSING = {"site"}
_WORDS = {"domain": ("id", "ood", OWN, SHIFTED), "mode": ("probe", "finetune")}


def own_set(place: str) -> str:
    """Return what the test set of another place is called where its own labels were learnt from."""
    return f"{OWN}:{place}"


def place_of(test_set: str) -> str:
    """Return the place of a test set, whichever labels were learnt from."""
    return test_set.removeprefix(f"{OWN}:")


def of_positive_class(probabilities: np.ndarray, classes: Sequence[object], positive: object) -> np.ndarray:
    """Return the column of `probabilities` (n, K) that belongs to the class named `positive`, (n,).

    Raises:
        DataError: There is no class of that name, or the columns are not as many as the classes.
    """
    names = [str(name) for name in classes]
    if probabilities.ndim != 2 or probabilities.shape[1] != len(names):
        raise DataError(f"Probabilities of shape {probabilities.shape} do not fit the classes {', '.join(names)}")
    if names.count(str(positive)) != 1:
        raise DataError(f"No single class is called '{positive}'", fix=f"The classes are {', '.join(names)}")
    return probabilities[:, names.index(str(positive))]


def validate(table: pd.DataFrame, where: str | Path | None = None) -> pd.DataFrame:
    """Return the table with its columns in order, typed, and its rows sorted; `table.attrs` is kept.

    The rows are sorted so that no result depends on the order in which cells were computed.

    Raises:
        DataError: A column is missing or unknown, a value is missing or out of range, a prediction stands twice, a
            sample has two patients or labels, or arms were not tested on the same samples.
    """
    _check_columns(table, where)
    _check_values(table, where)
    table = table[SCHEMA.names].astype({field.name: _PANDAS[field.type] for field in SCHEMA})
    table = table.sort_values(["test_set", *CELL, "sample_id"], kind="stable", ignore_index=True)
    _check_samples(table, where)
    return table


def save(table: pd.DataFrame, path: Path, *, positive: str, negative: str) -> None:
    """Write the table to Parquet, whole or not at all, with the names of the two classes in its metadata.

    Scores are kept with 24 significant bits of their distance from 0 or 1, whichever is nearer: half the size, and no
    ties among those near 1.
    """
    metadata = {"medssl.positive": positive, "medssl.negative": negative}
    table = validate(table, path)
    table["score"] = _shortened(table["score"].to_numpy())
    arrow = pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False)
    words = [name for name in SCHEMA.names if name != "score"]
    with atomic_path(path) as temporary:  # a third smaller than as Parquet's writers have it by themselves
        pq.write_table(
            arrow.replace_schema_metadata(metadata), temporary, compression="zstd", use_dictionary=words,
            use_byte_stream_split=["score"],
        )  # fmt: skip


def _shortened(scores: np.ndarray) -> np.ndarray:
    near_one = scores > 0.5
    distance = np.where(near_one, 1 - scores, scores).astype(np.float32).astype(np.float64)
    return np.where(near_one, 1 - distance, distance)


def load(path: Path) -> pd.DataFrame:
    """Read a table written by `save`; `attrs["positive"]` and `attrs["negative"]` name the classes.

    Raises:
        DataError: It cannot be read, does not name its classes, or is not valid.
    """
    try:
        arrow = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"Cannot read predictions: {error}", where=path) from error
    metadata = arrow.schema.metadata or {}
    names = {name: metadata.get(f"medssl.{name}".encode()) for name in ("positive", "negative")}
    if None in names.values():
        raise DataError("The table does not say which class is the positive one", where=path)
    table = arrow.replace_schema_metadata().to_pandas()
    table.attrs = {name: value.decode() for name, value in names.items() if value is not None}
    return validate(table, path)


def _check_columns(table: pd.DataFrame, where: str | Path | None) -> None:
    missing = [name for name in SCHEMA.names if name not in table]
    unknown = [str(name) for name in table if name not in SCHEMA.names]
    if missing or unknown:
        parts = [f"no column {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(unknown)}"] * bool(unknown)
        raise DataError(f"Not a table of predictions: {'; '.join(parts)}", where=where)
    if table.empty:
        raise DataError("The table of predictions is empty", where=where)


def _check_values(table: pd.DataFrame, where: str | Path | None) -> None:
    for name in SCHEMA.names:
        if name not in _MAY_BE_MISSING and table[name].isna().any():
            raise DataError(f"{int(table[name].isna().sum())} predictions have no {name}", where=where)
    for name, words in _WORDS.items():
        _refuse(table, name, ~table[name].isin(words), f"is neither {' nor '.join(words)}", where)
    _refuse(table, "label", ~table["label"].isin((0, 1)), "is neither 0 nor 1", where)
    _refuse(table, "score", ~table["score"].between(0, 1), "is not a probability", where)
    _refuse(
        table, "fraction", ~(table["fraction"].between(0, 100) & (table["fraction"] > 0)), "is no percentage", where
    )


def _refuse(table: pd.DataFrame, name: str, bad: pd.Series, rule: str, where: str | Path | None) -> None:
    if bad.any():
        row = table[bad].iloc[0]
        raise DataError(f"{name} {row[name]!r} of sample {row['sample_id']}, arm {row['arm']}, {rule}", where=where)


def _check_samples(table: pd.DataFrame, where: str | Path | None) -> None:
    """Check that the cells of a test set hold the same samples, each once, with one patient, label and domain."""
    for name, rows in table.groupby("test_set", sort=True):
        if rows["domain"].nunique() > 1:
            raise DataError(f"Test set {name} is called both id and ood", where=where)
        samples = rows.drop_duplicates(["sample_id", "patient_id", "label"])
        twice = samples["sample_id"].duplicated()
        if twice.any():
            sample = samples.loc[twice, "sample_id"].iloc[0]
            raise DataError(f"Sample {sample} of test set {name} has two patients or two labels", where=where)
        for cell, inside in rows.groupby(CELL, sort=True)["sample_id"]:
            if len(inside) != len(samples) or inside.duplicated().any():
                text = ", ".join(f"{key} {value}" for key, value in zip(CELL, cell))
                count = f"{len(inside)} predictions for {len(samples)} samples"
                raise DataError(f"Test set {name}: {count} in the cell {text}", where=where)
