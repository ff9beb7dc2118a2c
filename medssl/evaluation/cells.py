"""Cells: the smallest piece of a sweep that is kept. One arm, run, fraction, draw and mode.

A cell is named by a hash of everything that could change it, so that a finished one is never computed again and a
stale one never used. Its predictions are written first, then a JSON file with their hash: a cell is finished when
both are there and agree, whatever moment the process was killed at.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl import __version__, files
from medssl.errors import DataError

FORMAT = 2
"""Raised whenever the same settings would give other predictions."""


@dataclass(frozen=True)
class Cell:
    """One arm, run, fraction and draw.

    Attributes:
        arm: The arm's name.
        run: The pretraining run, "" for built-in arms.
        seed: Of the pretraining, or of the initial weights.
        fraction: Percent of the training patients.
        draw: Which draw of that fraction.
        mode: "probe" or "finetune".
        learner: What turns a label set into a score: "probe", "finetune", "scratch", ...
        parts: Everything else that matters: weights, data, budget.
    """

    arm: str
    run: str
    seed: int
    fraction: float
    draw: int
    mode: str
    learner: str
    parts: dict[str, Any]

    @property
    def key(self) -> str:
        """The name of the cell's files, 24 hexadecimal digits."""
        names = ("arm", "run", "seed", "fraction", "draw", "mode", "learner", "parts")
        return digest({"code": __version__, "format": FORMAT, **{name: getattr(self, name) for name in names}})

    def label_columns(self) -> dict[str, Any]:
        """Return the columns of the prediction table that are the same in all its rows."""
        names = ("arm", "run", "seed", "fraction", "draw", "mode")
        return {name: getattr(self, name) for name in names}


class CellFolder:
    """The finished cells of a sweep."""

    def __init__(self, folder: Path) -> None:
        """Open the folder `cells/`; it need not exist."""
        self.folder = Path(folder)

    def finished(self, cell: Cell) -> bool:
        """Tell whether the cell's predictions are there, whole."""
        return self._read(cell) is not None

    def predictions(self, cell: Cell) -> pd.DataFrame:
        """Return a finished cell's rows of the prediction table."""
        return pd.read_parquet(self._table(cell))

    def record(self, cell: Cell) -> dict[str, Any]:
        """Return what is kept beside the predictions: settings chosen, validation loss, seconds."""
        record = self._read(cell)
        if record is None:
            raise KeyError(cell.key)
        return record

    def keep(self, cell: Cell, predictions: pd.DataFrame, record: dict[str, Any]) -> None:
        """Write a cell: the predictions, then the JSON file that makes it finished."""
        with files.atomic_path(self._table(cell)) as temporary:
            predictions.to_parquet(temporary, index=False)
        content = {**cell.label_columns(), **record, "sha256": files.sha256(self._table(cell))}
        files.write_json(self._json(cell), plain(content))

    def _read(self, cell: Cell) -> dict[str, Any] | None:
        if not self._json(cell).is_file() or not self._table(cell).is_file():
            return None
        try:
            record = files.read_mapping(self._json(cell))
        except DataError:  # damaged: the cell is computed again
            return None
        return record if record.get("sha256") == files.sha256(self._table(cell)) else None

    def _table(self, cell: Cell) -> Path:
        return self.folder / f"{cell.key}.parquet"

    def _json(self, cell: Cell) -> Path:
        return self.folder / f"{cell.key}.json"


def digest(value: Any) -> str:
    """Return 24 hexadecimal digits that depend on all of a JSON-like value, not on the order of its keys."""
    text = json.dumps(plain(value), sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def table_digest(*columns: np.ndarray | pd.Series) -> str:
    """Return a digest of rows that does not depend on their order."""
    rows = sorted("\x1f".join(map(str, row)) for row in zip(*columns, strict=True))
    return hashlib.blake2b("\x1e".join(rows).encode(), digest_size=12).hexdigest()


def plain(value: Any) -> Any:
    """Return numbers, text, lists and dictionaries only, numbers that are not finite as None, for JSON."""
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if value is None or value is pd.NA:
        return None
    return str(value)
