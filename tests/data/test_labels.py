from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data.columns import typed
from medssl.data.keys import AS_THEY_ARE
from medssl.data.labels import binary_label, join_labels
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.errors import DataError, SettingsError


def manifest(folder: Path, paths: list[str], **columns) -> Manifest:
    base = {"sample_id": [f"s{k}" for k in range(len(paths))], "path": paths, "status": "ok"}
    return Manifest(typed(pd.DataFrame(base | columns)), folder, "m")


def labelled(words: list) -> Manifest:
    return manifest(Path(), [f"{k}.png" for k in range(len(words))], label=words)


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_spreadsheet_joins_all_rows(cases):
    found = scan([cases / "M01"], labels=cases / "M01" / "labels.csv", key=AS_THEY_ARE).usable()
    assert found.table["label"].tolist() == ["A", "B", "A", "B"]
    assert found.table["patient_id"].nunique() == 4
    assert float(found.table["age"][0]) == 60.5
    assert [remark for remark in found.remarks if "pseudonyms" not in remark] == []


def test_paths_written_on_windows_are_found(cases):
    found = scan([cases / "M06"], labels=cases / "M06" / "labels.csv").usable()
    assert found.table["label"].tolist() == ["0", "1", "2"]


def test_words_that_look_missing_stay_words(cases):
    found = scan([cases / "M04"], labels=cases / "M04" / "labels.csv").usable().table
    assert found["site"].value_counts().to_dict() == {"NA": 2, "EU": 2}
    assert found["label"].value_counts().to_dict() == {"None": 2, "DME": 1}
    assert found["label"].isna().sum() == 1


def test_spellings_of_one_class_are_remarked_and_refused_as_a_label(cases):
    found = scan([cases / "M02"], labels=cases / "M02" / "labels.csv")
    words = ["Normal", "normal", "NORMAL"]
    assert all(word in found.remarks[0] for word in words)
    with pytest.raises(DataError) as error:
        binary_label(found.usable(), "label")
    assert all(f"'{word}'" in str(error.value) for word in words)


def test_frames_of_one_file_take_their_own_labels(tmp_path):
    cube = manifest(tmp_path, ["a.dcm", "a.dcm", "b.dcm"], frame=[0, 1, None])
    found = join_labels(cube, write(tmp_path, "file,frame,label\na.dcm,1,drusen\na.dcm,0,none\nb.dcm,,none\n"))
    assert found.table["label"].tolist() == ["none", "drusen", "none"]
    assert "frame" not in found.label_names


def test_ids_of_the_header_are_a_key_and_known_columns_replace(tmp_path):
    start = manifest(tmp_path, ["a.dcm", "b.dcm"], patient_id=["1", "2"], site=["X", None], rows=[5, 6])
    found = join_labels(start, write(tmp_path, "patient_id,label,site,rows\n2,sick,B,99\n1,well,A,98\n"))
    assert found.table["label"].tolist() == ["well", "sick"]
    assert found.table["site"].tolist() == ["A", "B"]
    assert found.table["rows"].tolist() == [5, 6]
    assert found.table["rows_given"].tolist() == ["98", "99"]
    assert any("site of labels.csv replaces that of the file in 1 images" in r for r in found.remarks)


def test_an_empty_cell_replaces_nothing(tmp_path):
    start = manifest(tmp_path, ["a.png"], patient_id=["7"])
    assert join_labels(start, write(tmp_path, "file,patient_id,x\na.png,,1\n")).table["patient_id"][0] == "7"


def test_what_does_not_fit_is_counted(tmp_path):
    start = manifest(tmp_path, ["a.png", "b.png", "c.png"])
    found = join_labels(start, write(tmp_path, "file,label\na.png,1\nz.png,0\n"))
    assert "1 of 2 rows of labels.csv fit no image, the first is row 2" in found.remarks
    assert "2 of 3 images have no row in labels.csv" in found.remarks


