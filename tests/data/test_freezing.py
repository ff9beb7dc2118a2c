"""Frozen splits: no patient crosses, every image is assigned, a seed repeats, the order of rows does not matter."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.data.columns import typed
from medssl.data.freezing import freeze
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.data.split_rule import Rule
from medssl.data.splits import check_given_split
from medssl.errors import DataError, SettingsError


def manifest(patients: list, remarks: tuple[str, ...] = (), **columns) -> Manifest:
    base = {
        "sample_id": [f"s{k}" for k in range(len(patients))],
        "path": [f"{k}.png" for k in range(len(patients))],
        "status": "ok",
        "patient_id": patients,
    }
    return Manifest(typed(pd.DataFrame(base | columns)), Path(), "m", remarks)


def parts(frozen: Manifest) -> dict[str, str]:
    return dict(zip(frozen.table["sample_id"], frozen.table["split"], strict=True))


def by_person(frozen: Manifest, *columns: str) -> pd.Series:
    return frozen.table.groupby(list(columns), dropna=False)["split"].agg(set)


@st.composite
def cohorts(draw):
    """Patients at sites, with a class, on days, in any order; two sites may use one number for two people."""
    rows = []
    for number in range(draw(st.integers(12, 40))):
        site = "ABC"[number % 3]
        for _ in range(draw(st.integers(1, 3))):
            day = f"2020-{draw(st.integers(1, 12)):02d}-01"
            rows.append((str(number // 2), site, "xyz"[draw(st.integers(0, 2))], day))
    order = draw(st.permutations(range(len(rows))))
    patient, site, label, day = zip(*(rows[k] for k in order), strict=True)
    return manifest(list(patient), site=list(site), label=list(label), study_date=list(day))


@given(cohorts(), st.sampled_from([0.1, 0.3, 0.5]), st.sampled_from([0.0, 0.2]), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_no_patient_crosses_all_are_assigned_and_only_the_seed_matters(cohort, test, val, seed):
    rule = Rule(test=test, val=val, seed=seed)
    frozen = freeze(cohort, rule)
    assert frozen.table["split"].notna().all()
    assert set(by_person(frozen, "site", "patient_id").map(len)) == {1}
    check_given_split(frozen.table)
    people = by_person(frozen, "site", "patient_id").map(lambda one: next(iter(one)))
    for part, share in (("test", test), ("val", val)):
        assert abs((people == part).sum() - share * len(people)) <= 1
    back = cohort.with_table(cohort.table.iloc[::-1])
    assert parts(freeze(back, rule)) == parts(frozen)
    without = freeze(cohort, Rule(test=test, seed=seed))
    assert {s for s, p in parts(without).items() if p == "test"} == {s for s, p in parts(frozen).items() if p == "test"}


@given(cohorts(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_held_out_site_is_tested_alone_and_a_person_at_two_sites_goes_with_it(cohort, shared):
    frozen = freeze(cohort, Rule(sites=("B",), val=0.2, shared_ids=shared))
    table = frozen.table
    assert (table["split"][table["site"] == "B"] == "test").all()
    assert set(by_person(frozen, *(["patient_id"] if shared else ["site", "patient_id"])).map(len)) == {1}
    elsewhere = (table["split"] == "test") & (table["site"] != "B")
    assert elsewhere.any() == shared
    said = frozen.remarks[-1]
    assert (f"{elsewhere.sum()} images elsewhere" in said) == shared
    assert ("taken as different people" in said) != shared


@given(cohorts(), st.sampled_from(["2020-04-01", "2020-09-15"]))
@settings(deadline=None, max_examples=60)
def test_nothing_after_the_line_is_trained_on_and_patients_on_both_sides_are_counted(cohort, day):
    last = cohort.table.groupby(["site", "patient_id"])["study_date"].max()
    if not 0 < (last >= day).sum() < len(last):
        return
    frozen = freeze(cohort, Rule(test_from=day))
    table = frozen.table
    assert (table["study_date"][table["split"] == "train"] < day).all()
    assert set(by_person(frozen, "site", "patient_id").map(len)) == {1}
    early = (table["split"] == "test") & (table["study_date"] < day)
    who = table[early].drop_duplicates(["site", "patient_id"])
    said = f"{len(who)} patient{'s' if len(who) != 1 else ''} of the part 'test' also have {early.sum()} images from"
    assert (said in frozen.remarks[-1]) == bool(early.any())


def test_latest_shares_follow_the_days_and_never_part_one_day():
    days = [f"2020-01-{1 + k // 2:02d}" for k in range(20)]  # two patients a day
    frozen = freeze(manifest([f"p{k}" for k in range(20)], study_date=days), Rule(test=0.25, val=0.2, by_time=True))
    table = frozen.table
    found = {part: sorted(set(table["study_date"][table["split"] == part])) for part in ("train", "val", "test")}
    assert found["test"] in (["2020-01-09", "2020-01-10"], ["2020-01-08", "2020-01-09", "2020-01-10"])
    assert found["train"][-1] < found["val"][0] <= found["val"][-1] < found["test"][0]
    assert f"test from {found['test'][0]} on" in frozen.remarks[-1]


def test_every_class_is_dealt_out_in_the_same_shares_the_rarest_first():
    labels = ["common"] * 100 + ["rare"] * 10 + ["rarest"] * 3
    frozen = freeze(manifest([f"p{k}" for k in range(113)], dx=labels), Rule(test=0.2, val=0.1, stratify="dx"))
    counts = pd.crosstab(frozen.table["dx"], frozen.table["split"])
    assert counts.loc["rare"].tolist() == [2, 7, 1]
    assert counts.loc["rarest"].tolist() == [1, 1, 1]
    assert counts.loc["common"].tolist() == [20, 71, 9]  # what the rare ones got too many
    assert counts.sum().tolist() == [23, 79, 11]  # 22.6, 79.1 and 11.3 patients
    assert "stratified by 'dx'" in frozen.remarks[-1]


def test_a_patient_counts_as_the_rarest_class_and_those_without_a_label_are_dealt_out_too():
    patients = [f"p{k // 2}" for k in range(80)]
    labels = ["a", "b"] * 5 + ["a", "a"] * 25 + [None] * 20
    frozen = freeze(manifest(patients, dx=labels), Rule(test=0.2, stratify="dx"))
    table = frozen.table
    assert set(by_person(frozen, "patient_id").map(len)) == {1}
    assert (table["split"][table["dx"] == "b"] == "test").sum() == 1
    assert (table["split"][table["dx"].isna()] == "test").sum() == 4


def test_a_class_of_too_few_patients_is_refused_with_both_numbers(cases):
    found = scan([cases / "M03"], labels=cases / "M03" / "labels.csv")
    with pytest.raises(DataError, match=r"'rare' is known of 1 patient, too few to be in each of 2 parts \(test, tr"):
        freeze(found, Rule(test=0.5, stratify="label"))
    with pytest.raises(DataError, match=r"2 patients are too few for 3 parts"):
        freeze(manifest(["a", "b"]), Rule(test=0.3, val=0.3))


def test_a_split_that_is_there_is_kept_unless_it_is_to_be_made_again():
    given_split = manifest(list("abcdef"), split=["train"] * 4 + ["test"] * 2)
    with pytest.raises(DataError, match=r"has a split already \(4 train, 2 test\).*--again"):
        freeze(given_split, Rule())
    once = freeze(given_split, Rule(seed=1), again=True)
    twice = freeze(once, Rule(seed=2), again=True)
    assert len([remark for remark in twice.remarks if remark.startswith("split by patient:")]) == 1
    assert "seed 2" in twice.remarks[-1]


def test_images_without_a_patient_are_in_no_part_and_without_any_patient_nothing_is_split():
    frozen = freeze(manifest(["a", "b", "c", None, "d"]), Rule(test=0.4))
    assert frozen.table["split"].isna().tolist() == [False, False, False, True, False]
    assert "1 images without a patient_id are in no part" in frozen.remarks[-1]
    with pytest.raises(DataError, match="3 of 3 images have no patient_id"):
        freeze(manifest([None] * 3), Rule())


def test_unreadable_files_are_in_no_part():
    frozen = freeze(manifest(list("abcd"), status=["ok", "ok", "ok", "unreadable"]), Rule(test=0.4))
    assert frozen.table["split"].isna().tolist() == [False] * 3 + [True]


@pytest.mark.parametrize(
    ("columns", "rule", "said"),
    [
        ({"site": ["A", "A", None, "B"]}, Rule(sites=("B",)), "1 of 4 images have no site"),
        ({"site": list("AABB")}, Rule(sites=("A", "B")), "have all 4 patients: nothing is left"),
        ({"study_date": ["2020-01-01"] * 3 + [None]}, Rule(by_time=True), "1 of 4 images has no study_date"),
        ({"study_date": ["2020-01-01"] * 4}, Rule(by_time=True), "No patient of 4 is in the part 'train'"),
        ({"study_date": ["2020-01-01"] * 4}, Rule(test_from="2021-01-01"), "2020-01-01 to 2020-01-01"),
        ({"remarks": ("dates are shifted per patient",)}, Rule(by_time=True), "who came first: dates are shifted"),
        (
            {"study_date": ["2020-01-01"] * 4, "id_key": ["ab12+dates"] * 4},
            Rule(by_time=True),
            "shifted patient by patient",
        ),
        ({"remarks": ("study_date is shifted by patient",)}, Rule(by_time=True), "who came first"),
        ({"dx": ["A", "a", "B", "B"]}, Rule(stratify="dx"), "differ by case"),
    ],
)
def test_what_is_unknown_stops_the_split_that_needs_it(columns, rule, said):
    with pytest.raises(DataError, match=said):
        freeze(manifest(list("abcd"), **columns), rule)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(test=1.0), r"--test in \[0, 1\), but got 1"),
        (Rule(test=0.6, val=0.4), "leave nothing to train on"),
        (Rule(test=0.0), "Nothing is split off"),
        (Rule(sites=("A",), by_time=True), "not both"),
        (Rule(sites=("A",), test=0.2), "--test cannot be given"),
        (Rule(by_time=True, stratify="dx"), "cannot be stratified"),
        (Rule(test_from="2020-13-01"), "--test-from as YYYY-MM-DD, but got '2020-13-01'"),
        (Rule(test_from="2020-01-01", val_from="2020-01-02"), "not before the test part"),
        (Rule(sites=("Z",)), r"Unknown site 'Z'.*Known: A, B"),
        (Rule(stratify="dy"), "Unknown label column 'dy'"),
    ],
)
def test_rules_that_contradict_themselves_or_name_nothing_are_refused(rule, said):
    cohort = manifest(list("abcd"), site=list("AABB"), dx=list("xyxy"), study_date=["2020-01-01"] * 4)
    with pytest.raises(SettingsError, match=said):
        freeze(cohort, rule)


def test_the_split_and_how_it_was_made_survive_the_file(tmp_path):
    frozen = freeze(manifest([f"p{k}" for k in range(10)]), Rule(test=0.3, val=0.2, seed=7))
    frozen.save(tmp_path / "m.parquet")
    again = Manifest.load(tmp_path / "m.parquet")
    assert parts(again) == parts(frozen)
    assert again.remarks[-1].startswith("split by patient: test 0.3, val 0.2, seed 7; train 5 patients with 5 images")


def test_real_octs_are_split_by_patient_with_every_class_in_both_parts(real_data):
    folder = real_data / "oct-octdl"
    found = scan([folder], labels=folder / "labels.csv")
    label = next(name for name in ("disease", "label", "class") if name in found.table.columns)
    frozen = freeze(found, Rule(test=0.2, stratify=label))
    table = frozen.usable().table
    assert set(table.groupby("patient_id")["split"].nunique()) == {1}
    assert (pd.crosstab(table[label], table["split"]) > 0).all(axis=None)
    assert abs((table.groupby("patient_id")["split"].first() == "test").mean() - 0.2) < 0.02
    assert np.array_equal(frozen.table["sample_id"], found.table["sample_id"])


@pytest.mark.parametrize(
    ("seed", "tested"), [(0, ["s16", "s17", "s2", "s5", "s9"]), (1, ["s0", "s1", "s12", "s17", "s18"])]
)
def test_a_seed_gives_the_same_patients_in_every_process_and_version(seed, tested):
    frozen = freeze(manifest([f"p{k}" for k in range(20)]), Rule(test=0.25, seed=seed))
    assert sorted(sample for sample, part in parts(frozen).items() if part == "test") == tested
