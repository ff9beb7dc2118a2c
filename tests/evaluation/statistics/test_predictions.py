"""The table of predictions: what it refuses, and what a file keeps."""

import errno
import json

import numpy as np
import pandas as pd
import pytest

from medssl import files
from medssl.errors import DataError, StorageError
from medssl.evaluation import predictions
from medssl.metrics import auroc


@pytest.fixture
def table(study) -> pd.DataFrame:
    return study({"mae": 1.5, "scratch": 1.0}, patients=12, draws=2)


def test_a_file_keeps_rows_types_and_the_names_of_the_classes(table, tmp_path) -> None:
    predictions.save(table, tmp_path / "p.parquet", positive="drusen", negative="NO")
    found = predictions.load(tmp_path / "p.parquet")
    assert found.attrs == {"positive": "drusen", "negative": "NO"}
    assert list(found.columns) == predictions.SCHEMA.names
    pd.testing.assert_frame_equal(found, predictions.validate(table))
    assert found["label"].dtype == "int8"


def test_the_file_does_not_depend_on_the_order_of_rows(table, tmp_path) -> None:
    for name, rows in (("a", table), ("b", table.sample(frac=1, random_state=1))):
        predictions.save(rows, tmp_path / name, positive="1", negative="0")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_full_disk_leaves_nothing_behind(table, tmp_path, monkeypatch) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files._disk, "replace", full)
    with pytest.raises(StorageError, match="disk is full"):
        predictions.save(table, tmp_path / "p.parquet", positive="1", negative="0")
    assert list(tmp_path.iterdir()) == []


def _set(name, value, where=slice(0, 1)):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({name: object})
        table.iloc[where, table.columns.get_loc(name)] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.drop(columns=["draw", "site"]), "no column site, draw"),
        (lambda t: t.assign(probability=1.0), "unknown probability"),
        (lambda t: t.iloc[:0], "empty"),
        (_set("patient_id", None), "1 predictions have no patient_id"),
        (_set("score", np.nan), "1 predictions have no score"),
        (_set("score", 1.2), "score 1.2 of sample s0000, arm mae, is not a probability"),
        (_set("label", 2), "neither 0 nor 1"),
        (_set("domain", "in"), "neither id nor ood"),
        (_set("mode", "linear"), "neither probe nor finetune"),
        (_set("fraction", 0.0), "no percentage"),
        (_set("fraction", 101.0), "no percentage"),
        (_set("domain", "ood"), "called both id and ood"),
        (_set("patient_id", "else"), "Sample s0000 of test set id has two patients"),
        (lambda t: t.iloc[1:], "23 predictions for 24 samples in the cell mode probe, arm mae"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "25 predictions for 24 samples in the cell mode probe, arm mae"),
    ],
)
def test_refuses(table, change, text) -> None:
    with pytest.raises(DataError, match=text):
        predictions.validate(change(table), "predictions.parquet")


def test_a_sample_twice_in_place_of_another_is_refused(table) -> None:
    first = table.index[:2]
    table.loc[first[0], ["sample_id", "patient_id", "label"]] = table.loc[
        first[1], ["sample_id", "patient_id", "label"]
    ]
    with pytest.raises(DataError, match="24 predictions for 24 samples"):
        predictions.validate(table)


def test_refuses_other_files(tmp_path) -> None:
    (tmp_path / "no.parquet").write_text("text")
    with pytest.raises(DataError, match="Cannot read predictions"):
        predictions.load(tmp_path / "no.parquet")
    with pytest.raises(DataError, match="Cannot read predictions"):
        predictions.load(tmp_path / "absent.parquet")
    pd.DataFrame({"score": [0.5]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="which class is the positive one"):
        predictions.load(tmp_path / "other.parquet")


def test_e03_the_column_is_found_by_the_name_of_the_class(cases) -> None:
    folder = cases / "E03"
    expected = json.loads((cases / "expected.json").read_text())["E03"]["two_columns.csv"]
    table = pd.read_csv(folder / "two_columns.csv")
    for classes in (["benign", "malignant"], ["malignant", "benign"]):
        probabilities = table[[f"prob_{name}" for name in classes]].to_numpy()
        scores = predictions.of_positive_class(probabilities, classes, expected["positive_class"])
        labels = table["label"] == expected["positive_class"]
        assert auroc.compute(labels, scores) == expected["auroc"] == 1
        assert ((scores >= 0.5) == labels).mean() == expected["accuracy"]


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match=r"No single class is called 'cancer'\. The classes are 0, 1"):
        predictions.of_positive_class(np.zeros((3, 2)), [0, 1], "cancer")
    with pytest.raises(DataError, match="do not fit"):
        predictions.of_positive_class(np.zeros((3, 2)), ["a", "b", "c"], "a")


def test_scores_near_one_keep_their_order_on_disk(tmp_path) -> None:
    logits = np.sort(np.random.default_rng(0).normal(20, 4, 40))
    table = pd.DataFrame(
        {
            "test_set": "id", "domain": "id", "sample_id": [f"s{i:02}" for i in range(40)],
            "patient_id": [f"p{i}" for i in range(40)], "site": None, "label": [0, 1] * 20, "arm": "a", "run": "",
            "seed": 0, "fraction": 5.0, "draw": 0, "mode": "probe", "score": 1 / (1 + np.exp(-logits)),
        }
    )  # fmt: skip
    predictions.save(table, tmp_path / "p.parquet", positive="yes", negative="no")
    kept = predictions.load(tmp_path / "p.parquet")["score"].to_numpy()
    assert kept == pytest.approx(table["score"].to_numpy(), abs=1e-7)
    assert (np.argsort(kept, kind="stable") == np.argsort(table["score"], kind="stable")).all()
