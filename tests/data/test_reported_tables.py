"""Faults of tables and splits that people met elsewhere (M01 to M06), with tables written here."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data.columns import typed
from medssl.data.labels import binary_label
from medssl.data.scan import scan
from medssl.data.splits import check_given_split, grouped_folds, held_out, patient_keys
from medssl.errors import DataError


def labelled(folder, header, rows):
    """Write a picture a row and the table that names them; return the manifest joined with it."""
    for number, row in enumerate(rows):
        place = folder / row[0].replace("\\", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(place)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])
    return scan([folder], labels=folder / "labels.csv").usable()


def test_m01_a_table_saved_by_a_spreadsheet_joins_every_row(tmp_path):
    rows = [[f"img{k}.png", f"P{k}", "AB"[k % 2]] for k in range(4)]
    labelled(tmp_path, ["image", "patient_id", "label"], rows)
    lines = ["image;patient_id;label;age", *(f"img{k}.png;P{k};{'AB'[k % 2]};{60 + k},5" for k in range(4))]
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + ("\r\n".join(lines) + "\r\n").encode())
    table = scan([tmp_path], labels=tmp_path / "labels.csv").usable().table
    assert table["label"].tolist() == ["A", "B", "A", "B"]
    assert table["patient_id"].nunique() == 4
    assert float(table["age"][0]) == 60.5


def test_m02_spellings_of_one_class_are_no_classes_in_silence(tmp_path):
    words = ["Normal", "normal", "Normal ", "NORMAL", "CNV", "CNV"]
    found = labelled(
        tmp_path, ["image", "patient_id", "label"], [[f"{k}.png", f"P{k}", w] for k, w in enumerate(words)]
    )
    assert any(all(word in remark for word in ("Normal", "normal", "NORMAL")) for remark in found.remarks)
    with pytest.raises(DataError, match=r"Normal.*normal|normal.*Normal"):
        binary_label(found, "label")


def test_m03_folds_that_cannot_be_are_refused_with_both_numbers(tmp_path):
    rows = [[f"{k}.png", f"P{k // 5}", "rare" if k < 5 else "common"] for k in range(20)]
    table = labelled(tmp_path, ["image", "patient_id", "label"], rows).table
    labels, patients = table["label"].to_numpy(dtype=object).astype(str), patient_keys(table)
    with pytest.raises(DataError, match=r"5 folds need at least 5 patients, but there are 4"):
        grouped_folds(labels, patients, 5, seed=0)
    with pytest.raises(DataError, match=r"'rare' is known of 1 patient"):
        grouped_folds(labels, patients, 2, seed=0)


def test_m04_na_and_none_are_words(tmp_path):
    rows = [["0.png", "NA", "None"], ["1.png", "NA", "DME"], ["2.png", "EU", "None"], ["3.png", "EU", ""]]
    table = labelled(tmp_path, ["image", "site", "label"], rows).table
    assert table["site"].value_counts().to_dict() == {"NA": 2, "EU": 2}
    assert table["label"].value_counts().to_dict() == {"None": 2, "DME": 1}
    assert table["label"].isna().sum() == 1


def test_m05_a_split_that_repeats_a_patient_is_refused_and_ours_repeats_none(tmp_path):
    rows = [[f"{k}.png", f"P{k // 2}", "AB"[k // 2 % 2], "train" if k < 5 else "test"] for k in range(8)]
    found = labelled(tmp_path, ["image", "patient_id", "label", "split"], rows)
    twice = found.table["patient_id"][4]  # P2, or the pseudonym that stands for it
    with pytest.raises(DataError, match=f"{twice} in test and train"):
        check_given_split(found.table)
    own = found.with_table(typed(found.table.drop(columns="split")))
    assert (pd.Series(held_out(own)).groupby(patient_keys(own.table)).nunique() == 1).all()


def test_m06_paths_written_on_windows_find_their_files(tmp_path):
    found = labelled(tmp_path, ["image", "label"], [[rf"site a\sub\{k}.png", f"L{k}"] for k in range(3)])
    assert found.table["label"].tolist() == ["L0", "L1", "L2"]
