import dataclasses

import numpy as np
import pandas as pd
import pytest

from medssl.evaluation import cells
from medssl.evaluation.cells import Cell, CellFolder, digest, plain, table_digest

CELL = Cell("mae", "run-1", 3, 5.0, 2, "probe", "probe", {"weights": "abc", "seed": 0})
TABLE = pd.DataFrame({"sample_id": ["a", "b"], "score": [0.25, 0.75]})


@pytest.mark.parametrize(
    "change",
    [
        {"arm": "other"}, {"run": "run-2"}, {"seed": 4}, {"fraction": 33.0}, {"draw": 1}, {"mode": "finetune"},
        {"learner": "scratch"}, {"parts": {"weights": "abd", "seed": 0}}, {"parts": {"weights": "abc", "seed": 1}},
    ],
)  # fmt: skip
def test_everything_that_matters_is_in_the_key(change):
    assert dataclasses.replace(CELL, **change).key != CELL.key


def test_the_code_is_in_the_key(monkeypatch):
    before = CELL.key
    monkeypatch.setattr(cells, "__version__", "9.9.9")
    assert CELL.key != before


def test_the_order_of_parts_is_not_in_the_key():
    assert dataclasses.replace(CELL, parts={"seed": 0, "weights": "abc"}).key == CELL.key


def test_a_kept_cell_is_finished_and_comes_back(tmp_path):
    folder = CellFolder(tmp_path / "cells")
    assert not folder.finished(CELL)
    folder.keep(CELL, TABLE, {"choice": {"C": np.float64(0.1)}, "seconds": 1.5})
    assert folder.finished(CELL)
    pd.testing.assert_frame_equal(folder.predictions(CELL), TABLE)
    record = folder.record(CELL)
    assert (record["arm"], record["fraction"], record["choice"], record["seconds"]) == ("mae", 5.0, {"C": 0.1}, 1.5)
    assert len(list(folder.folder.iterdir())) == 2


@pytest.mark.parametrize("ending", ["parquet", "json"])
def test_half_a_cell_is_not_finished(tmp_path, ending):
    folder = CellFolder(tmp_path)
    folder.keep(CELL, TABLE, {})
    (tmp_path / f"{CELL.key}.{ending}").unlink()
    assert not folder.finished(CELL)
    with pytest.raises(KeyError):
        folder.record(CELL)


@pytest.mark.parametrize("ending", ["parquet", "json"])
def test_a_damaged_cell_is_not_finished(tmp_path, ending):
    folder = CellFolder(tmp_path)
    folder.keep(CELL, TABLE, {})
    file = tmp_path / f"{CELL.key}.{ending}"
    file.write_bytes(file.read_bytes()[:-5])
    assert not folder.finished(CELL)


def test_a_digest_of_rows_knows_their_pairing_but_not_their_order():
    a, b = np.array(["x", "y"]), np.array(["1", "2"])
    assert table_digest(a, b) == table_digest(a[::-1], b[::-1])
    assert table_digest(a, b) != table_digest(a, b[::-1])
    assert table_digest(np.array(["xy"]), np.array(["z"])) != table_digest(np.array(["x"]), np.array(["yz"]))


def test_plain_values_for_json():
    value = {1: [np.int64(2), np.nan, (np.bool_(True), None)], "f": np.float32(0.5), "a": np.array([1, 2]), "n": pd.NA}
    assert plain(value) == {"1": [2, None, [True, None]], "f": 0.5, "a": [1, 2], "n": None}
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
