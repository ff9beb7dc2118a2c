from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from medssl.data.columns import COLUMNS, typed
from medssl.data.manifest import Manifest, sample_id, schema_markdown
from medssl.errors import DataError, SettingsError


def rows(**extra) -> pd.DataFrame:
    base = {
        "sample_id": ["a", "b", "c"],
        "path": ["x/a.png", "x/b.png", "notes.txt"],
        "status": ["ok", "ok", "skipped"],
        "patient_id": ["1", "NA", None],
        "rows": [10, 300, None],
        "row_spacing_mm": [0.1, None, None],
        "label": ["A", "None", None],
    }
    return typed(pd.DataFrame(base | extra))


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest(rows(), tmp_path / "archive", "m", ("one remark",))


@pytest.mark.parametrize("name", ["m.parquet", "m.csv"])
def test_save_and_load_keep_every_cell_and_words_that_look_missing(manifest, tmp_path, name):
    manifest.save(tmp_path / "archive" / name)
    again = Manifest.load(tmp_path / "archive" / name)
    pd.testing.assert_frame_equal(again.table, manifest.table)
    assert again.content_hash() == manifest.content_hash()
    assert again.table["patient_id"].tolist()[1] == "NA"
    assert again.label_names == ["label"]


def test_parquet_keeps_version_and_remarks(manifest, tmp_path):
    manifest.save(tmp_path / "m.parquet")
    assert b'"version": 1' in pq.read_schema(tmp_path / "m.parquet").metadata[b"medssl"]
    assert Manifest.load(tmp_path / "m.parquet").remarks == ("one remark",)


def test_paths_follow_the_folder_that_the_manifest_is_saved_in(manifest, tmp_path):
    manifest.save(tmp_path / "m.parquet")
    manifest.save(tmp_path / "elsewhere" / "m.parquet")
    above, beside = (Manifest.load(tmp_path / p) for p in ("m.parquet", "elsewhere/m.parquet"))
    assert above.table["path"][0] == "archive/x/a.png"
    assert beside.table["path"][0] == (tmp_path / "archive/x/a.png").as_posix()
    assert above.path_of(above.table.iloc[0]) == beside.path_of(beside.table.iloc[0]) == tmp_path / "archive/x/a.png"


def test_content_hash_ignores_order_and_sees_every_cell(manifest):
    shuffled = manifest.with_table(manifest.table.iloc[[2, 0, 1]][manifest.table.columns[::-1]])
    assert shuffled.content_hash() == manifest.content_hash()
    assert manifest.with_table(rows(label=["A", "A", None])).content_hash() != manifest.content_hash()
    assert manifest.with_table(rows(rows=[10, 301, None])).content_hash() != manifest.content_hash()


def test_usable_and_where(manifest):
    assert manifest.usable().table["sample_id"].tolist() == ["a", "b"]
    assert manifest.where("rows > 100").table["sample_id"].tolist() == ["b"]
    assert manifest.where("label == 'None' and not rows < 100").table["sample_id"].tolist() == ["b"]
    assert manifest.where("label in ['A', 'X'] or status == 'skipped'").table["sample_id"].tolist() == ["a", "c"]
    assert manifest.where("label.isna()").table["sample_id"].tolist() == ["c"]
    assert manifest.where(None) is manifest


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("lable == 'A'", "'label'"),
        ("rows >", "parsed"),
        ("label.to_csv('/tmp/x')", "to_csv"),
        ("__import__('os').system('true')", "allowed"),
        ("@pd.io", "parsed"),
        ("[x for x in rows]", "ListComp"),
        ("label.str.__class__", "'.__class__' is not allowed"),
        ("rows.values", "'.values' is not allowed"),
        ("open('/etc/passwd')", "may not call functions"),
        ("(lambda: 1) == 1", "Lambda"),
        ("rows[0] == 10", "Subscript"),
        ("x := 3", "parsed"),
        ("(x := 3) == 3", "NamedExpr"),
        ("rows == 1; rows == 2", "parsed"),
        ("label == `@pd`", "parsed"),
        ("f'{rows}' == 'a'", "JoinedStr"),
        ("rows > 'a'", "cannot be used"),
    ],
)
def test_where_refuses_what_is_no_comparison(manifest, query, said):
    with pytest.raises(SettingsError, match=said):
        manifest.where(query)


def test_load_names_the_row_that_breaks_a_rule(manifest, tmp_path):
    for column, value, said in [
        ("rows", "tall", "row 2 below the header: 'tall'"),
        ("rows", "1.5", "row 2 below the header: '1.5'"),
        ("status", "fine", "row 2"),
        ("sample_id", "a", "stands twice, row 2"),
        ("ndim", "4", "row 2"),
        ("frame", "-1", "below 0, row 2"),
        ("study_date", "2021-02-29", "'2021-02-29' in column 'study_date' is no day as YYYY-MM-DD, row 2"),
        ("split", "tset", "'tset' in column 'split' is none of train, val, test, ood, row 2"),
    ]:
        table = manifest.table.astype(object)
        table.loc[1, column] = value
        table.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(DataError, match=said):
            Manifest.load(tmp_path / "bad.csv")


def test_a_manifest_without_rows_is_refused(manifest, tmp_path):
    for name, said in (("empty.parquet", "has no rows"), ("empty.csv", "has a header, but no rows")):
        manifest.with_table(manifest.table[:0]).save(tmp_path / name)
        with pytest.raises(DataError, match=said):
            Manifest.load(tmp_path / name)


def test_load_refuses_what_is_no_manifest(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and nothing")
    for name, said in [
        ("none.parquet", "no such"),
        ("labels.csv", "sample_id.*--labels"),
        ("torn.parquet", "Cannot read"),
    ]:
        with pytest.raises(DataError, match=said):
            Manifest.load(tmp_path / name)


def test_a_newer_version_is_refused(manifest, tmp_path):
    manifest.save(tmp_path / "m.parquet")
    table = pq.read_table(tmp_path / "m.parquet").replace_schema_metadata({b"medssl": b'{"version": 99}'})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(DataError, match="99"):
        Manifest.load(tmp_path / "m.parquet")


def test_sample_ids_differ_by_path_and_frame():
    ids = {sample_id("a.dcm"), sample_id("a.dcm", 0), sample_id("a.dcm", 1), sample_id("b.dcm")}
    assert len(ids) == 4
    assert all(len(i) == 16 for i in ids)
    assert sample_id("a.dcm", 0) == sample_id("a.dcm", 0)


def test_the_documented_columns_are_the_columns():
    page = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text()
    assert schema_markdown() in page
    assert list(typed(pd.DataFrame({"sample_id": ["a"]})).columns) == [c.name for c in COLUMNS]
