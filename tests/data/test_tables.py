import pandas as pd
import pytest

from medssl.data.tables import read_text_table
from medssl.errors import DataError


def test_a_spreadsheet_with_bom_semicolons_and_decimal_commas(cases):
    table = read_text_table(cases / "M01" / "labels.csv")
    assert list(table.columns) == ["image", "patient_id", "label", "age"]
    assert len(table) == 4
    assert float(table["age"][0]) == 60.5
    assert table["label"].value_counts().to_dict() == {"A": 2, "B": 2}


def test_only_the_empty_cell_is_missing(cases):
    table = read_text_table(cases / "M04" / "labels.csv")
    assert table["site"].value_counts().to_dict() == {"NA": 2, "EU": 2}
    assert table["label"].value_counts().to_dict() == {"None": 2, "DME": 1}
    assert table["label"].isna().sum() == 1


def test_commas_within_words_stay(tmp_path):
    (tmp_path / "t.csv").write_text('file;where\na;"1,5"\nb;left, right\n')
    assert read_text_table(tmp_path / "t.csv")["where"].tolist() == ["1,5", "left, right"]


def test_leading_zeros_stay(tmp_path):
    (tmp_path / "t.csv").write_text("file,patient_id\na,007\n")
    assert read_text_table(tmp_path / "t.csv")["patient_id"][0] == "007"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_encodings_that_spreadsheets_write(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("file\tort\na\tMünchen\n".encode(encoding))
    assert read_text_table(tmp_path / "t.csv")["ort"][0] == "München"


def test_parquet_numbers_become_text(tmp_path):
    pd.DataFrame({"file": ["a", "b"], "label": [1, 0]}).to_parquet(tmp_path / "t.parquet")
    assert read_text_table(tmp_path / "t.parquet")["label"].tolist() == ["1", "0"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "empty"), ("a,b\n1\n", "Line 2 has 1"), ("a,a\n1,2\n", "one name a column"), ("\0\1\2", "not a text table")],
)
def test_what_is_no_table_is_refused(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_text_table(tmp_path / "t.csv")