def test_a_table_that_joins_nothing_shows_a_path_looked_for(tmp_path):
    start = manifest(tmp_path / "set", ["img0.png"])
    table = write(tmp_path, "image,label\nother\\sub\\img0.png,1\n")
    with pytest.raises(DataError) as error:
        join_labels(start, table)
    assert str(tmp_path / "other/sub/img0.png") in str(error.value)


def test_tails_fit_one_file_only_and_whole_folders(tmp_path):
    start = manifest(tmp_path / "set", ["a/img.png", "b/img.png", "a/only.png", "c/deep/two.png"])
    table = "image,label\nimg.png,1\nonly.png,2\nset/a/img.png,3\nD:\\set\\c\\deep\\two.png,4\n"
    found = join_labels(start, write(tmp_path, table)).table["label"]
    assert found.fillna("").tolist() == ["3", "", "2", "4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age,label\n1,2\n", "no column that names images, only age, label"),
        ("file,label\na.png,1\na.png,0\n", "Lines 2 and 3"),
    ],
)
def test_a_table_that_cannot_be_joined_is_refused(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        join_labels(manifest(tmp_path, ["a.png"]), write(tmp_path, text))


@pytest.mark.parametrize(
    ("words", "positive", "negative"),
    [
        (["0", "1", None], "1", "0"),
        (["1.0", "0", "1"], "1", "0"),
        (["NORMAL", "CNV"], "CNV", "NORMAL"),
        (["yes", "no"], "yes", "no"),
        (["Healthy", "AMD"], "AMD", "Healthy"),
        (["a", "b"], "b", "a"),
        (["2", "10"], "10", "2"),
    ],
)
def test_two_words_are_enough(words, positive, negative):
    found = binary_label(labelled(words), "label")
    assert (found.positive_name, found.negative_name) == (positive, negative)
    expected = [np.nan if w is None else float(str(w).removesuffix(".0") == positive) for w in words]
    np.testing.assert_array_equal(found.values, expected)


def test_a_choice_among_many_words():
    many = labelled(["AMD", "DME", "NO", None, "ERM"])
    one = binary_label(many, "label", negative=["no"])
    np.testing.assert_array_equal(one.values, [1, 1, 0, np.nan, 1])
    assert one.positive_name == "AMD or DME or ERM"
    both = binary_label(many, "label", positive=["AMD"], negative=["NO"])
    np.testing.assert_array_equal(both.values, [1, np.nan, 0, np.nan, np.nan])


@pytest.mark.parametrize(
    ("words", "column", "chosen", "error", "said"),
    [
        (["A", "B", "C"], "label", {}, SettingsError, r"A \(1\), B \(1\), C \(1\).*--positive"),
        (["A", "B"], "labal", {}, SettingsError, "Did you mean 'label'"),
        (["A", "B"], "label", {"positive": ["AA"]}, SettingsError, "'AA' does not occur.*'A'"),
        (["A", "B"], "label", {"positive": ["A"], "negative": ["a"]}, SettingsError, "both classes"),
        (["A", "A"], "label", {}, DataError, "one class only: A"),
        (["A", "A"], "label", {"positive": ["A"]}, DataError, "one class"),
        ([None, None], "label", {}, DataError, "No image has a label"),
    ],
)
def test_a_label_that_is_no_pair_of_classes_is_refused(words, column, chosen, error, said):
    with pytest.raises(error, match=said):
        binary_label(labelled(words), column, **chosen)


def test_days_of_studies_are_joined_in_one_form_and_others_are_refused_with_their_row(tmp_path):
    images = manifest(tmp_path, ["a.png", "b.png"], study_date=["2019-01-01", None])
    joined = join_labels(images, write(tmp_path, "file,study_date\na.png,20200229\nb.png,2021-01-02\n"))
    assert joined.table["study_date"].tolist() == ["2020-02-29", "2021-01-02"]
    assert "study_date of labels.csv replaces that of the file in 1 images" in joined.remarks
    for wrong in ("2021-02-29", "03/04/2020", "2020"):
        table = write(tmp_path, f"file,study_date\na.png,2020-01-01\nb.png,{wrong}\n")
        with pytest.raises(DataError, match=f"'{wrong}' in column 'study_date', row 2 below the header"):
            join_labels(images, table)
