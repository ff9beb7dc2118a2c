import pandas as pd
import pytest

from medssl.data.columns import typed
from medssl.data.joining import join
from medssl.data.manifest import Manifest
from medssl.data.splits import held_out
from medssl.errors import DataError, SettingsError


def place(folder, name, patients, **columns):
    """Two images a patient, of a site of that name unless told otherwise."""
    rows = [
        {"sample_id": f"{patient}-{view}", "path": f"{patient}-{view}.png", "status": "ok", "patient_id": patient,
         "ndim": 2, "site": name, "finding": "yes"}
        for patient in patients
        for view in range(2)
    ]  # fmt: skip
    return Manifest(typed(pd.DataFrame(rows).assign(**columns)), folder / name, name, (f"a remark on {name}",))


def test_the_test_patients_of_every_place_are_those_that_are_held_out_of_it_alone(tmp_path):
    a, b = place(tmp_path, "a", [f"p{n}" for n in range(40)]), place(tmp_path, "b", [f"q{n}" for n in range(30)])
    joined = join([a, b])
    assert len(joined) == 140
    for part in (a, b):
        rows = joined.table[joined.table["site"] == part.name]
        expected = set(part.table["patient_id"][held_out(part)])
        assert set(rows["patient_id"][rows["split"] == "test"]) == expected
        assert set(rows["patient_id"][rows["split"] == "train"]) == set(part.table["patient_id"]) - expected
    assert joined.remarks == ("a: a remark on a", "b: a remark on b")


def test_a_given_test_part_stays(tmp_path):
    a = place(tmp_path, "a", ["1", "2"], split=["test", "test", None, None])
    joined = join([a, place(tmp_path, "b", ["1", "2", "3"])])
    own = joined.table[joined.table["site"] == "a"]
    assert own["split"].isna().tolist() == [False, False, True, True]
    assert (joined.table["split"][joined.table["site"] == "b"] == "test").any()


def test_files_are_found_and_ids_stay_unique_wherever_it_is_saved(tmp_path):
    a, b = place(tmp_path, "a", ["1", "2"]), place(tmp_path, "b", ["1", "2"])
    (tmp_path / "a").mkdir()
    join([a, b]).save(tmp_path / "a" / "both.parquet")
    loaded = Manifest.load(tmp_path / "a" / "both.parquet")
    assert loaded.table["sample_id"].is_unique
    assert loaded.table["path"].iloc[0] == "1-0.png"  # below its folder
    assert {loaded.path_of(row).parent for _, row in loaded.table.iterrows()} == {tmp_path / "a", tmp_path / "b"}
    assert loaded.table["sample_id"].iloc[:4].tolist() == a.table["sample_id"].tolist()


def test_equal_numbers_without_a_site_are_refused(tmp_path):
    a, b = (place(tmp_path, name, ["1", "2"], site=None) for name in "ab")
    with pytest.raises(DataError, match=r"Patient 1 is in 'a/a' and in 'b/b', and no site says if it is.*--site"):
        join([a, b])
    assert len(join([a, place(tmp_path, "b", ["1", "2"])])) == 8  # one site known: other people


def test_a_place_of_training_rows_alone_gets_a_test_part(tmp_path):
    a = place(tmp_path, "a", [f"p{n}" for n in range(40)], split=["train", "val"] * 40)
    joined = join([a, place(tmp_path, "b", ["1", "2", "3"])])
    own = joined.table[joined.table["site"] == "a"].reset_index(drop=True)
    assert (own["split"] == "test").tolist() == held_out(a).tolist()
    assert set(own["split"]) == {"train", "val", "test"}


def test_one_place_alone_or_twice_is_refused(tmp_path):
    a = place(tmp_path, "a", ["1", "2"])
    with pytest.raises(SettingsError, match="nothing to join"):
        join([a])
    with pytest.raises(DataError, match="listed in 'a/a' and in 'a/a'"):
        join([a, a])
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    linked = place(tmp_path, "link", ["1", "2"])
    with pytest.raises(DataError, match="listed in 'a/a' and in 'link/link'"):
        join([a, linked])


def test_a_place_without_patients_is_refused(tmp_path):
    for split in (None, "test"):
        with pytest.raises(DataError, match=r"No image has a patient_id.*\(b\)"):
            join([place(tmp_path, "a", ["1", "2"]), place(tmp_path, "b", [None], split=split)])
